"""Bins of probabilities, and the squared error of their means with the part of it that is sampling noise.

Letters: N runs, G people, B bins, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def equal_count(probability_N: Floats, bins: int) -> Indices:
    """The bin of each run (N,), from 0, by rank; equal probabilities stay together, so counts may differ."""
    value_K, place_N, count_K = np.unique(probability_N, return_inverse=True, return_counts=True)
    # A value belongs where the middle of its ranks falls.
    middle_K = np.cumsum(count_K) - (count_K + 1) / 2
    bin_K = (middle_K * bins / len(probability_N)).astype(np.intp)
    return np.unique(bin_K, return_inverse=True)[1][place_N] if len(value_K) else place_N


def equal_width(probability_N: Floats, bins: int) -> Indices:
    """The bin of each run (N,) among [0, 1/B), [1/B, 2/B), ... with 1 in the last; bins may be empty."""
    return np.minimum((probability_N * bins).astype(np.intp), bins - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class BinSums:
    """What resamples of people add up to in each bin, for R resamples.

    Attributes:
        runs: how many runs (R, B).
        people: how many people (R, B); someone in several bins counts in each.
        mean: of the residuals (R, B), label less probability; 0 where a bin is empty.
        spread: sum over people of the squared deviation of their sum from what the mean expects (R, B).
    """

    runs: Floats
    people: Floats
    mean: Floats
    spread: Floats

    def squared(self) -> Floats:
        """Squared calibration error (R,): squared mean residual of the bins, weighted by their runs."""
        return self._over_bins(self.mean**2)

    def noise(self) -> Floats:
        """The part of `squared` that sampling alone puts there (R,): the variance of each bin's mean.

        By people (the cluster variance of a ratio), so that copies of a run tell nothing new. A bin with one
        person says nothing of its noise, and counts as noise alone.
        """
        known = self.people > 1
        factor = np.divide(self.people, self.people - 1, out=np.zeros_like(self.people), where=known)
        variance = factor * self.spread / np.maximum(self.runs, 1) ** 2
        return self._over_bins(np.where(known, variance, self.mean**2))

    def _over_bins(self, value_RB: Floats) -> Floats:
        return np.asarray((self.runs * value_RB).sum(1) / self.runs.sum(1))


def bin_sums(residual_N: Floats, person_N: Indices, bin_N: Indices, weight_RG: Floats) -> BinSums:
    """Add up residuals by bin, each person as often as a resample drew them.

    Args:
        residual_N: label less probability.
        person_N: 0 to G - 1.
        bin_N: from 0.
        weight_RG: how often each person was drawn.
    """
    shape = (weight_RG.shape[1], int(bin_N.max()) + 1)
    runs_GB, sum_GB = np.zeros(shape), np.zeros(shape)
    np.add.at(runs_GB, (person_N, bin_N), 1.0)
    np.add.at(sum_GB, (person_N, bin_N), residual_N)
    runs_RB, sum_RB = weight_RG @ runs_GB, weight_RG @ sum_GB
    mean_RB = sum_RB / np.maximum(runs_RB, 1)
    # sum_g w (s_g - mean n_g)^2, multiplied out so that it is matrix products
    spread_RB = (
        weight_RG @ sum_GB**2
        - 2 * mean_RB * (weight_RG @ (sum_GB * runs_GB))
        + mean_RB**2 * (weight_RG @ runs_GB**2)
    )
    return BinSums(
        runs=runs_RB,
        people=weight_RG @ (runs_GB > 0),
        mean=mean_RB,
        spread=np.maximum(spread_RB, 0),
    )
