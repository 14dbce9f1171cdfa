"""The repetition time of a run: sidecar JSON and NIfTI header -> seconds, with what is doubtful about it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from data.errors import BadFileError

SHORTEST_TR, LONGEST_TR = 0.05, 30.0  # seconds
SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def load_tr(path: Path, header: Any) -> tuple[float, tuple[str, ...]]:
    """The repetition time in seconds, from the sidecar JSON or else from the header, and notes on both.

    Raises:
        BadFileError: the TR that counts is not between 0.05 s and 30 s, or the sidecar is not JSON.
    """
    from_header, unit = _header_tr(header)
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    stated = _sidecar_tr(sidecar)
    if stated is not None:
        tr = _plausible(stated, sidecar, "RepetitionTime")
        agree = math.isclose(tr, from_header, rel_tol=1e-3)
        note = f"the sidecar's TR of {tr:g} s was taken; the header says {from_header:g} s"
        return tr, () if agree else (note,)
    if unit == "unknown" and 100 <= from_header <= 1000 * LONGEST_TR:
        note = f"the header's TR of {from_header:g} has no unit and was read as milliseconds"
        return from_header / 1000, (note,)
    if unit not in SECONDS_PER_UNIT:
        raise BadFileError(
            "unit of the fourth axis",
            must_be="a time",
            got=unit,
            do="write a sidecar .json with RepetitionTime in seconds",
            path=path,
        )
    tr = _plausible(from_header, path, "TR in the header")
    return tr, (
        "the header's TR is 1 s, which many converters write for want of the true one",
    ) if tr == 1 else ()


def _header_tr(header: Any) -> tuple[float, str]:
    unit = header.get_xyzt_units()[1] if hasattr(header, "get_xyzt_units") else "unknown"
    # nibabel's get_zooms refuses negative values, and those are wanted for the message.
    raw = float(header["pixdim"][4])
    # The header holds single precision: 2.54 s would otherwise read as 2.5399999618.
    return round(raw * SECONDS_PER_UNIT.get(unit, 1.0), 6), unit


def _sidecar_tr(sidecar: Path) -> float | None:
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8-sig"))
        stated = content.get("RepetitionTime")
        return None if stated is None else float(stated)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadFileError(
            "sidecar",
            must_be="a JSON object with RepetitionTime in seconds",
            got=str(error),
            do="correct it or remove it",
            path=sidecar,
        ) from error


def _plausible(tr: float, path: Path, what: str) -> float:
    if not (math.isfinite(tr) and SHORTEST_TR <= tr <= LONGEST_TR):
        raise BadFileError(
            what,
            must_be=f"between {SHORTEST_TR:g} and {LONGEST_TR:g} seconds",
            got=f"{tr:g}",
            do="write the true value into a sidecar .json as RepetitionTime, in seconds",
            path=path,
        )
    return tr
