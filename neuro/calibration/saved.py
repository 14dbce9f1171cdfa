"""Calibration and novelty in a run's folder, as plain JSON: nothing in it is executed when it is read.

RUN/calibration.json   curve, threshold, quantiles of sets (`neuro.calibration.calibration`)
RUN/novelty.json       what scans of training were like (`neuro.calibration.novelty`)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from data.errors import BadFileError
from data.writing import write_whole
from neuro.calibration.calibration import Calibration
from neuro.calibration.novelty import Novelty

CALIBRATION, NOVELTY = "calibration.json", "novelty.json"
FORMAT = 1

Kind = TypeVar("Kind")


def write_calibration(calibration: Calibration, folder: str | Path) -> Path:
    """Write calibration.json, whole or not at all."""
    return _write(Path(folder) / CALIBRATION, calibration.to_dict())


def read_calibration(folder: str | Path) -> Calibration | None:
    """What a run's folder holds; None where it was trained without.

    Raises:
        BadFileError: the file is damaged, or of another version.
    """
    return _read(Path(folder) / CALIBRATION, Calibration.from_dict)


def write_novelty(novelty: Novelty, folder: str | Path) -> Path:
    """Write novelty.json, whole or not at all."""
    return _write(Path(folder) / NOVELTY, novelty.to_dict())


def read_novelty(folder: str | Path) -> Novelty | None:
    """What a run's folder holds; None where it was trained without.

    Raises:
        BadFileError: the file is damaged, or of another version.
    """
    return _read(Path(folder) / NOVELTY, Novelty.from_dict)


def _write(path: Path, content: dict[str, Any]) -> Path:
    return write_whole(path, json.dumps({"format": FORMAT, **content}, allow_nan=False) + "\n")


def _read(path: Path, make: Callable[[Mapping[str, Any]], Kind]) -> Kind | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, of another version of Chiasm")
        return make(content)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadFileError(
            "calibration of a run",
            must_be="as `neuro train` wrote it",
            got=f"{type(error).__name__}: {error}",
            do="train again",
            path=path,
        ) from error
