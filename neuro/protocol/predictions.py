"""What one model said of everybody while it had not seen them: the ground of every figure.

Letters: D deals of people into folds, N runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Out-of-fold predictions of one model. In each deal every run is tested once, or not at all (-1).

    Attributes:
        model: its name.
        run_ids: of the runs (N,).
        labels: 0 or 1 (N,).
        people: the person of each run (N,); who was scanned twice is one person.
        sites: where each run was scanned (N,).
        folds: the fold that tested each run (D, N); -1 where none did.
        scores: decision values (D, N), the higher the more positive. Those of different folds come from
            different models: only within a fold are they on one scale.
        probabilities: of label 1 (D, N), calibrated within the training fold.
        called: 0 or 1 (D, N), by a threshold that was chosen within the training fold.
        sets: whether each label is in a run's conformal set (D, N, 2); None where none were made.
    """

    model: str
    run_ids: NDArray[np.object_]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]
    folds: NDArray[np.int64]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    called: NDArray[np.int64]
    sets: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        runs = len(self.labels)
        for name in ("run_ids", "people", "sites"):
            if np.shape(getattr(self, name)) != (runs,):
                raise ParameterError(name, must_be=f"of shape ({runs},)", got=np.shape(getattr(self, name)))
        for name in ("folds", "scores", "probabilities", "called"):
            shape = np.shape(getattr(self, name))
            if len(shape) != 2 or shape != self.folds.shape or shape[1] != runs:
                raise ParameterError(name, must_be=f"of shape (deals, {runs}), as all of them", got=shape)
        if self.sets is not None and np.shape(self.sets) != (*self.folds.shape, 2):
            raise ParameterError(
                "sets", must_be=f"of shape {(*self.folds.shape, 2)}", got=np.shape(self.sets)
            )

    @property
    def deals(self) -> int:
        """D."""
        return len(self.folds)

    @property
    def tested(self) -> NDArray[np.bool_]:
        """Which runs were tested (D, N)."""
        return self.folds >= 0
