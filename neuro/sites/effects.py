"""ComBat's arithmetic: rows of one site, standardized -> the site's location and scale in every feature.

Johnson, Li and Rabinovic 2007 (Biostatistics 8:118), section 3; Fortin et al. 2018 (NeuroImage 167:104).

    x_ijf = alpha_f + covariates_ij beta_f + sigma_f (gamma_if + sqrt(delta_if) noise)

Letters: n rows of one site, F features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

Vector = NDArray[np.float64]
TOLERANCE, MAX_STEPS = 1e-8, 1000
NO_VARIANCE = 1e-12  # of a feature whose pooled residual has variance 1: rounding, not signal


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteEffect:
    """What a site does to each feature, in units of the pooled residual.

    Attributes:
        location_F: gamma, in standard deviations.
        variance_F: delta, a factor on the variance.
    """

    location_F: Vector
    variance_F: Vector

    def removed_from(self, z_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardized rows of the site, put on the common location and scale."""
        return np.asarray((z_NF - self.location_F) / np.sqrt(self.variance_F))


def no_effect(n_features: int) -> SiteEffect:
    """Location 0 and variance 1: what sites do on average."""
    return SiteEffect(location_F=np.zeros(n_features), variance_F=np.ones(n_features))


def site_effect(z_nF: NDArray[np.float64], *, empirical_bayes: bool) -> SiteEffect:
    """Location and scale of one site from its standardized rows (at least two).

    With `empirical_bayes` and at least two features, the estimates are drawn towards their distribution over
    features: a normal prior on locations, an inverse gamma one on variances, fitted by moments. A feature
    that does not vary within the site counts as one of variance 1, as in the authors' code.
    """
    n = len(z_nF)
    mean_F = z_nF.mean(axis=0)
    squares_F = ((z_nF - mean_F) ** 2).sum(axis=0)
    variance_F = squares_F / (n - 1)
    variance_F[variance_F < NO_VARIANCE] = 1.0
    if empirical_bayes and z_nF.shape[1] > 1:
        return _posterior(n, mean_F, squares_F, variance_F)
    return SiteEffect(location_F=mean_F, variance_F=variance_F)


def _posterior(n: int, mean_F: Vector, squares_F: Vector, variance_F: Vector) -> SiteEffect:
    """Means of the two conditional posteriors, each given the other, iterated until they stand still."""
    centre, spread = mean_F.mean(), mean_F.var(ddof=1)
    m, s2 = variance_F.mean(), variance_F.var(ddof=1)
    if s2 < NO_VARIANCE:  # all features say the same: the prior is a point
        location_F = (spread * n * mean_F + m * centre) / (spread * n + m)
        return SiteEffect(location_F=location_F, variance_F=np.full_like(mean_F, m))
    shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
    old_location_F, old_F = mean_F, variance_F
    for _ in range(MAX_STEPS):
        location_F = (spread * n * mean_F + old_F * centre) / (spread * n + old_F)
        # The sum of (z - location)^2 over rows, without going through the rows again.
        around_F = squares_F + n * (mean_F - location_F) ** 2
        new_F = (0.5 * around_F + rate) / (n / 2 + shape - 1)
        change = max(np.abs(location_F - old_location_F).max(), np.abs(new_F / old_F - 1).max())
        old_location_F, old_F = location_F, new_F
        if change < TOLERANCE:
            break
    else:
        warnings.warn(
            f"ComBat's estimates still changed by {change:.2g} after {MAX_STEPS} steps",
            ConvergenceWarning,
            stacklevel=2,
        )
    return SiteEffect(location_F=old_location_F, variance_F=old_F)
