"""Logistic regression by Firth's penalized likelihood: finite where a cohort of forty is separable.

    l*(b) = l(b) + log |I(b)| / 2

Firth 1993 (Biometrika 80:27); profile intervals and likelihood-ratio tests after Heinze & Schemper 2002
(Statistics in Medicine 21:2409). Letters: N people, C columns of the design, the intercept among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.interval import Interval

Floats = NDArray[np.float64]
STEPS, TOLERANCE, LONGEST_STEP = 200, 1e-9, 5.0
CHI2_95 = 3.841459
FURTHEST = 60.0  # standard deviations' logits: an interval that reaches so far has no end


@dataclass(frozen=True, kw_only=True, eq=False)
class FirthFit:
    """A maximum of the penalized likelihood.

    Attributes:
        coefficients_C: logits for each unit of each column.
        log_likelihood: penalized.
    """

    coefficients_C: Floats
    log_likelihood: float


def fit(X_NC: Floats, y_N: NDArray[np.int64], *, held: dict[int, float] | None = None) -> FirthFit:
    """Maximize, with some coefficients held at values.

    The penalty is that of the whole design whatever is held, so that likelihoods of one design compare.

    Args:
        X_NC: of full column rank, with a column of ones.
        y_N: 0 or 1.
        held: column -> value.
    """
    held = held or {}
    free = np.array([column not in held for column in range(X_NC.shape[1])])
    b_C = np.zeros(X_NC.shape[1])
    for column, value in held.items():
        b_C[column] = value
    likelihood, score_C, information_CC = _at(X_NC, y_N, b_C)
    for _ in range(STEPS):
        if not free.any() or np.abs(score_C[free]).max() < TOLERANCE:
            break
        step = np.linalg.solve(information_CC[np.ix_(free, free)], score_C[free])
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        b_C, likelihood, score_C, information_CC, moved = _uphill(X_NC, y_N, b_C, free, step, likelihood)
        if not moved:
            break
    return FirthFit(coefficients_C=b_C, log_likelihood=likelihood)


def likelihood_ratio(X_NC: Floats, y_N: NDArray[np.int64], column: int) -> float:
    """Twice the penalized log likelihood that a column adds; never below 0."""
    whole, without = fit(X_NC, y_N), fit(X_NC, y_N, held={column: 0.0})
    return max(0.0, float(2 * (whole.log_likelihood - without.log_likelihood)))


def coefficient(X_NC: Floats, y_N: NDArray[np.int64], column: int) -> Interval:
    """A coefficient and its 95 % profile interval; infinite where the profile does not fall far enough."""
    whole = fit(X_NC, y_N)
    estimate = float(whole.coefficients_C[column])

    def above(value: float) -> float:
        return 2 * (whole.log_likelihood - fit(X_NC, y_N, held={column: value}).log_likelihood) - CHI2_95

    return Interval(
        estimate=estimate, low=_crossing(above, estimate, -1.0), high=_crossing(above, estimate, 1.0)
    )


def _crossing(above: Callable[[float], float], estimate: float, step: float) -> float:
    from scipy.optimize import brentq

    reach = step
    while above(estimate + reach) < 0:
        reach *= 2
        if abs(reach) > FURTHEST:
            return float(np.sign(step) * np.inf)
    ends = sorted((estimate, estimate + reach))
    return float(brentq(above, *ends, xtol=1e-4))


def _uphill(
    X_NC: Floats,
    y_N: NDArray[np.int64],
    b_C: Floats,
    free: NDArray[np.bool_],
    step: Floats,
    likelihood: float,
) -> tuple[Floats, float, Floats, Floats, bool]:
    """The step, halved until the likelihood does not fall; and whether one was found."""
    for _ in range(30):
        tried_C = b_C.copy()
        tried_C[free] += step
        found, score_C, information_CC = _at(X_NC, y_N, tried_C)
        if found >= likelihood - 1e-12:
            return tried_C, found, score_C, information_CC, True
        step = step / 2
    return b_C, likelihood, *_at(X_NC, y_N, b_C)[1:], False


def _at(X_NC: Floats, y_N: NDArray[np.int64], b_C: Floats) -> tuple[float, Floats, Floats]:
    """Penalized log likelihood, its gradient, and the information."""
    logit_N = X_NC @ b_C
    p_N = 1 / (1 + np.exp(-np.clip(logit_N, -500, 500)))
    weighted_NC = np.sqrt(p_N * (1 - p_N))[:, None] * X_NC
    information_CC = weighted_NC.T @ weighted_NC
    sign, log_determinant = np.linalg.slogdet(information_CC)
    if sign <= 0:
        return -np.inf, np.zeros_like(b_C), information_CC
    hat_N = np.einsum("nc,cn->n", weighted_NC, np.linalg.solve(information_CC, weighted_NC.T))
    score_C = X_NC.T @ (y_N - p_N + hat_N * (0.5 - p_N))
    likelihood = float(np.sum(y_N * logit_N - np.logaddexp(0, logit_N)))
    return likelihood + log_determinant / 2, score_C, information_CC
