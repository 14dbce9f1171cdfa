"""Cleaning of a run as one matrix: operator (F, T) @ series (T, V) -> cleaned (F, V), then z-scores.

Detrending, Butterworth filtering, resampling in time and the regression of confounds are all linear in time,
so nilearn's cleaning of the identity matrix *is* the cleaning, and applying it is one matrix product.
Letters: T frames of the run, F frames that are kept (at the recipe's TR, where it names one), V voxels, B
voxels of a block, K confounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data.cleaning.recipe import Recipe
from data.cleaning.resample import FWHM, over_finite
from data.cleaning.time_grid import new_times, resampled_in_time, same_tr, still_kept
from data.errors import ParameterError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

LEAST_FREEDOM = 5.0


def cleaning_operator(
    n_frames: int,
    tr: float,
    confounds_TK: Doubles | None,
    recipe: Recipe,
    kept_F: Indices | None = None,
) -> Doubles:
    """The matrix (F, T) that cleans a run of T frames; without dropped frames it is (T, T).

    Equal to `nilearn.signal.clean(identity, ..., standardize=None)` to about 1e-12. Frames that are not in
    `kept_F` are interpolated by a cubic spline before the filter and left out after it (Lindquist et al.
    2019), both in the run and in the confounds. nilearn 0.14.1 means to do the same with its `sample_mask`,
    but leaves a dropped frame as it is when its mirror image in time is dropped too, so the steps are taken
    here one by one.

    Where `recipe.tr` is another than the run's, run and confounds alike are resampled after the filter and
    before the regression (`data.cleaning.time_grid`), so that what is left is orthogonal to the confounds,
    and rows are frames at `kept_times`.

    Args:
        n_frames: T.
        tr: seconds.
        confounds_TK: regressors, or None.
        recipe: filter, detrending, common TR and frames dropped at the start; nothing else of it is used.
        kept_F: indices of frames to keep, increasing; None keeps all.

    Raises:
        ParameterError: the band does not fit the TR, the run is too short for the filter, or the confounds
            and the band leave fewer than 5 degrees of freedom (`freedom`), so that what is left would be
            rounding noise.
    """
    kept_F = _from_start(n_frames, recipe, kept_F)
    _check_fit(n_frames, kept_F, tr, recipe)
    identity_TT = np.eye(n_frames)
    confounds_TK = np.empty((n_frames, 0)) if confounds_TK is None else np.asarray(confounds_TK, dtype=float)
    operator, regressors = (_prepared(matrix, kept_F, tr, recipe) for matrix in (identity_TT, confounds_TK))
    if regressors.shape[1]:
        from nilearn.signal import clean

        operator = clean(operator, confounds=regressors, detrend=False, filter=False, standardize=None)
    left = freedom(operator, output_tr(tr, recipe) / tr)
    if left < LEAST_FREEDOM:
        raise ParameterError(
            "degrees of freedom left by cleaning",
            must_be=f"at least {LEAST_FREEDOM:g}",
            got=f"{left:.1f} from {kept_F.size} frames of {tr:g} s with {regressors.shape[1]} confounds"
            f" and the band {recipe.band or 'open'}",
            do="take fewer confounds ('6p'), a wider band (low_pass=None, --low-pass 0) or longer runs",
        )
    return operator


def freedom(operator_FT: Doubles, stretch: float = 1.0) -> float:
    """Degrees of freedom that an operator leaves in white noise: the sum of its squared entries.

    Args:
        operator_FT: of `cleaning_operator`.
        stretch: `output_tr(tr, recipe) / tr`. Resampling to twice the rate writes each of them down twice:
            the frames are more, what is known is not.
    """
    return float((operator_FT**2).sum() * stretch)


def output_tr(tr: float, recipe: Recipe) -> float:
    """Seconds between the rows of the operator: the recipe's common TR, or else the run's."""
    return tr if recipe.tr is None or same_tr(tr, recipe.tr) else recipe.tr


def kept_times(n_frames: int, tr: float, recipe: Recipe, kept_F: Indices | None = None) -> Doubles:
    """Times (F,) of the operator's rows, in seconds after the run's first frame.

    At a common TR they are the first kept frame's time and whole multiples of it from there, never after the
    last kept frame. One between two frames of the run is kept when both are, one that falls upon a frame
    when that is.
    """
    kept_F = _from_start(n_frames, recipe, kept_F)
    if output_tr(tr, recipe) == tr or not kept_F.size:
        return kept_F.astype(np.float64) * tr
    rows_S = new_times(int(np.ptp(kept_F)) + 1, tr, output_tr(tr, recipe))
    times: Doubles = (kept_F[0] + rows_S[_rows(kept_F, rows_S)]) * tr
    return times


def smoothed(
    frames: Iterator[tuple[int, Floats]], affine: Doubles, smooth_mm: float
) -> Iterator[tuple[int, Floats]]:
    """Blocks of frames (X, Y, Z, n), each frame smoothed by a Gaussian of that full width at half maximum.

    Equal to nilearn's `smooth_img` where all is finite. A voxel that is not finite has no weight in its
    neighbours, and stays without a value: as a 0, which nilearn makes of it, it would darken them.
    """
    from scipy.ndimage import gaussian_filter1d

    sigmas = smooth_mm / (FWHM * np.linalg.norm(affine[:3, :3], axis=0))

    def blurred(block_XYZn: Floats) -> Floats:
        for axis, sigma in enumerate(sigmas):
            block_XYZn = gaussian_filter1d(block_XYZn, sigma, axis=axis)
        return block_XYZn

    for start, block_XYZn in frames:
        smooth_XYZn = over_finite(blurred, block_XYZn)
        smooth_XYZn[~np.isfinite(block_XYZn)] = np.nan
        yield start, smooth_XYZn


def _from_start(n_frames: int, recipe: Recipe, kept_F: Indices | None) -> Indices:
    kept_F = np.arange(n_frames) if kept_F is None else np.asarray(kept_F)
    return kept_F[kept_F >= recipe.drop_frames]


def _rows(kept_F: Indices, rows_S: Doubles) -> NDArray[np.bool_]:
    """Which of the new frames (S,), in old ones after the first kept, rest on kept frames alone."""
    kept_T = np.zeros(int(np.ptp(kept_F)) + 1, dtype=bool)
    kept_T[kept_F - kept_F[0]] = True
    return still_kept(kept_T, rows_S)


def _check_fit(n_frames: int, kept_F: Indices, tr: float, recipe: Recipe) -> None:
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
    n_kept = kept_F.size if kept_F.size < 3 else kept_times(n_frames, tr, recipe, kept_F).size
    if n_kept < 3:
        raise ParameterError(
            "frames",
            must_be="at least 3 after dropping",
            got=f"{n_kept} of {n_frames}",
            do="drop fewer frames, or leave the run out",
        )


def _prepared(matrix: Doubles, kept_F: Indices, tr: float, recipe: Recipe) -> Doubles:
    """Columns (T, N), of the run or of the confounds, as the regression takes them: (F, N)."""
    if not matrix.shape[1]:
        return np.empty((kept_times(len(matrix), tr, recipe, kept_F).size, 0))
    if output_tr(tr, recipe) != tr:
        whole_TN = _filtered(_without_gaps(matrix, kept_F), tr, recipe)
        rows_S = new_times(len(whole_TN), tr, output_tr(tr, recipe))
        resampled_SN = resampled_in_time(whole_TN, tr, output_tr(tr, recipe))
        new_FN: Doubles = resampled_SN[_rows(kept_F, rows_S)]
        return new_FN
    if recipe.high_pass is None and recipe.low_pass is None:
        return _filtered(matrix[kept_F], tr, recipe)
    kept_FN: Doubles = _filtered(_without_gaps(matrix, kept_F), tr, recipe)[kept_F - kept_F[0]]
    return kept_FN


def _without_gaps(matrix: Doubles, kept_F: Indices) -> Doubles:
    """From the first to the last kept frame, those between that are not kept drawn by a cubic spline."""
    from scipy.interpolate import CubicSpline

    whole = np.arange(kept_F[0], kept_F[-1] + 1)
    if whole.size == kept_F.size:
        return matrix[whole]
    filled: Doubles = CubicSpline(kept_F, matrix[kept_F])(whole)
    return filled


def _filtered(matrix: Doubles, tr: float, recipe: Recipe) -> Doubles:
    """Detrended and filtered columns, as far as the recipe says so."""
    from nilearn.signal import clean

    if not recipe.detrend and recipe.high_pass is None and recipe.low_pass is None:
        return matrix
    try:
        filtered: Doubles = clean(
            matrix,
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
            got=f"{len(matrix)}",
            do="take longer runs, or no filter (high_pass=None, low_pass=None)",
        ) from error
    return filtered
