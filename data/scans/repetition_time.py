"""The repetition time of a run: sidecar JSON and NIfTI header -> seconds, with what is doubtful about it.

Sidecars are inherited as BIDS has it: where the run's own says nothing, `sub-01_task-rest_bold.json` or
`task-rest_bold.json` in the folders above it may.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from data.errors import BadFileError
from data.scans.bids import parse_entities

SHORTEST_TR, LONGEST_TR = 0.05, 30.0  # seconds
SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def load_tr(path: Path, header: Any, stated: float | None = None) -> tuple[float, tuple[str, ...]]:
    """The repetition time in seconds, and notes on it.

    It is `stated` where that is given, or else that of the nearest sidecar JSON that has one, or else the
    header's.

    Raises:
        BadFileError: the TR that counts is not between 0.05 s and 30 s, or a sidecar is not JSON.
    """
    from_header, unit = _header_tr(header)
    if stated is not None:
        return _plausible(stated, path, "TR in the table"), _disagreement(stated, from_header, "the table")
    for sidecar in sidecars(path):
        found = _sidecar_tr(sidecar)
        if found is not None:
            tr = _plausible(found, sidecar, "RepetitionTime")
            own = sidecar.parent == path.parent
            return tr, _disagreement(tr, from_header, "the sidecar" if own else str(sidecar))
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


def sidecars(path: Path) -> list[Path]:
    """The JSON files that tell of an image, the most particular first: its own, then those that it inherits.

    Folders above are looked through up to that which holds the subject's, and for a derivative inside a
    dataset (`dataset/derivatives/fmriprep`) in the dataset's too, since the TR of the raw run is that of the
    preprocessed one.
    """
    own = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    found = [own] if own.is_file() else []
    entities, words = parse_entities(path.name)
    if "bold" not in words:
        return found
    wanted = set(entities.items())
    for folder in _folders(path, entities):
        fitting = []
        for other in folder.glob("*_bold.json"):
            has, suffix = parse_entities(other.name)
            if suffix == ("bold",) and other != own and set(has.items()) <= wanted:
                fitting.append((-len(has), other))
        found += [other for _, other in sorted(fitting)]
    return found


def _folders(path: Path, entities: dict[str, str]) -> list[Path]:
    """The folders whose sidecars count: from the run's own to the dataset's, and the raw dataset's."""
    above = list(path.absolute().parents)
    subject = f"sub-{entities.get('sub', '')}"
    depth = next((i for i, folder in enumerate(above) if folder.name == subject), None)
    if depth is None:
        return above[:1]
    inside, root = above[: depth + 2], above[depth + 1]
    if root.parent.name != "derivatives":
        return inside
    raw = root.parents[1]
    return inside + [raw / folder.relative_to(root) for folder in inside]


def _disagreement(tr: float, from_header: float, source: str) -> tuple[str, ...]:
    if math.isclose(tr, from_header, rel_tol=1e-3):
        return ()
    return (f"{source}'s TR of {tr:g} s was taken; the header says {from_header:g} s",)


def _header_tr(header: Any) -> tuple[float, str]:
    unit = header.get_xyzt_units()[1] if hasattr(header, "get_xyzt_units") else "unknown"
    # nibabel's get_zooms refuses negative values, and those are wanted for the message.
    raw = float(header["pixdim"][4])
    # The header holds single precision: 2.54 s would otherwise read as 2.5399999618.
    return round(raw * SECONDS_PER_UNIT.get(unit, 1.0), 6), unit


def _sidecar_tr(sidecar: Path) -> float | None:
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
