"""Does the law hold beyond what it was fitted to? The dearest cells are left out, and predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.errors import ParameterError
from data.interval import Interval
from neuro.scaling.finished import Finished, cells, column
from neuro.scaling.interval import draw_laws
from neuro.scaling.law import converged, fit_law, require_grid

LEFT_OUT = 0.2  # of the cells, the dearest; fewer where the rest could not be fitted otherwise


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A cell that the law was not fitted to.

    Attributes:
        params, seen, compute: of the cell.
        seeds: runs of it.
        observed: geometric mean of their losses.
        predicted: by the cheaper cells; the interval is one for the mean of as many new runs.
    """

    params: int
    seen: float
    compute: float
    seeds: int
    observed: float
    predicted: Interval

    @property
    def error(self) -> float:
        """Predicted over observed loss, less one."""
        return self.predicted.estimate / self.observed - 1

    @property
    def inside(self) -> bool:
        """Whether the observed loss lies in the interval."""
        return self.predicted.low <= self.observed <= self.predicted.high


def predict_held_out(
    runs: Sequence[Finished], *, resamples: int = 400, seed: int = 0
) -> tuple[Prediction, ...]:
    """Fit the law without the dearest fifth of the cells, and predict them.

    Returns:
        A prediction of each left-out cell, the cheapest first; none where no cell can be spared.
    """
    kept = converged(runs)
    members = cells(kept)
    left_out = _spared(kept, list(members))
    if not left_out:
        return ()
    rest = [run for run in kept if run.cell not in left_out]
    draws = draw_laws(rest, fit_law(rest), resamples=resamples, seed=seed)
    loss_M, compute_M = column(kept, "loss"), column(kept, "compute")
    return tuple(
        Prediction(
            params=cell[0],
            seen=cell[1],
            compute=float(compute_M[members[cell]].mean()),
            seeds=len(members[cell]),
            observed=float(np.exp(np.log(loss_M[members[cell]]).mean())),
            predicted=draws.loss(*cell, runs=len(members[cell])),
        )
        for cell in left_out
    )


def _spared(runs: Sequence[Finished], by_compute: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The dearest cells that the rest can do without."""
    for count in range(max(1, int(LEFT_OUT * len(by_compute))), 0, -1):
        left_out = by_compute[-count:]
        try:
            require_grid([run for run in runs if run.cell not in left_out])
        except ParameterError:
            continue
        return left_out
    return []
