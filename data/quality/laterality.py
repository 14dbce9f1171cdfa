"""Was a run mirrored, left for right? Headers, and mean images against the rest of the cohort.

A mirrored brain passes every other check: brains are nearly symmetric. Two things give it away: a header
whose qform and sform name opposite sides, and a run whose asymmetry (of the brain, and of the scanner's
receive field) runs against that of all others. The second is a suspicion, no proof: see `flip_correlation`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

STEP_MM = 6
REACH_MM = ((3, 69), (-102, 72), (-42, 78))  # of the lattice: x of one half, y, z in MNI mm
FEWEST_OTHERS, FEWEST_PLACES = 3, 50
LEAST_IN_COMMON = 0.3
ROUNDING = 1e-5
SMOOTHING_MM = 6.0  # FWHM: neighbouring gyri of two people never lie in one place


def header_flip(header: Any) -> bool:
    """Whether the qform and the sform of a NIfTI header, both set, take opposite sides for left."""
    if int(header["qform_code"]) == 0 or int(header["sform_code"]) == 0:
        return False
    # The determinant tells mirroring apart from turning, which the x axis alone would not.
    q, s = (np.linalg.det(form[:3, :3]) for form in (header.get_qform(), header.get_sform()))
    return bool(q * s < 0)


def asymmetry_map(mean_V: Floats, mask_XYZ: NDArray[np.bool_], affine: NDArray[np.float64]) -> Floats:
    """Right minus left of a mean image, relative to their sum, on a lattice of 6 mm over half of the brain.

    Args:
        mean_V: temporal mean, in-mask voxels in C order of the mask.
        mask_XYZ: bool.
        affine: (4, 4), voxel indices -> MNI mm.

    Returns:
        float32 (L,), NaN where either side lies outside the mask. Mirroring the image changes the signs.
    """
    right_L3 = np.stack(
        np.meshgrid(*(np.arange(a, b + 1, STEP_MM) for a, b in REACH_MM), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    volume_XYZ, weight_XYZ = _smoothed(mean_V, mask_XYZ, affine)
    right_L = _sampled(volume_XYZ, weight_XYZ, affine, right_L3)
    left_L = _sampled(volume_XYZ, weight_XYZ, affine, right_L3 * np.array([-1, 1, 1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        map_L: Floats = ((right_L - left_L) / (np.abs(right_L) + np.abs(left_L))).astype(np.float32)
    map_L[~np.isfinite(map_L)] = np.nan
    # Where every voxel's mean is one (a cache in percent) the two sides differ by rounding alone.
    map_L[np.abs(map_L) < ROUNDING] = 0
    return map_L


def _smoothed(
    mean_V: Floats, mask_XYZ: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[Floats, Floats]:
    """The mean image, zero outside its mask, and the mask itself, both smoothed: to be divided."""
    from scipy.ndimage import gaussian_filter

    sigma = SMOOTHING_MM / math.sqrt(8 * math.log(2)) / np.linalg.norm(affine[:3, :3], axis=0)
    volume_XYZ = np.zeros(mask_XYZ.shape, np.float32)
    volume_XYZ[mask_XYZ] = np.nan_to_num(mean_V)
    weight_XYZ = mask_XYZ.astype(np.float32)
    return gaussian_filter(volume_XYZ, sigma), gaussian_filter(weight_XYZ, sigma)


def _sampled(
    volume_XYZ: Floats, weight_XYZ: Floats, affine: NDArray[np.float64], points_L3: NDArray[np.int64]
) -> Floats:
    from scipy.ndimage import map_coordinates

    inverse = np.linalg.inv(affine)
    ijk_3L = inverse[:3, :3] @ points_L3.T + inverse[:3, 3:]
    value_L, weight_L = (map_coordinates(v, ijk_3L, order=1) for v in (volume_XYZ, weight_XYZ))
    return np.where(weight_L > 0.5, value_L / np.maximum(weight_L, 1e-6), np.nan)


def flip_correlation(maps_NL: Floats, people_N: NDArray[Any]) -> NDArray[np.float64]:
    """Correlation of each run's asymmetry with the mean of other people's, (N,).

    A run of the right side round correlates positively with the others, one that is mirrored negatively, as
    far as they have an asymmetry in common. Where they have none (median below 0.3) nothing can be told and
    all is NaN; where as many runs are mirrored as are not, none is found. Compare runs of one site: much of
    the asymmetry in common comes from the scanner's receive field.

    Args:
        maps_NL: asymmetry maps (N, L), NaN where unknown.
        people_N: whose run it is: a person's other runs are mirrored with it, and do not count.

    Returns:
        float64 (N,); NaN too where fewer than 3 other people, or 50 places, can be compared.
    """
    known_NL = np.isfinite(maps_NL)
    persons, of_N = np.unique(people_N, return_inverse=True)
    means_PL = np.stack([_mean(maps_NL[of_N == p], known_NL[of_N == p]) for p in range(len(persons))])
    known_PL = np.isfinite(means_PL)
    filled_PL = np.where(known_PL, means_PL, 0)
    counts_L, totals_L = known_PL.sum(axis=0), filled_PL.sum(axis=0)
    found_N = np.full(len(maps_NL), np.nan)
    for n, p in enumerate(of_N):
        others_L = counts_L - known_PL[p]
        rest_L = (totals_L - filled_PL[p]) / np.maximum(others_L, 1)
        enough_L = others_L >= max(FEWEST_OTHERS, (len(persons) - 1) // 2)
        found_N[n] = _correlation(maps_NL[n], rest_L, known_NL[n] & enough_L)
    compared_N = found_N[np.isfinite(found_N)]
    if not compared_N.size or np.median(compared_N) < LEAST_IN_COMMON:
        found_N[:] = np.nan
    return found_N


def _mean(maps_NL: Floats, known_NL: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over runs where any is known, else NaN, (L,)."""
    counts_L = known_NL.sum(axis=0)
    totals_L = np.where(known_NL, maps_NL, 0).sum(axis=0, dtype=np.float64)
    return np.where(counts_L > 0, totals_L / np.maximum(counts_L, 1), np.nan)


def _correlation(mine_L: Floats, rest_L: NDArray[np.float64], use_L: NDArray[np.bool_]) -> float:
    if np.count_nonzero(use_L) < FEWEST_PLACES:
        return math.nan
    mine, rest = mine_L[use_L].astype(np.float64), rest_L[use_L]
    if not (mine.any() and rest.any()):
        return math.nan
    # Not about the mean: one side brighter as a whole is an asymmetry too.
    return float(mine @ rest / np.sqrt((mine @ mine) * (rest @ rest)))
