"""Cleaning of a run as one matrix: operator (F, T) @ series (T, V) -> cleaned (F, V), then z-scores.

Detrending, Butterworth filtering and the regression of confounds are all linear in time, so nilearn's
cleaning of the identity matrix *is* the cleaning, and applying it is one matrix product.
Letters: T frames of the run, F frames that are kept, V voxels, B voxels of a block, K confounds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from data.confounds import STRATEGIES
from data.errors import ParameterError, UnknownNameError, nearest

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

VERSION = 1  # of the arithmetic below: raise it when the same recipe begins to give other numbers
LEAST_FREEDOM = 5.0
BLOCK_VOXELS = 4096


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How runs are cleaned; equal recipes have equal `identity`.

    Attributes:
        confounds: a key of `data.confounds.STRATEGIES`: none, 6p, 9p, simple, scrubbing, compcor.
        detrend: remove the mean and the linear trend.
        high_pass: Hz, or None.
        low_pass: Hz, or None (Butterworth of fifth order, forwards and backwards, as nilearn's).
        smooth_mm: full width at half maximum of a Gaussian applied to whole volumes first, or None.
        drop_frames: frames dropped at the start, before anything else.

    Raises:
        UnknownNameError: no such strategy.
        ParameterError: a number that cannot work.
    """

    confounds: str = "simple"
    detrend: bool = True
    high_pass: float | None = 0.01
    low_pass: float | None = 0.1
    smooth_mm: float | None = None
    drop_frames: int = 0

    def __post_init__(self) -> None:
        if self.confounds not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise UnknownNameError(
                "confounds",
                must_be=f"one of {known}",
                got=self.confounds,
                do=nearest(self.confounds, STRATEGIES),
            )
        for name in ("high_pass", "low_pass", "smooth_mm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParameterError(name, must_be="a positive number or None", got=value)
        if self.high_pass is not None and self.low_pass is not None and self.high_pass >= self.low_pass:
            raise ParameterError(
                "high_pass", must_be=f"below low_pass ({self.low_pass:g} Hz)", got=self.high_pass
            )
        if self.drop_frames < 0:
            raise ParameterError("drop_frames", must_be="zero or more", got=self.drop_frames)

    @property
    def identity(self) -> str:
        """Readable and stable, such as `simple+detrend+0.01-0.1Hz-1a2b3c4d`; it stands in every result."""
        parts = [self.confounds]
        parts += ["detrend"] if self.detrend else []
        parts += [self._band] if self._band else []
        parts += [f"smooth{self.smooth_mm:g}mm"] if self.smooth_mm is not None else []
        parts += [f"drop{self.drop_frames}"] if self.drop_frames else []
        content = {
            key: float(value)
            if key in ("high_pass", "low_pass", "smooth_mm") and value is not None
            else value
            for key, value in asdict(self).items()
        }
        text = json.dumps([VERSION, content], sort_keys=True)
        return f"{'+'.join(parts)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def _band(self) -> str:
        match self.high_pass, self.low_pass:
            case None, None:
                return ""
            case high, None:
                return f"above{high:g}Hz"
            case None, low:
                return f"below{low:g}Hz"
            case high, low:
                return f"{high:g}-{low:g}Hz"


def cleaning_operator(
    n_frames: int,
    tr: float,
    confounds_TK: Doubles | None,
    recipe: Recipe,
    kept_F: NDArray[np.intp] | None = None,
) -> Doubles:
    """The matrix (F, T) that cleans a run of T frames; without dropped frames it is (T, T).

    Equal to `nilearn.signal.clean(identity, ..., standardize=None)` to about 1e-12. Frames that are not in
    `kept_F` are interpolated by a cubic spline before the filter and left out after it (Lindquist et al.
    2019), both in the run and in the confounds. nilearn 0.14.1 means to do the same with its `sample_mask`,
    but leaves a dropped frame as it is when its mirror image in time is dropped too, so the steps are taken
    here one by one.

    Args:
        n_frames: T.
        tr: seconds.
        confounds_TK: regressors, or None.
        recipe: filter, detrending and frames dropped at the start; its `confounds` and `smooth_mm` are not
            used here.
        kept_F: indices of frames to keep, increasing; None keeps all.

    Raises:
        ParameterError: the band does not fit the TR, the run is too short for the filter, or the confounds
            and the band leave fewer than 5 degrees of freedom (`freedom`), so that what is left would be
            rounding noise.
    """
    kept_F = np.arange(n_frames) if kept_F is None else np.asarray(kept_F)
    kept_F = kept_F[kept_F >= recipe.drop_frames]
    _check_fit(n_frames, kept_F.size, tr, recipe)
    filtered = recipe.high_pass is not None or recipe.low_pass is not None
    identity_TT = np.eye(n_frames)
    confounds_TK = np.empty((n_frames, 0)) if confounds_TK is None else np.asarray(confounds_TK, dtype=float)
    operator, regressors = (
        _filtered(matrix, kept_F, tr, recipe) if filtered else _detrended(matrix[kept_F], recipe)
        for matrix in (identity_TT, confounds_TK)
    )
    if regressors.shape[1]:
        from nilearn.signal import clean

        operator = clean(operator, confounds=regressors, detrend=False, filter=False, standardize=None)
    left = freedom(operator)
    if left < LEAST_FREEDOM:
        raise ParameterError(
            "degrees of freedom left by cleaning",
            must_be=f"at least {LEAST_FREEDOM:g}",
            got=f"{left:.1f} from {kept_F.size} frames of {tr:g} s with {regressors.shape[1]} confounds"
            f" and the band {recipe._band or 'open'}",
            do="take fewer confounds ('6p'), a wider band (low_pass=None, --low-pass 0) or longer runs",
        )
    return operator


def freedom(operator_FT: Doubles) -> float:
    """Degrees of freedom that an operator leaves in white noise: the sum of its squared entries."""
    return float((operator_FT**2).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanBlock:
    """A block of cleaned voxels.

    Attributes:
        columns: which of the V voxels.
        z_FB: float32 z-scores over time (sample standard deviation, as nilearn's `zscore_sample`); 0 where
            `std_B` is 0.
        mean_B: temporal mean of the raw series; 0 where it is not finite.
        std_B: standard deviation of the cleaned series in raw units; 0 for constant and for non-finite
            voxels.
        nonfinite_B: voxels with NaN or infinity somewhere in time.
    """

    columns: slice
    z_FB: Floats
    mean_B: Floats
    std_B: Floats
    nonfinite_B: NDArray[np.bool_]


def clean_blocks(series_TV: Floats, operator_FT: Doubles, block: int = BLOCK_VOXELS) -> Iterator[CleanBlock]:
    """Apply an operator to a series, a block of voxels at a time, in single precision."""
    for start in range(0, series_TV.shape[1], block):
        columns = slice(start, min(start + block, series_TV.shape[1]))
        yield _clean_block(series_TV[:, columns], operator_FT, columns)


def smoothed(
    frames: Iterator[tuple[int, Floats]], affine: Doubles, smooth_mm: float
) -> Iterator[tuple[int, Floats]]:
    """Blocks of frames (X, Y, Z, n), each frame smoothed by a Gaussian of that full width at half maximum."""
    from scipy.ndimage import gaussian_filter1d

    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    sigmas = smooth_mm / (math.sqrt(8 * math.log(2)) * voxel_mm)
    for start, block_XYZn in frames:
        smooth_XYZn = np.nan_to_num(block_XYZn, nan=0.0, posinf=0.0, neginf=0.0)
        for axis, sigma in enumerate(sigmas):
            smooth_XYZn = gaussian_filter1d(smooth_XYZn, sigma, axis=axis)
        yield start, smooth_XYZn


def _clean_block(raw_TB: Floats, operator_FT: Doubles, columns: slice) -> CleanBlock:
    nonfinite_B = np.logical_not(np.isfinite(raw_TB).all(axis=0))
    raw_TB = np.where(nonfinite_B, np.float32(0), raw_TB)
    mean_B = raw_TB.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Without its large mean the series keeps its digits in single precision; the mean is then cleaned by
    # itself.
    centred_TB = raw_TB - mean_B
    clean_FB = operator_FT.astype(np.float32) @ centred_TB
    clean_FB += np.outer(operator_FT.sum(axis=1).astype(np.float32), mean_B)
    clean_FB -= clean_FB.mean(axis=0, dtype=np.float64).astype(np.float32)
    std_B = clean_FB.std(axis=0, ddof=1, dtype=np.float64)
    # What is below single precision of the raw series is rounding, not signal.
    rounding_B = 1e-5 * centred_TB.std(axis=0, dtype=np.float64) + 1e-7 * np.abs(mean_B)
    std_B = np.where(std_B > rounding_B, std_B, 0.0).astype(np.float32)
    clean_FB *= np.divide(1, std_B, out=np.zeros_like(std_B), where=std_B > 0)
    return CleanBlock(columns=columns, z_FB=clean_FB, mean_B=mean_B, std_B=std_B, nonfinite_B=nonfinite_B)


def _check_fit(n_frames: int, n_kept: int, tr: float, recipe: Recipe) -> None:
    nyquist = 0.5 / tr
    for name in ("low_pass", "high_pass"):
        value = getattr(recipe, name)
        if value is not None and value >= nyquist:
            raise ParameterError(
                name,
                must_be=f"below {nyquist:.4g} Hz, half the sampling rate at a TR of {tr:g} s",
                got=f"{value:g} Hz",
                do="lower it or set it to None",
            )
    if n_kept < 3:
        raise ParameterError(
            "frames",
            must_be="at least 3 after dropping",
            got=f"{n_kept} of {n_frames}",
            do="drop fewer frames, or leave the run out",
        )


def _detrended(matrix: Doubles, recipe: Recipe) -> Doubles:
    if not recipe.detrend or not matrix.shape[1]:
        return matrix
    from nilearn.signal import clean

    detrended: Doubles = clean(matrix, detrend=True, filter=False, standardize=None)
    return detrended


def _filtered(matrix: Doubles, kept_F: NDArray[np.intp], tr: float, recipe: Recipe) -> Doubles:
    """Interpolate dropped frames, detrend, filter, and take the kept frames: (T, N) -> (F, N)."""
    if not matrix.shape[1]:
        return matrix[kept_F]
    from nilearn.signal import clean
    from scipy.interpolate import CubicSpline

    whole = np.arange(kept_F[0], kept_F[-1] + 1)
    gaps = whole.size != kept_F.size
    filled = CubicSpline(kept_F * tr, matrix[kept_F])(whole * tr) if gaps else matrix[whole]
    try:
        filtered: Doubles = clean(
            filled,
            detrend=recipe.detrend,
            high_pass=recipe.high_pass,
            low_pass=recipe.low_pass,
            t_r=tr,
            standardize=None,
        )
    except ValueError as error:
        if "padlen" not in str(error):
            raise
        raise ParameterError(
            "frames",
            must_be="more than the filter's edges (about 33)",
            got=f"{whole.size}",
            do="take longer runs, or no filter (high_pass=None, low_pass=None)",
        ) from error
    kept: Doubles = filtered[kept_F - kept_F[0]]
    return kept
