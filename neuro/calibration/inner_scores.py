"""Scores of a training side by models that had not seen each run's person: what calibration is fitted on.

Letters: N runs of the training side.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from data.errors import ParameterError
from data.splits.folds import Fold, assert_no_leak, subject_folds
from neuro.calibration.calibrators import Floats, checked, fit_calibrator
from neuro.calibration.inner_folds import check_inner_folds
from neuro.protocol.contender import decided, taken


@dataclass(frozen=True, kw_only=True, eq=False)
class InnerScores:
    """Out-of-inner-fold scores.

    Attributes:
        scores: (N,), each by a model of other people.
        labels: 0 or 1 (N,).
        people: (N,).
        fold_of: the inner fold that scored each run (N,).
    """

    scores: Floats
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    fold_of: NDArray[np.int64]

    def __post_init__(self) -> None:
        checked(self.scores, self.labels)
        for name in ("people", "fold_of"):
            if np.shape(getattr(self, name)) != self.scores.shape:
                raise ParameterError(
                    name, must_be=f"of shape {self.scores.shape}", got=np.shape(getattr(self, name))
                )


def inner_scores(
    estimator: Any,
    X: Any,
    labels: NDArray[np.int64],
    people: NDArray[np.object_],
    folds: int | Sequence[Fold] = 5,
    *,
    sites: NDArray[np.object_] | None = None,
    seed: int = 0,
) -> InnerScores:
    """Fit a clone on each inner training part, and score the part that was left out.

    Args:
        estimator: any scikit-learn classifier, unfitted; it is left as it is.
        X: the training side alone, one item a run.
        labels: 0 or 1 (N,).
        people: (N,).
        folds: (train, validation) rows of this side, such as `NestedFold.inner` has; or how many to deal
            people into.
        sites: where each run was scanned (N,): the folds that are dealt here are stratified by it, and a
            classifier that asks for sites is told.
        seed: of folds that are dealt here.

    Raises:
        LeakError: a person stands on both sides of a fold, or of one of the estimator's own.
        ParameterError: a run is scored twice or never, or too few people for the folds.
    """
    labels, people = np.asarray(labels), np.asarray(people, dtype=object)
    if isinstance(folds, int):
        folds = subject_folds(labels, people, n_splits=folds, seed=seed, strata=sites)
    times_N = np.bincount(np.concatenate([rows for _, rows in folds]), minlength=len(labels))
    if not (times_N == 1).all():
        raise ParameterError(
            "inner folds",
            must_be="such that every run is scored once",
            got=f"{(times_N == 0).sum()} never and {(times_N > 1).sum()} several times",
        )
    score_N, fold_N = np.zeros(len(labels)), np.zeros(len(labels), dtype=np.int64)
    for number, (train, validation) in enumerate(folds):
        assert_no_leak(people, train, validation)
        model = fitted(clone(estimator), taken(X, train), labels[train], people[train], _at(sites, train))
        score_N[validation], fold_N[validation] = decided(model, taken(X, validation)), number
    return InnerScores(scores=score_N, labels=labels, people=people, fold_of=fold_N)


def cross_calibrated(inner: InnerScores, method: str) -> Floats:
    """Probabilities (N,) of the training side, each by a curve fitted to the other inner folds.

    What is chosen on probabilities (a quantile of a conformal set) would otherwise see a curve that its own
    label has bent. Where the other folds lack a label, the curve of all is taken.
    """
    whole = fit_calibrator(inner.scores, inner.labels, method)
    probability_N = whole.probabilities(inner.scores)
    for fold in np.unique(inner.fold_of):
        here = inner.fold_of == fold
        if len(set(inner.labels[~here].tolist())) == 2:
            curve = fit_calibrator(inner.scores[~here], inner.labels[~here], method)
            probability_N[here] = curve.probabilities(inner.scores[here])
    return probability_N


def fitted(
    estimator: Any,
    X: Any,
    labels: NDArray[np.int64],
    people: NDArray[np.object_],
    sites: NDArray[np.object_] | None,
) -> Any:
    """Fit an estimator to rows, its own inner folds checked, and told of people and sites if it asks."""
    check_inner_folds(estimator, X, labels, people)
    accepted = inspect.signature(estimator.fit).parameters
    known = {"groups": people, "sites": sites}
    return estimator.fit(X, labels, **{name: value for name, value in known.items() if name in accepted})


def _at(sites: NDArray[np.object_] | None, rows: NDArray[np.intp]) -> NDArray[np.object_] | None:
    return None if sites is None else np.asarray(sites, dtype=object)[rows]
