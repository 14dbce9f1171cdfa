"""Units of a cache: temporal means of a run's voxels (V,) -> what to multiply its raw values by (V,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.cleaning.recipe import Recipe
from data.errors import ParameterError

Floats = NDArray[np.float32]

MEAN = 100.0  # what a scaled mean is
LEAST_SHARE = 0.05  # of the brain's median: less than this is no tissue to take a percentage of


def intensity_scale(mean_V: Floats, recipe: Recipe) -> Floats:
    """Factors float32 (V,) that turn a run's raw values into the recipe's units.

    Scanners give arbitrary units, and two sites' differ by a gain. `grand-mean` divides by the mean over the
    brain and time and multiplies by 100, as SPM does (one factor, so relations between voxels stay);
    `percent` does it in every voxel, so that deviations are percent signal change (as AFNI's `3dcalc
    a/b*100`). Where a voxel's mean is not above 5 % of the brain's median a percentage is meaningless, and
    the factor is 0: the voxel counts as constant. z-scores are the same whatever the units.

    Args:
        mean_V: temporal means in the scanner's units; 0 where a voxel has none.
        recipe: its `intensity` is used.

    Raises:
        ParameterError: means are not above zero, as in series that were demeaned before.
    """
    if recipe.intensity == "none":
        return np.ones(mean_V.shape, dtype=np.float32)
    usable_V = np.isfinite(mean_V) & (mean_V != 0)
    means_V = mean_V[usable_V].astype(np.float64)
    middle, spread = (np.median(means_V), np.median(np.abs(means_V))) if means_V.size else (0.0, 0.0)
    # A run that was demeaned has means of rounding, of either sign.
    if middle <= 0 or means_V.mean() <= 0 or middle < 0.5 * spread:
        raise ParameterError(
            "intensity",
            must_be="'none' for a run without a positive mean",
            got=f"{recipe.intensity!r} and a median of {middle:.3g} over {means_V.size} voxels",
            do="it was demeaned or z-scored before: take 'none', or an earlier stage of the data",
        )
    if recipe.intensity == "grand-mean":
        return np.full(mean_V.shape, MEAN / means_V.mean(), dtype=np.float32)
    tissue_V = usable_V & (mean_V > LEAST_SHARE * middle)
    scale_V = np.zeros(mean_V.shape, dtype=np.float32)
    return np.divide(np.float32(MEAN), mean_V, out=scale_V, where=tissue_V)
