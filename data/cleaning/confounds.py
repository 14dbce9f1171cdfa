"""Confounds of one run: fMRIPrep's table and a strategy -> (T, K) regressors and the frames to keep.

nilearn's own loader finds its table by file names that older versions of fMRIPrep do not use, and refuses
their column names; which columns are taken is nilearn's choice (`data.cleaning.confound_columns`). Letters: T
frames, K regressors, F frames kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.cleaning.censored_motion import without_censored
from data.cleaning.confound_columns import STRATEGIES, base_of, chosen_columns, missing_column, new_name
from data.cleaning.head_motion import displacement_of, without_short_segments
from data.errors import BadFileError

Doubles = NDArray[np.float64]

FD_LIMIT_MM, DVARS_LIMIT = 0.5, 1.5  # of `scrubbing`, as nilearn's


@dataclass(frozen=True, kw_only=True, eq=False)
class Confounds:
    """The regressors of one run.

    Attributes:
        values_TK: float64, demeaned over the kept frames.
        names: the K columns.
        kept_F: indices of the frames to keep, increasing.
        fd_T: framewise displacement in mm; NaN in the first frame, and wherever it is unknown.
    """

    values_TK: Doubles
    names: tuple[str, ...]
    kept_F: NDArray[np.intp]
    fd_T: Doubles

    @property
    def fd_mean(self) -> float:
        """Mean framewise displacement in mm, NaN where it is unknown."""
        return float(np.nanmean(self.fd_T)) if np.isfinite(self.fd_T).any() else float("nan")


def load_confounds(
    path: Path | None, confounds: str | tuple[str, ...], n_frames: int, fd_limit_mm: float | None = None
) -> Confounds:
    """The regressors that a strategy takes from a run's table, and the frames that stay.

    Frames that fMRIPrep flags as non-steady are never kept. `none` needs no table; where there is one, its
    flags and its displacement count all the same. Where the table has no framewise displacement it is
    computed from the six motion parameters (Power et al. 2012).

    Args:
        path: the table, or None.
        confounds: a key of `STRATEGIES`, or names of columns (see `Recipe.confounds`).
        n_frames: T.
        fd_limit_mm: frames of a larger displacement are dropped, and segments of fewer than 5 frames between
            them; None leaves it to the strategy (only `scrubbing` drops any, at 0.5 mm).

    Raises:
        BadFileError: the table is needed and absent, unreadable, of another length than the run, lacks a
            column or a value, or every frame would be dropped.
    """
    if path is None:
        if confounds != "none" or fd_limit_mm is not None:
            purpose = f"the strategy {confounds!r}" if confounds != "none" else "the limit of displacement"
            raise BadFileError(
                "confounds table",
                must_be=f"there for {purpose}",
                got="none",
                do="use 'none' and no limit of displacement",
            )
        nothing_T0, unknown_T = np.empty((n_frames, 0)), np.full(n_frames, np.nan)
        return Confounds(values_TK=nothing_T0, names=(), kept_F=np.arange(n_frames), fd_T=unknown_T)
    table = without_censored(read_table(path), path, n_frames)
    if len(table) != n_frames:
        raise BadFileError(
            "confounds table",
            must_be=f"of {n_frames} rows, one a frame",
            got=f"{len(table)} rows",
            do="give the table of this very run",
            path=path,
        )
    names = chosen_columns(table, confounds, path)
    fd_T = displacement_of(table)
    scrub = isinstance(confounds, str) and STRATEGIES[confounds].scrub
    moved_T = _moved(table, fd_T, scrub, fd_limit_mm, path)
    kept_F = _kept(table, moved_T, path)
    values_TK = np.column_stack([_series(table, name, path) for name in names] or [np.empty((n_frames, 0))])
    return Confounds(
        values_TK=values_TK - values_TK[kept_F].mean(axis=0), names=tuple(names), kept_F=kept_F, fd_T=fd_T
    )


def read_table(path: Path) -> pd.DataFrame:
    """The table with the column names of fMRIPrep >= 1.2, every value a float, `n/a` as NaN.

    Raises:
        BadFileError: it cannot be read, or holds words.
    """
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"], encoding="utf-8-sig")
        table.columns = table.columns.str.strip()
        return table.rename(columns=new_name).astype(np.float64)
    except (ValueError, OSError) as error:
        raise BadFileError(
            "confounds table",
            must_be="tab-separated numbers under a header",
            got=str(error),
            do="fetch it again",
            path=path,
        ) from error


def _series(table: pd.DataFrame, name: str, path: Path) -> Doubles:
    """One regressor (T,); a derivative or a square that the table lacks is computed from its base."""
    if name in table.columns:
        series = table[name].to_numpy(copy=True)
    else:
        if base_of(name) not in table.columns:
            raise missing_column(table, name, path)
        series = table[base_of(name)].to_numpy(copy=True)
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


def _moved(
    table: pd.DataFrame, fd_T: Doubles, scrub: bool, fd_limit_mm: float | None, path: Path
) -> NDArray[np.bool_]:
    """Frames (T,) in which the head moved too far, and short segments between them."""
    moved_T = np.zeros(len(table), dtype=bool)
    if not scrub and fd_limit_mm is None:
        return moved_T
    if not np.isfinite(fd_T).any():
        raise BadFileError(
            "confounds table",
            must_be="one with 'framewise_displacement' or the six motion parameters",
            got="neither",
            do="use 'simple' and no limit of displacement",
            path=path,
        )
    moved_T |= fd_T > (FD_LIMIT_MM if fd_limit_mm is None else fd_limit_mm)
    if scrub:
        if "std_dvars" not in table.columns:
            raise BadFileError(
                "confounds table",
                must_be="one with 'std_dvars'",
                got="none",
                do="use 'simple' with a limit of displacement",
                path=path,
            )
        moved_T |= table["std_dvars"].to_numpy() > DVARS_LIMIT
    return without_short_segments(moved_T)


def _kept(table: pd.DataFrame, moved_T: NDArray[np.bool_], path: Path) -> NDArray[np.intp]:
    dropped_T = moved_T | (table.filter(like="non_steady_state").to_numpy() != 0).any(axis=1)
    if dropped_T.all():
        raise BadFileError(
            "run of fMRI", must_be="still somewhere", got="every frame flagged", do="leave it out", path=path
        )
    return np.flatnonzero(~dropped_T)
