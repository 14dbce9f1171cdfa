"""Folders of files that are whole or not there: a record with the digests of the others, and its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.digest import remembered_sha256
from data.writing import whole_folder

RECORD = "record.json"


@contextmanager
def sealed_folder(folder: Path, fields: Mapping[str, Any]) -> Iterator[Path]:
    """Gives a draft folder to fill; it takes the place of `folder` (a damaged or older one) at the end.

    Args:
        fields: JSON-ready data about the files, kept with their digests.

    Raises:
        OSError: the place cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as draft:
        yield draft
        sealed = {**fields, "files": _digests(draft, sorted(path.name for path in draft.iterdir()))}
        record = json.dumps(sealed | {"digest": _digest(sealed)}, indent=1) + "\n"
        (draft / RECORD).write_text(record, encoding="utf-8")
    read_sealed(folder)  # notes the digests, so that the first reader need not read all there is


def read_sealed(folder: Path) -> dict[str, Any] | None:
    """The fields of a folder, with "digest" for all of it; None where it is missing, cut short or changed."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        sealed = {key: value for key, value in record.items() if key != "digest"}
        whole = record["digest"] == _digest(sealed) and sealed["files"] == _digests(folder, sealed["files"])
        return dict(record) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _digests(folder: Path, names: list[str] | dict[str, str]) -> dict[str, str]:
    return {name: remembered_sha256(folder / name) for name in names}


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
