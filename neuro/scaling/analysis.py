"""Everything that finished runs say about scaling: laws, intervals, an extrapolation, and a check of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import ParameterError
from data.interval import Interval
from neuro.scaling.finished import Finished
from neuro.scaling.frontier import ComputeLaw, Cost, best_params, fit_compute_law, fit_cost
from neuro.scaling.held_out import Prediction, predict_held_out
from neuro.scaling.interval import Draws, Method, draw_laws
from neuro.scaling.law import LossLaw, converged, fit_law

METHODS: tuple[Method, ...] = ("residuals", "seeds", "cells")


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """What a larger compute would buy at best.

    Attributes:
        compute: FLOP of the training.
        params, seen: the size and the data to spend it on.
        loss: that the law expects; the interval is of the law, without the noise of a run.
    """

    compute: float
    params: float
    seen: float
    loss: Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """The laws of a study.

    Attributes:
        runs: all finished ones, diverged ones among them.
        law: L(N, D).
        cost: C(N, D).
        compute_law: L(C) along the best cells; None where they are too few.
        draws: refits of the law by each method that could be had, the one of residuals first.
        not_drawn: method -> why it could not be had.
        extrapolation: to the study's reach.
        held_out: predictions of the dearest cells from the others; none where none could be spared.
    """

    runs: tuple[Finished, ...]
    law: LossLaw
    cost: Cost
    compute_law: ComputeLaw | None
    draws: tuple[Draws, ...]
    not_drawn: dict[Method, str]
    extrapolation: Extrapolation
    held_out: tuple[Prediction, ...]


def analyse(runs: Sequence[Finished], *, reach: float = 10, resamples: int = 400, seed: int = 0) -> Analysis:
    """Fit the laws, draw intervals, extrapolate, and check.

    Args:
        runs: finished ones.
        reach: how many times the largest compute of a run to extrapolate to.
        resamples: of each bootstrap.
        seed: of the drawing.

    Raises:
        ParameterError: the runs cannot tell the law of loss (`fit_law`).
    """
    law, kept = fit_law(runs), converged(runs)
    cost = fit_cost(kept)
    draws, not_drawn = [], {}
    for method in METHODS:
        try:
            draws.append(draw_laws(kept, law, method=method, resamples=resamples, seed=seed))
        except ParameterError as error:
            not_drawn[method] = str(error)
    return Analysis(
        runs=tuple(runs),
        law=law,
        cost=cost,
        compute_law=_compute_law(kept, law.delta),
        draws=tuple(draws),
        not_drawn=not_drawn,
        extrapolation=_extrapolate(draws[0], cost, reach * max(run.compute for run in kept)),
        held_out=predict_held_out(kept, resamples=resamples, seed=seed),
    )


def _compute_law(runs: Sequence[Finished], delta: float) -> ComputeLaw | None:
    try:
        return fit_compute_law(runs, delta=delta)
    except ParameterError:
        return None


def _extrapolate(draws: Draws, cost: Cost, compute: float) -> Extrapolation:
    params = float(np.exp(best_params(draws.law.theta_P, cost, compute)[0]))
    return Extrapolation(
        compute=compute,
        params=params,
        seen=float(cost.seen(params, compute)),
        loss=draws.best_loss(cost, compute),
    )
