"""From which value on a run is called positive: chosen on inner folds, never by looking at a test side."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from neuro.calibration.calibrators import checked


def best_threshold(values: ArrayLike, labels: ArrayLike) -> float:
    """The cut with the highest balanced accuracy, which is that with the highest Youden's J (J = 2 BA - 1).

    A value at or above it is called positive. Cuts lie midway between neighbouring values. Of equals the one
    nearest to the middle between the means of the labels is taken. Where no cut is better than calling
    everybody alike, everybody gets the commoner label (of equals, 0).

    Args:
        values: scores or probabilities (N,), the higher the more positive, of people whom their models had
            not seen.
        labels: 0 or 1 (N,).

    Raises:
        ParameterError: values and labels do not fit together, a value is not finite, or a label is missing.
    """
    value_N, label_N = checked(values, labels)
    at_K = np.unique(value_N)
    cut_K = at_K[:-1] + np.diff(at_K) / 2
    # Midway between two neighbouring floats is one of them: the upper one keeps both on their sides.
    cut_K = np.where(cut_K > at_K[:-1], cut_K, at_K[1:])
    positive_P, negative_M = np.sort(value_N[label_N == 1]), np.sort(value_N[label_N == 0])
    # Counted, not divided: equals stay equal.
    gain_K = len(negative_M) * (len(positive_P) - np.searchsorted(positive_P, cut_K)) - len(positive_P) * (
        len(negative_M) - np.searchsorted(negative_M, cut_K)
    )
    if not len(cut_K) or gain_K.max() <= 0:
        everybody = len(positive_P) > len(negative_M)
        return float(at_K[0] if everybody else np.nextafter(at_K[-1], np.inf))
    best_K = cut_K[gain_K == gain_K.max()]
    middle = (positive_P.mean() + negative_M.mean()) / 2
    return float(best_K[np.abs(best_K - middle).argmin()])
