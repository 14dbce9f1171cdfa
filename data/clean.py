"""Cleaning of a run as one matrix: operator (F, T) @ series (T, V) -> cleaned (F, V), then z-scores.

Detrending, Butterworth filtering and the regression of confounds are all linear in time, so nilearn's
cleaning of the identity matrix *is* the cleaning, and applying it is one matrix product.
Letters: T frames of the run, F frames that are kept, V voxels, B voxels of a block, K confounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.recipe import Recipe

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

LEAST_FREEDOM = 5.0


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
            f" and the band {recipe.band or 'open'}",
            do="take fewer confounds ('6p'), a wider band (low_pass=None, --low-pass 0) or longer runs",
        )
    return operator


def freedom(operator_FT: Doubles) -> float:
    """Degrees of freedom that an operator leaves in white noise: the sum of its squared entries."""
    return float((operator_FT**2).sum())


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
