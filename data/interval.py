"""A figure and how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # two-sided, of the normal distribution


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


NOTHING = Interval(estimate=math.nan, low=math.nan, high=math.nan)


def wilson(share: float, count: float, *, z: float = Z_95) -> Interval:
    """Wilson's score interval (1927) of a share of `count`, which has a width at 0 and 1 too; NaN of none."""
    if not count:
        return NOTHING
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    # At 0 and 1 one bound is the share itself, but for rounding.
    low, high = min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)
    return Interval(estimate=float(share), low=float(low), high=float(high))


def percentile_interval(estimate: float, values_R: NDArray[np.float64], *, tail: float = 0.025) -> Interval:
    """An estimate with the middle of its bootstrap values (R,), those that say nothing (NaN) left out.

    Args:
        estimate: of the sample itself; where it is NaN, so are the bounds.
        values_R: of the resamples.
        tail: share that is cut off at either end; 0.025 gives a 95 % interval.
    """
    known_R = values_R[np.isfinite(values_R)]
    if math.isnan(estimate) or not known_R.size:
        return Interval(estimate=estimate, low=math.nan, high=math.nan)
    low, high = np.percentile(known_R, [100 * tail, 100 * (1 - tail)])
    return Interval(estimate=float(estimate), low=float(low), high=float(high))
