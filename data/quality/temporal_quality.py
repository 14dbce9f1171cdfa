"""How steady a raw run is: series (T, V) -> temporal SNR and standardized DVARS, block by block.

Letters: T frames, V in-mask voxels, B voxels of a block. Nothing here copies the series: a block of it at a
time is centred in scratch memory. NaN and infinite voxels, and those that never change, are counted and
then left out of every figure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BLOCK_VOXELS = 1024  # of 200 frames: what a core keeps in its own cache
SCALE_VOXELS = 20_000  # on so many voxels, evenly spread, DVARS' standard is estimated
ROUNDING = 1e-6  # a spread below this share of the mean is single precision's rounding, not signal
IQR_OF_NORMAL = 1.349  # interquartile range of a normal variable of unit variance


@dataclass(frozen=True, kw_only=True, eq=False)
class Steadiness:
    """What a run's own voxels say.

    Attributes:
        dvars_T: standardized DVARS of each frame; the first is NaN, as it has no predecessor.
        tsnr: median temporal SNR; NaN where no voxel can be used.
        usable_V: voxels that are finite and change.
        constant_share, nonfinite_share: of the in-mask voxels.
    """

    dvars_T: Doubles
    tsnr: float
    usable_V: NDArray[np.bool_]
    constant_share: float
    nonfinite_share: float


def steadiness(series_TV: Floats, block: int = BLOCK_VOXELS) -> Steadiness:
    """Temporal SNR and DVARS of a raw in-mask series, float32 (T, V).

    Temporal SNR is mean over standard deviation (divisor T - 1) of a voxel, its linear trend taken off first,
    so that a scanner's drift is not counted as noise; the figure is the median over voxels (Krüger & Glover
    2001, doi 10.1002/mrm.1240; MRIQC, Esteban et al. 2017, doi 10.1371/journal.pone.0184661, reports the same
    median without detrending).

    DVARS is the root mean square over voxels of the change from one frame to the next (Power et al. 2012,
    doi 10.1016/j.neuroimage.2011.10.018), divided by what a stationary process of the same robust spread and
    lag-1 autocorrelation would show, so that 1 is ordinary (Nichols 2017, arXiv 1704.01469: fMRIPrep's
    `std_dvars`). Where there are more than 20,000 usable voxels, that divisor is taken from 20,000 of them,
    evenly spread: it moves by well under 1 %.
    """
    n_frames, n_voxels = series_TV.shape
    squares_T = np.zeros(n_frames - 1)
    tsnr_V = np.full(n_voxels, np.nan, dtype=np.float32)
    nonfinite = 0
    weights_2T = _level_and_trend(n_frames)
    for start in range(0, n_voxels, block):
        raw_TB = series_TV[:, start : start + block]
        tsnr_B, steps_T, damaged = _block(raw_TB, weights_2T)
        tsnr_V[start : start + block] = tsnr_B
        squares_T += steps_T
        nonfinite += damaged
    usable_V = np.isfinite(tsnr_V)
    usable = int(usable_V.sum())
    if not usable:
        dvars_T, tsnr = np.full(n_frames, np.nan), float("nan")
    else:
        standard = _dvars_standard(series_TV, np.flatnonzero(usable_V))
        dvars_T = np.concatenate([[np.nan], np.sqrt(squares_T / usable) / standard])
        tsnr = float(np.median(tsnr_V[usable_V]))
    return Steadiness(
        dvars_T=dvars_T,
        tsnr=tsnr,
        usable_V=usable_V,
        constant_share=(n_voxels - usable - nonfinite) / n_voxels,
        nonfinite_share=nonfinite / n_voxels,
    )


def _level_and_trend(n_frames: int) -> Floats:
    """Two rows (2, T): the mean, and the projection on a straight line of unit length."""
    ramp_T = np.arange(n_frames) - (n_frames - 1) / 2
    ramp_T /= max(float(np.linalg.norm(ramp_T)), 1e-12)
    return np.stack([np.full(n_frames, 1 / n_frames), ramp_T]).astype(np.float32)


def _block(raw_TB: Floats, weights_2T: Floats) -> tuple[Floats, Doubles, int]:
    """Temporal SNR by voxel (NaN where unusable), sums of squared steps by frame, and voxels with NaN."""
    with np.errstate(invalid="ignore"):
        mean_B, _ = weights_2T @ raw_TB
    finite_B = np.isfinite(mean_B)  # a NaN or an infinity anywhere in time leaves none finite
    if not finite_B.all():
        raw_TB = np.where(finite_B, raw_TB, np.float32(0))
        mean_B = np.where(finite_B, mean_B, np.float32(0))
    centred_TB = raw_TB - mean_B
    rest_B, trend_B = weights_2T @ centred_TB  # the first mean was rounded: `rest_B` is what it missed
    n_frames = len(raw_TB)
    squares_B = np.einsum("tb,tb->b", centred_TB, centred_TB) - n_frames * rest_B**2
    spread_B = np.sqrt((squares_B - trend_B**2).clip(0) / (n_frames - 1))
    level_B = np.abs(mean_B + rest_B)
    changes_B = np.sqrt(squares_B.clip(0) / n_frames) > ROUNDING * level_B
    usable_B = finite_B & changes_B & (spread_B > 0)
    tsnr_B = np.divide(level_B, spread_B, out=np.full_like(level_B, np.nan), where=usable_B)
    steps_TB = np.diff(centred_TB, axis=0)
    if not usable_B.all():
        steps_TB *= usable_B
    steps_T = np.einsum("tb,tb->t", steps_TB, steps_TB).astype(np.float64)
    return tsnr_B, steps_T, int((~finite_B).sum())


def _dvars_standard(series_TV: Floats, usable: NDArray[np.intp]) -> float:
    """The mean over voxels of the step's standard deviation that spread and autocorrelation foretell."""
    chosen = usable[:: max(1, len(usable) // SCALE_VOXELS)]
    parts = [chosen[start : start + BLOCK_VOXELS] for start in range(0, len(chosen), BLOCK_VOXELS)]
    standard = float(np.concatenate([_foretold_step(series_TV[:, part]) for part in parts]).mean())
    return standard if standard > 0 else float("nan")


def _foretold_step(sample_TS: Floats) -> Doubles:
    # As nipype and Nichols' own script do: quartiles without interpolation.
    low_S, high_S = np.quantile(sample_TS, [0.25, 0.75], axis=0, method="lower")
    centred_TS = sample_TS - sample_TS.mean(axis=0, dtype=np.float64)
    power_S = np.einsum("ts,ts->s", centred_TS, centred_TS)
    lagged_S = np.einsum("ts,ts->s", centred_TS[1:], centred_TS[:-1])
    return np.asarray(np.sqrt(2 * (1 - lagged_S / power_S)) * (high_S - low_S) / IQR_OF_NORMAL)
