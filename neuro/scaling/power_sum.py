"""A floor and falling powers, fitted to losses: logs of what grows (M, J), losses (M,) -> coefficients (P,).

    log L = logsumexp(e, a_1 - g_1 x_1, ..., a_J - g_J x_J),    L = E + sum over j of A_j X_j^-g_j

Fitted as Hoffmann et al. 2022 do (arXiv 2203.15556, appendix D.3): a Huber loss between the logs, the sum of
powers as a log-sum-exp, L-BFGS from a grid of starts, the best end. Besiroglu et al. 2024 (arXiv 2404.10102)
found what went wrong there: the scale of the objective made the optimiser stop before it had converged, which
made intervals far too narrow; and coefficients were rounded. So here the objective stands on a scale on which
no tolerance ends it early, x is centred (a and g are then nearly independent), the gradient is exact, and
nothing is rounded.

Letters: M runs, J things that grow, P = 1 + 2J coefficients in the order e, a_J, g_J, S starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DELTA = 1e-3  # Hoffmann et al.'s: where a residual of log L stops to count squared
LOWEST_EXPONENT, HIGHEST_EXPONENT = 0.01, 4.0
LOG_RANGE = 12.0  # a floor or a term e^-12 of the mean loss is none
START_EXPONENTS = (0.1, 0.3, 0.7, 1.5)
START_FLOORS, START_SPLITS = (0.3, 0.7, 0.95), (0.2, 0.5, 0.8)
DESCENTS = 24  # of the grid's starts, those with the least objective
SCALE = 1e6  # of the objective in units of delta squared: L-BFGS compares changes with 1
RESTARTS = 5  # from its own end: a bent objective can make the line search give up early


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerSum:
    """A fitted floor with falling powers.

    Attributes:
        theta_P: e, a_J, g_J.
        objective: sum of the Huber losses of log L, in its own units.
        at_bound: places in `g_J` of exponents that ended at a bound: the runs do not determine them.
    """

    theta_P: Floats
    objective: float
    at_bound: tuple[int, ...]


def log_values(theta: Floats, x_MJ: Floats) -> Floats:
    """log L: coefficients (P,) or (R, P) at x (M, J) -> (M,) or (R, M)."""
    J = x_MJ.shape[1]
    scales, exponents = theta[..., None, 1 : J + 1], theta[..., None, J + 1 :]
    terms = scales - exponents * x_MJ
    floor = np.broadcast_to(theta[..., :1, None], (*terms.shape[:-1], 1))
    logs: Floats = np.logaddexp.reduce(np.concatenate([floor, terms], axis=-1), axis=-1)
    return logs


def huber(residual: Floats, delta: float) -> Floats:
    """Huber's loss: squared and halved up to `delta`, a straight line beyond."""
    size = np.abs(residual)
    loss: Floats = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    return loss


def fit_power_sum(
    x_MJ: Floats, loss_M: Floats, *, delta: float = DELTA, starts: Sequence[Floats] | None = None
) -> PowerSum:
    """The coefficients of the least objective.

    Args:
        x_MJ: natural logs of what grows.
        loss_M: positive losses.
        delta: of Huber's loss on log L.
        starts: coefficients (P,) to start from; None takes the grid.
    """
    centre_J = x_MJ.mean(axis=0)
    centred_MJ, log_loss_M = x_MJ - centre_J, np.log(loss_M)
    given = (
        [_moved(theta, centre_J) for theta in starts]
        if starts is not None
        else _lowest(_grid(log_loss_M, x_MJ.shape[1]), centred_MJ, log_loss_M, delta)
    )
    bounds = _bounds(log_loss_M, x_MJ.shape[1])
    ends = [_descend(start, centred_MJ, log_loss_M, delta, bounds) for start in given]
    best = min(ends, key=lambda end: end[1])
    theta_P, objective = _polished(best, centred_MJ, log_loss_M, delta, bounds)
    exponents_J = theta_P[x_MJ.shape[1] + 1 :]
    stuck = (exponents_J <= LOWEST_EXPONENT * 1.001) | (exponents_J >= HIGHEST_EXPONENT * 0.999)
    return PowerSum(
        theta_P=_moved(theta_P, -centre_J),
        objective=objective,
        at_bound=tuple(int(j) for j in np.flatnonzero(stuck)),
    )


def objective(theta_P: Floats, x_MJ: Floats, log_loss_M: Floats, delta: float) -> tuple[float, Floats]:
    """Sum of the Huber losses, and its gradient (P,)."""
    J = x_MJ.shape[1]
    terms_MK = np.empty((len(x_MJ), J + 1))
    terms_MK[:, 0] = theta_P[0]
    terms_MK[:, 1:] = theta_P[1 : J + 1] - theta_P[J + 1 :] * x_MJ
    highest_M = terms_MK.max(axis=1)
    parts_MK = np.exp(terms_MK - highest_M[:, None])
    total_M = parts_MK.sum(axis=1)
    residual_M = highest_M + np.log(total_M) - log_loss_M
    slope_MK = np.clip(residual_M, -delta, delta)[:, None] * parts_MK / total_M[:, None]
    gradient_P = np.concatenate([slope_MK.sum(axis=0), -(slope_MK[:, 1:] * x_MJ).sum(axis=0)])
    return float(huber(residual_M, delta).sum()), gradient_P


def _moved(theta_P: Floats, by_J: Floats) -> Floats:
    """The same law of x - by: only the scales change."""
    J = len(by_J)
    moved_P = theta_P.copy()
    moved_P[1 : J + 1] -= theta_P[J + 1 :] * by_J
    return moved_P


def _grid(log_loss_M: Floats, J: int) -> list[Floats]:
    """Starts about the middle of the runs, where x is 0: a floor, what is above it dealt out, exponents."""
    lowest, middle = float(np.exp(log_loss_M.min())), float(np.exp(np.median(log_loss_M)))
    splits = [(share, 1 - share) for share in START_SPLITS] if J == 2 else [(1.0,)]
    starts = []
    for floor, split, exponents in product(START_FLOORS, splits, product(START_EXPONENTS, repeat=J)):
        above = middle - floor * lowest
        starts.append(np.log([floor * lowest, *(above * share for share in split), *np.exp(exponents)]))
    return starts


def _lowest(starts: list[Floats], x_MJ: Floats, log_loss_M: Floats, delta: float) -> list[Floats]:
    """The most promising starts: descending from all of them ends no lower."""
    residual_SM = log_values(np.array(starts), x_MJ) - log_loss_M
    order = np.argsort(huber(residual_SM, delta).sum(axis=1), kind="stable")
    return [starts[i] for i in order[:DESCENTS]]


def _bounds(log_loss_M: Floats, J: int) -> list[tuple[float, float]]:
    """No term may vanish or explode without end: a flat objective has no best point."""
    low, high = float(log_loss_M.min()), float(log_loss_M.max())
    term = (low - LOG_RANGE, high + LOG_RANGE)
    return [(low - LOG_RANGE, high), *[term] * J, *[(LOWEST_EXPONENT, HIGHEST_EXPONENT)] * J]


def _descend(
    start_P: Floats, x_MJ: Floats, log_loss_M: Floats, delta: float, bounds: list[tuple[float, float]]
) -> tuple[Floats, float]:
    from scipy.optimize import minimize

    scale = SCALE / delta**2

    def scaled(theta_P: Floats) -> tuple[float, Floats]:
        value, gradient_P = objective(theta_P, x_MJ, log_loss_M, delta)
        return value * scale, gradient_P * scale

    low, high = np.array(bounds).T
    end = minimize(
        scaled,
        np.clip(start_P, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 20},
    )
    return end.x, float(end.fun) / scale


def _polished(
    end: tuple[Floats, float],
    x_MJ: Floats,
    log_loss_M: Floats,
    delta: float,
    bounds: list[tuple[float, float]],
) -> tuple[Floats, float]:
    """The best end, started from again until it no longer gets better."""
    for _ in range(RESTARTS):
        again = _descend(end[0], x_MJ, log_loss_M, delta, bounds)
        if again[1] >= end[1] * (1 - 1e-9):
            break
        end = again
    return end
