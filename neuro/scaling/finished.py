"""A finished run of a scaling study: how large, how much it saw, what it cost, how well it did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One run, trained to its end.

    Attributes:
        params: parameters of the encoder without its embeddings (`neuro.scaling.parameters`).
        seen: what training went through, counted in one unit for all runs of a study (tokens, or clips).
        compute: FLOP of training (`neuro.scaling.flops`).
        loss: on people held out from every run of the study; NaN or infinite where training diverged.
        seed: of the run; runs that differ in nothing else are one cell.

    Raises:
        ParameterError: a count is not positive and finite, or the loss is zero or less (laws fit its log).
    """

    params: int
    seen: float
    compute: float
    loss: float
    seed: int = 0

    def __post_init__(self) -> None:
        # Numbers of numpy or torch would print, and go into JSON, as something else.
        for name, kind in (
            ("params", int),
            ("seen", float),
            ("compute", float),
            ("loss", float),
            ("seed", int),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name in ("params", "seen", "compute"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(f"{name} of a finished run", must_be="positive and finite", got=value)
        if self.loss <= 0:
            raise ParameterError(
                "loss of a finished run",
                must_be="positive, since laws are fitted to its logarithm",
                got=self.loss,
                do="give a mean squared error or a cross-entropy",
            )

    @property
    def diverged(self) -> bool:
        """Whether training ended without a loss that means anything."""
        return not math.isfinite(self.loss)

    @property
    def cell(self) -> tuple[int, float]:
        """What it shares with the runs of other seeds."""
        return self.params, self.seen


def cells(runs: Sequence[Finished]) -> dict[tuple[int, float], list[int]]:
    """(params, seen) -> places of its runs, from the cheapest cell to the dearest."""
    found: dict[tuple[int, float], list[int]] = {}
    for place in sorted(range(len(runs)), key=lambda i: (runs[i].compute, runs[i].cell)):
        found.setdefault(runs[place].cell, []).append(place)
    return found


def column(runs: Sequence[Finished], name: str) -> NDArray[np.float64]:
    """One attribute of all runs (M,)."""
    return np.array([float(getattr(run, name)) for run in runs])
