"""Series of regions (L, R) -> how each goes with all the others over these frames (R, R), as Fisher's z.

Letters: L frames, R regions, A regions that have a signal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from neuro.tokens.run_tokens import Floats

LARGEST_CORRELATION = 1 - 1e-6  # Fisher's z of 1 is infinite
RIDGE = 1e-6  # of a variance of 1: two regions with one and the same signal have a precision, too


def correlations(series_LR: Floats) -> Floats:
    """Correlations of each two regions, (R, R); 0 with itself and without signal."""
    unit_LR, _ = _standardized(series_LR)
    return _fisher(unit_LR.T @ unit_LR / len(unit_LR))


def partial_correlations(series_LR: Floats) -> Floats:
    """What each two regions share that no other region tells, (R, R); 0 with itself and without signal.

    From the inverse of the z-scores' covariance (Marrelec et al. 2006, doi 10.1016/j.neuroimage.2005.12.057).
    It is shrunk before, as a clip has few frames for that many regions (Ledoit and Wolf 2004, doi
    10.1016/S0047-259X(03)00096-4).
    """
    from sklearn.covariance import ledoit_wolf

    unit_LR, alive_R = _standardized(series_LR)
    partial_RR = np.zeros((len(alive_R), len(alive_R)))
    if alive_R.any():
        covariance_AA, _ = ledoit_wolf(unit_LR[:, alive_R], assume_centered=True)
        precision_AA = np.linalg.inv(covariance_AA + RIDGE * np.eye(len(covariance_AA)))
        scale_A = np.sqrt(np.diag(precision_AA))
        partial_RR[np.ix_(alive_R, alive_R)] = -precision_AA / np.outer(scale_A, scale_A)
    return _fisher(partial_RR)


# Kind of profile -> how it is made.
PROFILES: dict[str, Callable[[Floats], Floats]] = {
    "correlation": correlations,
    "partial": partial_correlations,
}


def _standardized(series_LR: Floats) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """z-scores over these frames (L, R), 0 without signal; and which regions have one (R,)."""
    centred_LR = np.asarray(series_LR, dtype=np.float64) - series_LR.mean(0, dtype=np.float64)
    std_R = centred_LR.std(0)
    alive_R = std_R > 1e-6
    return np.divide(centred_LR, std_R, out=np.zeros_like(centred_LR), where=alive_R), alive_R


def _fisher(correlation_RR: NDArray[np.float64]) -> Floats:
    clipped_RR = np.clip(correlation_RR, -LARGEST_CORRELATION, LARGEST_CORRELATION)
    np.fill_diagonal(clipped_RR, 0)
    return np.asarray(np.arctanh(clipped_RR), dtype=np.float32)
