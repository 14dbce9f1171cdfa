"""Folders of a derivative: which files lie below, and which derivatives it was made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from data.errors import BadFileError

SKIPPED_FOLDERS = {"figures", "log", "logs", "sourcedata", "work"}


def files_below(root: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """Files with one of these endings, in order; links to folders are followed, each folder once.

    Raises:
        BadFileError: a folder cannot be read.
    """
    seen = set()
    for folder, below, names in os.walk(root, onerror=_unreadable, followlinks=True):
        place = Path(folder).stat()
        if (place.st_dev, place.st_ino) in seen:
            below.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        below[:] = sorted(name for name in below if name not in SKIPPED_FOLDERS and not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(endings))


def linked_derivatives(root: Path) -> list[Path]:
    """Folders that dataset_description.json names under DatasetLinks, and `fmriprep` beside this one."""
    links: list[str] = []
    try:
        description = json.loads((root / "dataset_description.json").read_text(encoding="utf-8-sig"))
        links = [str(link).removeprefix("file://") for link in description["DatasetLinks"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # what it would say only helps
    here = root.resolve()
    places = [here / link for link in links if ":" not in link] + [here.parent / "fmriprep"]
    folders = dict.fromkeys(place.resolve() for place in places if place.is_dir())
    return [folder for folder in folders if folder != here and folder not in here.parents]


def _unreadable(error: OSError) -> NoReturn:
    raise BadFileError(
        "folder", must_be="readable", got=error.strerror, do="check its permissions", path=error.filename
    ) from error
