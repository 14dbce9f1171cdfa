"""Confounds by the name of a strategy: fMRIPrep's table -> (T, K) regressors and the frames to keep.

`simple`, `scrubbing` and `compcor` choose the very columns of
`nilearn.interfaces.fmriprep.load_confounds_strategy`; nilearn itself finds its table by file names that
older versions do not use, and refuses their column names. Letters: T frames, K regressors, F frames kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import BadFileError

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
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
}
OLD_PREFIXES = {"NonSteadyStateOutlier": "non_steady_state_outlier", "Cosine": "cosine"}
FD_LIMIT_MM, DVARS_LIMIT, SHORTEST_SEGMENT = 0.5, 1.5, 5


def _expanded(columns: tuple[str, ...]) -> tuple[str, ...]:
    return columns + tuple(column + end for column in columns for end in EXPANSIONS)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """What a named strategy takes from the table: columns, and sets of columns that vary with the run."""

    columns: tuple[str, ...] = ()
    cosines: bool = False
    compcor: bool = False
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
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Confounds:
    """The regressors of one run.

    Attributes:
        values_TK: float64, demeaned over the kept frames.
        names: the K columns.
        kept_F: indices of the frames to keep, increasing.
        fd_mean: mean framewise displacement in mm, NaN where the table has none.
    """

    values_TK: NDArray[np.float64]
    names: tuple[str, ...]
    kept_F: NDArray[np.intp]
    fd_mean: float


def load_confounds(path: Path | None, strategy: str, n_frames: int) -> Confounds:
    """The regressors that `strategy` (a key of STRATEGIES) takes from a run's table.

    Frames that fMRIPrep flags as non-steady are never kept. `none` needs no table, and keeps every frame;
    where there is one, it gives the mean framewise displacement.

    Raises:
        BadFileError: the table is needed and absent, unreadable, of another length than the run, lacks a
            column or a value, or every frame would be dropped.
    """
    chosen = STRATEGIES[strategy]
    if path is None:
        if strategy == "none":
            return Confounds(
                values_TK=np.empty((n_frames, 0)), names=(), kept_F=np.arange(n_frames), fd_mean=np.nan
            )
        raise BadFileError(
            "confounds table", must_be=f"there for the strategy {strategy!r}", got="none", do="use 'none'"
        )
    table = read_table(path)
    if len(table) != n_frames:
        raise BadFileError(
            "confounds table",
            must_be=f"of {n_frames} rows, one a frame",
            got=f"{len(table)} rows",
            do="give the table of this very run",
            path=path,
        )
    names = _names(table, chosen, path)
    kept_F = np.arange(n_frames) if strategy == "none" else _kept(table, chosen, path)
    values_TK = np.column_stack([_series(table, name, path) for name in names] or [np.empty((n_frames, 0))])
    displacement = table.get("framewise_displacement")
    return Confounds(
        values_TK=values_TK - values_TK[kept_F].mean(axis=0),
        names=tuple(names),
        kept_F=kept_F,
        fd_mean=float(displacement.mean()) if displacement is not None else float("nan"),
    )


def read_table(path: Path) -> pd.DataFrame:
    """The table with the column names of fMRIPrep >= 1.2, every value a float, `n/a` as NaN.

    Raises:
        BadFileError: it cannot be read, or holds words.
    """
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"], encoding="utf-8-sig")
        table.columns = table.columns.str.strip()
        return table.rename(columns=_new_name).astype(np.float64)
    except (ValueError, OSError) as error:
        raise BadFileError(
            "confounds table",
            must_be="tab-separated numbers under a header",
            got=str(error),
            do="fetch it again",
            path=path,
        ) from error


def _new_name(name: str) -> str:
    for old, new in OLD_PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return OLD_NAMES.get(name, name)


def _names(table: pd.DataFrame, chosen: Strategy, path: Path) -> list[str]:
    names = list(chosen.columns)
    if chosen.cosines:
        names += [column for column in table.columns if "cosine" in column]
    if chosen.compcor:
        names += _combined_components(table, path)
    return names


def _combined_components(table: pd.DataFrame, path: Path) -> list[str]:
    """Names of the retained aCompCor components of the combined mask, which only the sidecar tells."""
    sidecar = path.with_suffix(".json")
    try:
        metadata: dict[str, dict[str, Any]] = json.loads(sidecar.read_text(encoding="utf-8-sig"))
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


def _series(table: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    """One regressor (T,); a derivative or a square that the table lacks is computed from its base."""
    if name in table.columns:
        series = table[name].to_numpy(copy=True)
    else:
        base = name.removesuffix("_power2").removesuffix("_derivative1")
        if base not in table.columns:
            raise BadFileError(
                "confounds table",
                must_be=f"one with a column {name!r}",
                got=f"{len(table.columns)} other columns",
                do="take a strategy that needs fewer columns, such as '6p' or 'none'",
                path=path,
            )
        series = table[base].to_numpy(copy=True)
        if "_derivative1" in name:
            series = np.diff(series, prepend=np.nan)
        if name.endswith("_power2"):
            series = series**2
    if np.isnan(series[0]) and series.size > 1:
        series[0] = series[1]  # a derivative has no first value; nilearn does the same
    if not np.isfinite(series).all():
        bad = np.flatnonzero(~np.isfinite(series))
        raise BadFileError(
            f"confound {name!r}",
            must_be="finite in every frame",
            got=f"{bad.size} missing, the first in frame {bad[0]}",
            do="take a strategy without it",
            path=path,
        )
    return series


def _kept(table: pd.DataFrame, chosen: Strategy, path: Path) -> NDArray[np.intp]:
    dropped_T = table.filter(like="non_steady_state").to_numpy().any(axis=1)
    if chosen.scrub:
        for column in ("framewise_displacement", "std_dvars"):
            if column not in table.columns:
                raise BadFileError(
                    "confounds table",
                    must_be=f"one with {column!r}",
                    got="none",
                    do="use 'simple'",
                    path=path,
                )
        moved_T = (table["framewise_displacement"] > FD_LIMIT_MM) | (table["std_dvars"] > DVARS_LIMIT)
        dropped_T |= without_short_segments(moved_T.to_numpy())
    if dropped_T.all():
        raise BadFileError(
            "run of fMRI", must_be="still somewhere", got="every frame flagged", do="leave it out", path=path
        )
    return np.flatnonzero(~dropped_T)


def without_short_segments(moved_T: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flag, beside the frames that are flagged, every segment between them of fewer than 5 frames."""
    flagged_T = moved_T.copy()
    if flagged_T.any():
        edges = np.flatnonzero(np.diff(flagged_T.astype(np.int8), prepend=1, append=1))
        for start, stop in edges.reshape(-1, 2):
            if stop - start < SHORTEST_SEGMENT:
                flagged_T[start:stop] = True
    return flagged_T
