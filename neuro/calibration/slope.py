"""The slope of labels on predicted log odds, for many resamples at once.

Letters: N runs, R resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PRIOR = 0.01  # keeps the slope finite where labels are parted without an error; elsewhere it moves nothing
STEPS = 200
FURTHEST = 1.0  # by which a step may move any log odds: Newton's full steps leap away from a steep start


def slopes(odds_N: Floats, label_N: NDArray[np.int64], weight_RN: Floats) -> Floats:
    """Slope of a logistic regression of the label on the log odds, one for each row of weights (R,).

    Newton's method on two coefficients, with a normal prior of variance 100 around slope 1 and intercept 0.
    """
    from scipy.special import expit

    slope_R, shift_R = np.zeros(len(weight_RN)), np.zeros(len(weight_RN))
    for _ in range(STEPS):
        p_RN = expit(slope_R[:, None] * odds_N + shift_R[:, None])
        error_RN, bend_RN = weight_RN * (p_RN - label_N), weight_RN * p_RN * (1 - p_RN)
        g_slope, g_shift = error_RN @ odds_N + PRIOR * (slope_R - 1), error_RN.sum(1) + PRIOR * shift_R
        h_slope, h_cross, h_shift = bend_RN @ odds_N**2 + PRIOR, bend_RN @ odds_N, bend_RN.sum(1) + PRIOR
        determinant = h_slope * h_shift - h_cross**2
        step_slope = (h_shift * g_slope - h_cross * g_shift) / determinant
        step_shift = (h_slope * g_shift - h_cross * g_slope) / determinant
        moved_R = np.maximum(
            np.abs(step_slope * odds_N.min() + step_shift), np.abs(step_slope * odds_N.max() + step_shift)
        )
        part_R = 1 / np.maximum(moved_R / FURTHEST, 1)
        slope_R, shift_R = slope_R - part_R * step_slope, shift_R - part_R * step_shift
        if moved_R.max() < 1e-9:
            break
    return np.asarray(slope_R)
