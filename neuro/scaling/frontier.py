"""What compute buys at best: a law of loss and what runs cost -> best size and loss at each compute.

Cost is C = k N^p D: training costs the same for every clip, and k and p tell what a clip costs at each size.
p is 1 where 6 N D holds (Kaplan et al. 2020, arXiv 2001.08361); attention and embeddings, which small models
spend much on, move it. Then the loss on the best allocation is again a power law (Hoffmann et al. 2022, arXiv
2203.15556, equation 4, with p = 1 there):

    N(C) = ((A alpha) / (p B beta) (C/k)^beta)^(1 / (alpha + p beta)),    L(C) = E + F C^-gamma,
    gamma = alpha beta / (alpha + p beta)

`fit_compute_law` fits that one-variable law to the best cells themselves, without the law of loss between.

Letters: M runs, R coefficient draws, G computes asked about, P coefficients log E, log A, log B, alpha, beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from neuro.scaling.finished import Finished, cells, column
from neuro.scaling.law import converged, noise_delta
from neuro.scaling.power_sum import fit_power_sum, log_values

Floats = NDArray[np.float64]

FEWEST_BEST = 4  # cells on the frontier: three coefficients, and one to contradict them


@dataclass(frozen=True, kw_only=True)
class Cost:
    """FLOP of training, C = k N^p D.

    Attributes:
        log_k: natural log of k.
        power: p.
        worst: largest error of this rule on the runs it was fitted to, as a share of their compute.
    """

    log_k: float
    power: float
    worst: float

    def compute(self, params: ArrayLike, seen: ArrayLike) -> Floats:
        """FLOP of runs."""
        log_params, log_seen = np.log(np.asarray(params, float)), np.log(np.asarray(seen, float))
        return np.asarray(np.exp(self.log_k + self.power * log_params + log_seen))

    def seen(self, params: ArrayLike, compute: ArrayLike) -> Floats:
        """What a model of a size can see for a compute."""
        log_params, log_compute = np.log(np.asarray(params, float)), np.log(np.asarray(compute, float))
        return np.asarray(np.exp(log_compute - self.log_k - self.power * log_params))


@dataclass(frozen=True, kw_only=True, eq=False)
class ComputeLaw:
    """L(C) = E + A C^-gamma along the best cells.

    Attributes:
        theta_P: log E, log A, gamma, unrounded.
        best: the (params, seen) it was fitted to.
        undetermined: whether gamma ended at a bound of the fit.
    """

    theta_P: Floats
    best: tuple[tuple[int, float], ...]
    undetermined: bool

    @property
    def coefficients(self) -> dict[str, float]:
        """E, A and gamma by name."""
        floor, scale = np.exp(self.theta_P[:2])
        return {"E": float(floor), "A": float(scale), "gamma": float(self.theta_P[2])}

    def loss(self, compute: ArrayLike) -> Floats:
        """Loss at computes (G,)."""
        log_compute_G1 = np.log(np.atleast_1d(np.asarray(compute, float)))[:, None]
        return np.asarray(np.exp(log_values(self.theta_P, log_compute_G1)))


def fit_cost(runs: Sequence[Finished]) -> Cost:
    """What training costs by size and data: least squares of log (C / D) on log N.

    Raises:
        ParameterError: fewer than two sizes.
    """
    log_params_M = np.log(column(runs, "params"))
    log_each_M = np.log(column(runs, "compute")) - np.log(column(runs, "seen"))
    if len(np.unique(log_params_M)) < 2:
        raise ParameterError("model sizes", must_be="at least 2 to tell what they cost", got=1)
    power, log_k = np.polyfit(log_params_M, log_each_M, 1)
    error_M = np.abs(np.expm1(power * log_params_M + log_k - log_each_M))
    return Cost(log_k=float(log_k), power=float(power), worst=float(error_M.max()))


def best_params(theta: Floats, cost: Cost, compute: ArrayLike) -> Floats:
    """Log of the size that a law makes best at each compute: (P,) or (R, P) -> (G,) or (R, G)."""
    _, log_A, log_B, alpha, beta = np.moveaxis(theta[..., None], -2, 0)
    log_clips_G = np.log(np.atleast_1d(np.asarray(compute, float))) - cost.log_k
    above = log_A + np.log(alpha) - log_B - np.log(cost.power * beta) + beta * log_clips_G
    return np.asarray(above / (alpha + cost.power * beta))


def best_loss(theta: Floats, cost: Cost, compute: ArrayLike) -> Floats:
    """Loss at the best allocation of each compute: (P,) or (R, P) -> (G,) or (R, G)."""
    log_E, log_A, log_B, alpha, beta = np.moveaxis(theta[..., None], -2, 0)
    log_params = best_params(theta, cost, compute)
    log_clips_G = np.log(np.atleast_1d(np.asarray(compute, float))) - cost.log_k
    log_seen = log_clips_G - cost.power * log_params
    terms = np.logaddexp(log_A - alpha * log_params, log_B - beta * log_seen)
    return np.asarray(np.exp(np.logaddexp(log_E, terms)))


def gamma(theta: Floats, cost: Cost) -> Floats:
    """The exponent of loss by compute that a law of loss implies: (P,) or (R, P) -> () or (R,)."""
    alpha, beta = theta[..., 3], theta[..., 4]
    return np.asarray(alpha * beta / (alpha + cost.power * beta))


def best_cells(runs: Sequence[Finished]) -> list[tuple[tuple[int, float], float, float]]:
    """Cells that no cheaper cell equals: (cell, compute, loss), the loss a geometric mean over seeds.

    The mean comes first: the luckiest seed of many would lie below what compute buys.
    """
    kept, best = converged(runs), []
    lowest = np.inf
    compute_M, loss_M = column(kept, "compute"), column(kept, "loss")
    for cell, places in cells(kept).items():
        loss = float(np.exp(np.log(loss_M[places]).mean()))
        if loss < lowest:
            lowest = loss
            best.append((cell, float(compute_M[places].mean()), loss))
    return best


def fit_compute_law(runs: Sequence[Finished], *, delta: float | None = None) -> ComputeLaw:
    """Fit L(C) = E + A C^-gamma to the best cells.

    Args:
        runs: finished; diverged ones are left out.
        delta: of the Huber loss on log L; None fits it to the noise.

    Raises:
        ParameterError: fewer than four cells are best at their compute.
    """
    best = best_cells(runs)
    if len(best) < FEWEST_BEST:
        raise ParameterError(
            "cells that are best at their compute",
            must_be=f"at least {FEWEST_BEST}",
            got=len(best),
            do="train more cells, or more seeds of each",
        )
    delta = noise_delta(converged(runs)) if delta is None else delta
    log_compute_M1 = np.log(np.array([compute for _, compute, _ in best]))[:, None]
    fit = fit_power_sum(log_compute_M1, np.array([loss for _, _, loss in best]), delta=delta)
    return ComputeLaw(
        theta_P=fit.theta_P, best=tuple(cell for cell, _, _ in best), undetermined=bool(fit.at_bound)
    )
