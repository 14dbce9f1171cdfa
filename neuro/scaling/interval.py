"""How far a law of loss can be trusted: runs -> refitted laws -> intervals of exponents and of losses.

Three ways to draw another study that might have been:

- `residuals`: losses of the fitted law, times residuals drawn from those of the fit, widened for the
  coefficients they were fitted with (Efron & Tibshirani 1993, chapter 9). Sizes and data stay as planned. The
  usual one; it believes the form of the law.
- `seeds`: within each cell, other seeds, with spread widened for the few there are (Rao & Wu 1988). It knows
  the noise of training alone.
- `cells`: other cells, each with all its seeds. It also feels where the law does not fit, and is wide where
  cells are few, as some draws have hardly three sizes.

Besiroglu et al. 2024 (arXiv 2404.10102) show why this is done with care: intervals of a fit that has not
converged are far too narrow. Each draw here is fitted until it has (`neuro.scaling.power_sum`).

Letters: M runs, R draws, P coefficients log E, log A, log B, alpha, beta, G points asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import ParameterError
from data.interval import Interval
from neuro.scaling.finished import Finished, cells, column
from neuro.scaling.frontier import Cost, best_loss, gamma
from neuro.scaling.law import LossLaw, converged, log_grid, log_sizes, require_grid
from neuro.scaling.power_sum import fit_power_sum, log_values

Floats = NDArray[np.float64]
Method = Literal["residuals", "seeds", "cells"]
Draw = Callable[[np.random.Generator], list[Finished]]

PERCENTILES = [2.5, 97.5]
TRIES = 20  # a draw: of few cells many have too few sizes


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """A law of loss and its refits.

    Attributes:
        law: of the runs as they are.
        theta_RP: coefficients of each refit.
        residual_M: residuals of log L, widened: what one more run may be off by.
        method: how studies were drawn.
        seed: of the drawing.
    """

    law: LossLaw
    theta_RP: Floats
    residual_M: Floats
    method: Method
    seed: int

    def exponents(self, cost: Cost) -> dict[str, Interval]:
        """alpha, beta, and the gamma that they imply for compute, each with its 95 % interval."""
        theta_P, theta_RP = self.law.theta_P, self.theta_RP
        return {
            "alpha": _interval(theta_P[3], theta_RP[:, 3]),
            "beta": _interval(theta_P[4], theta_RP[:, 4]),
            "gamma": _interval(gamma(theta_P, cost), gamma(theta_RP, cost)),
        }

    def floor(self) -> Interval:
        """E, the loss that neither size nor data undercuts."""
        return _interval(np.exp(self.law.theta_P[0]), np.exp(self.theta_RP[:, 0]))

    def loss(self, params: float, seen: float, *, runs: int | None = None) -> Interval:
        """The loss of a model of some size that saw so much.

        Args:
            params: of the model.
            seen: by it.
            runs: None for the law itself, or how many new runs are averaged: the interval then holds their
                geometric mean, and is wider by their noise.
        """
        x_12 = log_sizes(params, seen)
        log_loss_R = log_values(self.theta_RP, x_12)[:, 0]
        return _interval(self.law.loss(params, seen)[0], np.exp(log_loss_R + self._noise(runs)))

    def best_loss(self, cost: Cost, compute: float, *, runs: int | None = None) -> Interval:
        """The loss at the best size for a compute, `runs` as in `loss`."""
        log_loss_R = np.log(best_loss(self.theta_RP, cost, compute)[:, 0])
        estimate = best_loss(self.law.theta_P, cost, compute)[0]
        return _interval(estimate, np.exp(log_loss_R + self._noise(runs)))

    def band(self, cost: Cost, compute: ArrayLike) -> tuple[Floats, Floats]:
        """Lower and upper end of the law's loss at the best size for each compute (G,), (G,)."""
        low_G, high_G = np.percentile(best_loss(self.theta_RP, cost, compute), PERCENTILES, axis=0)
        return low_G, high_G

    def _noise(self, runs: int | None) -> Floats | float:
        if runs is None:
            return 0.0
        if runs < 1:
            raise ParameterError("runs", must_be="1 or more, or None for the law itself", got=runs)
        rng = np.random.default_rng([self.seed, 1])
        noise_R: Floats = rng.choice(self.residual_M, (len(self.theta_RP), runs)).mean(axis=1)
        return noise_R


def draw_laws(
    runs: Sequence[Finished],
    law: LossLaw,
    *,
    method: Method = "residuals",
    resamples: int = 400,
    seed: int = 0,
) -> Draws:
    """Refit the law to studies that might have been.

    Args:
        runs: the law was fitted to; diverged ones are left out.
        law: of these runs.
        method: `residuals`, `seeds` or `cells`, as the module tells.
        resamples: how many studies are drawn.
        seed: of the drawing.

    Raises:
        ParameterError: an unknown method, too few resamples, no cell with several seeds for `seeds`, or cells
            so few that hardly a draw of `cells` has enough of them.
    """
    if method not in get_args(Method):
        raise ParameterError("method", must_be=f"one of {', '.join(get_args(Method))}", got=repr(method))
    if resamples < 20:
        raise ParameterError("resamples", must_be="at least 20", got=resamples)
    kept = converged(runs)
    require_grid(kept)
    residual_M = _residuals(kept, law)
    draw = _drawing(kept, law, residual_M, method)
    rng = np.random.default_rng(seed)
    theta_RP = np.array([_refit(study, law) for study in _studies(draw, rng, resamples)])
    return Draws(law=law, theta_RP=theta_RP, residual_M=residual_M, method=method, seed=seed)


def _residuals(runs: Sequence[Finished], law: LossLaw) -> Floats:
    """Residuals of log L, widened for the coefficients they were fitted with (M,)."""
    log_loss_M = np.log(column(runs, "loss"))
    free = len(runs) - len(law.theta_P)
    return np.asarray((log_loss_M - log_values(law.theta_P, log_grid(runs))) * np.sqrt(len(runs) / free))


def _drawing(runs: list[Finished], law: LossLaw, residual_M: Floats, method: Method) -> Draw:
    members = list(cells(runs).values())
    if method == "residuals":
        fitted_M = log_values(law.theta_P, log_grid(runs))
        return lambda rng: _with_losses(runs, fitted_M + rng.choice(residual_M, len(runs)))
    if method == "cells":
        return lambda rng: [runs[i] for c in rng.integers(0, len(members), len(members)) for i in members[c]]
    if any(len(places) < 2 for places in members):
        lone = sum(len(places) < 2 for places in members)
        raise ParameterError(
            "seeds of each cell",
            must_be="at least 2 to draw among them",
            got=f"1 in {lone} of {len(members)} cells",
            do="train more seeds, or draw residuals or cells",
        )
    return lambda rng: _with_losses(runs, _other_seeds(np.log(column(runs, "loss")), members, rng))


def _other_seeds(log_loss_M: Floats, members: list[list[int]], rng: np.random.Generator) -> Floats:
    drawn_M = np.empty_like(log_loss_M)
    for places in members:
        own = log_loss_M[places]
        widened = (own - own.mean()) * np.sqrt(len(own) / (len(own) - 1))
        drawn_M[places] = own.mean() + rng.choice(widened, len(own))
    return drawn_M


def _with_losses(runs: Sequence[Finished], log_loss_M: Floats) -> list[Finished]:
    return [replace(run, loss=float(np.exp(value))) for run, value in zip(runs, log_loss_M, strict=True)]


def _studies(draw: Draw, rng: np.random.Generator, resamples: int) -> list[list[Finished]]:
    """Drawn studies that a law can be fitted to; those that it cannot are drawn again."""
    found: list[list[Finished]] = []
    for _ in range(TRIES * resamples):
        study = draw(rng)
        try:
            require_grid(study)
        except ParameterError:
            continue
        found.append(study)
        if len(found) == resamples:
            return found
    raise ParameterError(
        "cells",
        must_be="enough that draws of them still have three sizes and three amounts of data",
        got=f"so few that {len(found)} of {TRIES * resamples} draws did",
        do="draw residuals, or train more cells",
    )


def _refit(study: list[Finished], law: LossLaw) -> Floats:
    """Coefficients for a drawn study (P,); from the law the descent ends where it does from the grid."""
    fit = fit_power_sum(log_grid(study), column(study, "loss"), delta=law.delta, starts=[law.theta_P])
    return fit.theta_P


def _interval(estimate: float | Floats, values_R: Floats) -> Interval:
    low, high = np.percentile(values_R, PERCENTILES)
    return Interval(estimate=float(estimate), low=float(low), high=float(high))
