"""The quality of one raw run: series (T, V), mask (X, Y, Z), affine and confounds -> numbers and a trace.

Letters: T frames of the run, V in-mask voxels in C order of the mask. Limits stand in
`data.quality.limits`, the table of a whole cohort in `data.caches.quality_table`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.cleaning.confounds import Confounds
from data.quality.coverage import REGIONS, region_coverage, template_dice
from data.quality.laterality import header_flip
from data.quality.temporal_quality import steadiness

FACTS = (
    "fd_mean",
    "fd_max",
    "censored_share",
    "minutes_kept",
    "tsnr",
    "dvars",
    "dvars_max",
    "constant_share",
    "nonfinite_share",
    "template_dice",
    *(f"cover_{region}" for region in REGIONS),
    "left_handed",
    "header_flip",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Quality:
    """What `measure` found.

    Attributes:
        facts: by the names of FACTS; a number that cannot be had is None, so that JSON takes it as it is.
            `fd_mean`, `fd_max`: framewise displacement in mm over all frames (Power et al. 2012).
            `censored_share`: frames that cleaning drops, 0 to 1; `minutes_kept`: what is left.
            `tsnr`, `dvars`, `dvars_max`: see `data.quality.temporal_quality.steadiness`; DVARS over all
                frames.
            `constant_share`, `nonfinite_share`: of the in-mask voxels.
            `template_dice`, `cover_…`: see `data.quality.coverage`; only in MNI spaces.
            `left_handed`: 1 where voxel x runs from right to left (a negative determinant).
            `header_flip`: 1 where qform and sform name opposite sides, None where the header was not given.
        trace: one row a raw frame: `fd` (mm), `dvars`, `kept` (bool).
    """

    facts: dict[str, float | None]
    trace: pd.DataFrame


def measure(
    series_TV: NDArray[np.float32],
    mask_XYZ: NDArray[np.bool_],
    affine: NDArray[np.float64],
    tr: float,
    space: str | None,
    confounds: Confounds,
    header: Any | None = None,
) -> Quality:
    """Measure a raw run before it is cleaned; the series is read in blocks and never copied.

    Args:
        series_TV: float32 (T, V), raw intensities in the mask.
        mask_XYZ: bool, true V times.
        affine: (4, 4), voxel indices -> mm.
        tr: seconds.
        space: as the file's name states it, or None.
        confounds: the run's own, for displacement and for the frames that are kept.
        header: nibabel's NIfTI header, if qform and sform are to be compared.
    """
    steady = steadiness(series_TV)
    living_XYZ = np.zeros_like(mask_XYZ)
    living_XYZ[mask_XYZ] = steady.usable_V
    n_frames = len(series_TV)
    kept_T = np.zeros(n_frames, dtype=np.bool_)
    kept_T[confounds.kept_F] = True
    fd_T = confounds.fd_T
    coverage = region_coverage(living_XYZ, affine, space)
    facts = {
        "fd_mean": _over_time(np.nanmean, fd_T),
        "fd_max": _over_time(np.nanmax, fd_T),
        "censored_share": float(1 - kept_T.mean()),
        "minutes_kept": float(kept_T.sum() * tr / 60),
        "tsnr": steady.tsnr,
        "dvars": _over_time(np.nanmean, steady.dvars_T),
        "dvars_max": _over_time(np.nanmax, steady.dvars_T),
        "constant_share": steady.constant_share,
        "nonfinite_share": steady.nonfinite_share,
        "template_dice": template_dice(mask_XYZ, affine, space),
        **{f"cover_{region}": share for region, share in coverage.items()},
        "left_handed": float(np.linalg.det(affine[:3, :3]) < 0),
        "header_flip": float("nan") if header is None else float(header_flip(header)),
    }
    trace = pd.DataFrame(
        {"time": np.arange(n_frames) * tr, "fd": fd_T, "dvars": steady.dvars_T, "kept": kept_T}
    )
    return Quality(
        facts={k: None if np.isnan(v) else float(f"{v:.6g}") for k, v in facts.items()}, trace=trace
    )


def _over_time(summary: Any, values_T: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all frames unknown: NaN is the answer
        return float(summary(values_T))
