"""Which columns of fMRIPrep's table a strategy takes: its name, or own column names -> names of regressors.

`simple`, `scrubbing` and `compcor` choose the very columns of
`nilearn.interfaces.fmriprep.load_confounds_strategy`; `ica_aroma` those of nilearn's `load_confounds` with
`ica_aroma="basic"`, since the other form, "full", is a run that fMRIPrep denoised itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from data.cleaning.head_motion import MOTION
from data.errors import BadFileError, nearest

TISSUES = ("csf", "white_matter")
EXPANSIONS = ("_derivative1", "_power2", "_derivative1_power2")
# fMRIPrep 1.0 and 1.1 wrote camel case.
OLD_NAMES = {
    **dict(zip(("X", "Y", "Z", "RotX", "RotY", "RotZ"), MOTION, strict=True)),
    "CSF": "csf",
    "WhiteMatter": "white_matter",
    "GlobalSignal": "global_signal",
    "FramewiseDisplacement": "framewise_displacement",
    "stdDVARS": "std_dvars",
    "non-stdDVARS": "dvars",
}
OLD_PREFIXES = {
    "NonSteadyStateOutlier": "non_steady_state_outlier",
    "Cosine": "cosine",
    "aCompCor": "a_comp_cor_",
    "tCompCor": "t_comp_cor_",
    "AROMAAggrComp": "aroma_motion_",
}


def _expanded(columns: tuple[str, ...]) -> tuple[str, ...]:
    return columns + tuple(column + end for column in columns for end in EXPANSIONS)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What a named strategy takes from the table: columns, and sets of columns that vary with the run."""

    columns: tuple[str, ...] = ()
    cosines: bool = False
    compcor: bool = False
    aroma: bool = False
    scrub: bool = False


STRATEGIES: dict[str, Strategy] = {
    "none": Strategy(),
    # Six and nine parameters of Ciric et al. 2017 (doi 10.1016/j.neuroimage.2017.03.020): for short runs.
    "6p": Strategy(columns=MOTION),
    "9p": Strategy(columns=(*MOTION, *TISSUES, "global_signal")),
    # Motion with derivatives and squares (24), CSF, white matter, fMRIPrep's cosines (Fox et al. 2005).
    "simple": Strategy(columns=(*_expanded(MOTION), *TISSUES), cosines=True),
    # The same with expanded tissues; frames with FD > 0.5 mm or standardized DVARS > 1.5 are dropped, and
    # segments of fewer than 5 frames between them (Power et al. 2012).
    "scrubbing": Strategy(columns=(*_expanded(MOTION), *_expanded(TISSUES)), cosines=True, scrub=True),
    # Anatomical CompCor of both tissues together, all components that fMRIPrep retained (Behzadi et al.
    # 2007).
    "compcor": Strategy(columns=_expanded(MOTION), cosines=True, compcor=True),
    # Independent components that ICA-AROMA calls motion, regressed out of fMRIPrep's ordinary run: the
    # aggressive form (Pruim et al. 2015, doi 10.1016/j.neuroimage.2015.02.064).
    "ica_aroma": Strategy(columns=TISSUES, cosines=True, aroma=True),
}


def new_name(name: str) -> str:
    """A column's name, or a pattern for one, as fMRIPrep 1.2 and later write it."""
    for old, new in OLD_PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return OLD_NAMES.get(name, name)


def chosen_columns(table: pd.DataFrame, confounds: str | tuple[str, ...], path: Path) -> list[str]:
    """Names of the regressors that a strategy, or a list of own names, takes from the table at `path`.

    A name that is not in the table may still be a derivative or a square that can be computed from one.

    Raises:
        BadFileError: the table, or its sidecar, has not what it takes.
    """
    if not isinstance(confounds, str):
        return list(dict.fromkeys(name for own in confounds for name in _matching(table, own, path)))
    chosen = STRATEGIES[confounds]
    names = list(chosen.columns)
    if chosen.cosines:
        names += [column for column in table.columns if "cosine" in column]
    if chosen.compcor:
        names += _combined_components(table, path)
    if chosen.aroma:
        names += _motion_components(table, path)
    return names


def base_of(name: str) -> str:
    """The column that a derivative or a square is computed from."""
    return name.removesuffix("_power2").removesuffix("_derivative1")


def missing_column(table: pd.DataFrame, name: str, path: Path) -> BadFileError:
    """The error for a column that is not there, with the names that are most like it."""
    return BadFileError(
        "confounds table",
        must_be=f"one with a column {name!r}",
        got=f"{len(table.columns)} other columns",
        do=nearest(name, table.columns) or "take a strategy that needs fewer columns, such as '6p' or 'none'",
        path=path,
    )


def _matching(table: pd.DataFrame, own: str, path: Path) -> list[str]:
    """Columns that one of a person's own names means: itself, or what its wildcards match."""
    wanted = new_name(own)
    if wanted in table.columns or base_of(wanted) in table.columns:
        return [wanted]
    found = [column for column in table.columns if fnmatchcase(column, wanted)]
    # A run shorter than fMRIPrep's cut-off has no cosines, and none is missing.
    if not found and not wanted.startswith("cosine"):
        raise missing_column(table, own, path)
    return found


def _combined_components(table: pd.DataFrame, path: Path) -> list[str]:
    """Names of the retained aCompCor components of the combined mask, which only the sidecar tells."""
    sidecar = path.with_suffix(".json")
    try:
        metadata = _sidecar(sidecar)
    except (OSError, ValueError) as error:
        raise BadFileError(
            "confounds sidecar",
            must_be="JSON that describes the CompCor components",
            got=str(error),
            do="take another strategy, or fMRIPrep 1.4 or later",
            path=sidecar,
        ) from error
    names = [
        name
        for name, facts in metadata.items()
        if facts.get("Method") == "aCompCor" and facts.get("Mask") == "combined" and facts.get("Retained")
    ]
    if not names or not set(names) <= set(table.columns):
        raise BadFileError(
            "confounds table",
            must_be="one with the combined aCompCor components of its sidecar",
            got=f"{len(set(names) & set(table.columns))} of {len(names)}",
            do="take another strategy",
            path=path,
        )
    return names


def _motion_components(table: pd.DataFrame, path: Path) -> list[str]:
    """Columns of ICA-AROMA, less those that the sidecar, where there is one, says are no motion."""
    names = [column for column in table.columns if "aroma" in column]
    if not names:
        raise BadFileError(
            "confounds table",
            must_be="one with ICA-AROMA's components (aroma_motion_...)",
            got="none",
            do="fMRIPrep wrote them with --use-aroma until version 23.0; for later ones run fMRIPost-AROMA"
            " and join its components to this table, or take 'compcor' or 'scrubbing'",
            path=path,
        )
    try:
        metadata = _sidecar(path.with_suffix(".json"))
    except (OSError, ValueError):
        metadata = {}
    return [name for name in names if metadata.get(name, {}).get("MotionNoise", True)]


def _sidecar(path: Path) -> dict[str, dict[str, Any]]:
    metadata = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(metadata, dict):
        raise ValueError(f"a {type(metadata).__name__}")
    return {name: facts for name, facts in metadata.items() if isinstance(facts, dict)}
