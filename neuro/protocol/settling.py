"""One contender on the training side of one fold: what is chosen there, and what comes of it.

Inner folds give every run of the training side a score by a model that had not seen its person. By these
scores, and by nothing else, settings are chosen, scores become probabilities, and the threshold is set; then
the chosen settings are fitted to the whole side. The test side has no part in any of it.

Letters: n runs of the test side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from data.splits.folds import Fold, assert_no_leak
from data.splits.nested_splits import NestedFold
from neuro.calibration.calibration import Calibration, calibrate
from neuro.calibration.inner_scores import InnerScores, fitted, inner_scores
from neuro.protocol.contender import Contender, decided, taken
from neuro.protocol.roster import Roster

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class HowCalibrated:
    """How scores become more than scores.

    Attributes:
        method: of the curve (see `neuro.calibration.calibrators`).
        coverage: of the conformal sets.
    """

    method: str = "platt"
    coverage: float = 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested:
    """What is said of runs that were not seen before.

    Attributes:
        scores, probabilities, called: (n,), as in `Predictions`.
        sets: whether each label is in the run's conformal set (n, 2).
    """

    scores: Floats
    probabilities: Floats
    called: NDArray[np.int64]
    sets: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Settled:
    """A contender ready for a test side.

    Attributes:
        estimator: fitted to the whole training side.
        settings: those that were chosen.
        calibration: scores -> probabilities, the threshold, and sets of labels.
        inner_auc: mean over inner folds, of each of the settings that were tried.
        inner: out-of-inner-fold scores of the training side, by the settings that were chosen.
    """

    estimator: Any
    settings: Mapping[str, Any]
    calibration: Calibration
    inner_auc: tuple[float, ...]
    inner: InnerScores

    def tested(self, X: Any) -> Tested:
        """What is said of each run that it is shown."""
        scores = decided(self.estimator, X)
        probabilities = self.calibration.calibrator.probabilities(scores)
        return Tested(
            scores=scores,
            probabilities=probabilities,
            called=(probabilities >= self.calibration.threshold).astype(np.int64),
            sets=self.calibration.conformal.sets(probabilities),
        )


def settle(contender: Contender, roster: Roster, fold: NestedFold, how: HowCalibrated) -> Settled:
    """Choose, calibrate and fit on the training side of a fold.

    Args:
        contender: what is fitted.
        roster: whose runs these are.
        fold: with its inner folds.
        how: scores become probabilities and sets.

    Raises:
        LeakError: a person stands on both sides of a fold, or of an inner fold of the contender's own search.
    """
    side = _Side.of(contender, roster, fold)
    candidates = _candidates(contender)
    tried = [side.inner_scores(candidate) for candidate in candidates]
    aucs = tuple(_mean_auc(inner) for inner in tried)
    best = int(np.argmax(aucs))  # the first of equals
    return Settled(
        estimator=side.fitted(candidates[best]),
        settings=contender.grid[best],
        calibration=calibrate(tried[best], method=how.method, coverage=how.coverage),
        inner_auc=aucs,
        inner=tried[best],
    )


def scores_of_fold(contender: Contender, roster: Roster, fold: NestedFold) -> Floats:
    """Scores of the test side (n,), as by `settle`; inner folds count only where something is chosen.

    Raises:
        LeakError: as `settle`.
    """
    side = _Side.of(contender, roster, fold)
    candidates = _candidates(contender)
    aucs = [_mean_auc(side.inner_scores(one)) for one in candidates] if len(candidates) > 1 else [0.0]
    estimator = side.fitted(candidates[int(np.argmax(aucs))])
    return decided(estimator, taken(contender.X, fold.test))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """The training side of a fold, one entry a run, and its inner folds by row of it."""

    X: Any
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]
    inner_folds: list[Fold]

    @classmethod
    def of(cls, contender: Contender, roster: Roster, fold: NestedFold) -> _Side:
        """Nobody of the test side is on it."""
        assert_no_leak(roster.people, fold.train, fold.test)
        return cls(
            X=taken(contender.X, fold.train),
            labels=roster.labels[fold.train],
            people=roster.people[fold.train],
            sites=roster.sites[fold.train],
            inner_folds=_rows_of_the_side(fold),
        )

    def inner_scores(self, candidate: Any) -> InnerScores:
        """Of all its runs, by models of other people."""
        return inner_scores(candidate, self.X, self.labels, self.people, self.inner_folds, sites=self.sites)

    def fitted(self, candidate: Any) -> Any:
        """The candidate, fitted to all of it."""
        return fitted(candidate, self.X, self.labels, self.people, self.sites)


def _candidates(contender: Contender) -> list[Any]:
    return [clone(contender.estimator).set_params(**settings) for settings in contender.grid]


def _rows_of_the_side(fold: NestedFold) -> list[Fold]:
    """The inner folds by row of the training side."""
    place = {int(row): number for number, row in enumerate(fold.train)}

    def places(rows: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.array([place[int(row)] for row in rows], dtype=np.intp)

    return [(places(train), places(validation)) for train, validation in fold.inner]


def _mean_auc(inner: InnerScores) -> float:
    folds = [inner.fold_of == number for number in np.unique(inner.fold_of)]
    return float(np.mean([roc_auc_score(inner.labels[here], inner.scores[here]) for here in folds]))
