"""Cross-validation by person: every contender on the same folds, every learned step inside the fold."""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score, recall_score

from data.errors import ParameterError
from data.interval import Interval
from data.splits.folds import Fold, assert_no_leak
from data.writing import write_whole
from neuro.inner_folds import check_inner_folds
from neuro.protocol.intervals import fold_auc


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A classifier and what it looks at.

    Attributes:
        name: how it is called in tables.
        estimator: any scikit-learn classifier; a clone is fitted in every fold.
        X: one item a run, a list, an array or a DataFrame; nothing in it was learned from labels or from
            other runs.
        note: what a reader should know of it.
    """

    name: str
    estimator: Any
    X: Any
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How one contender did.

    Attributes:
        name, note: of the contender.
        scores: out-of-fold decision values (n,), above 0 for the positive label.
        auc: within folds, with its 95 % interval over people.
        balanced_accuracy, sensitivity, specificity: at the threshold 0, chosen before any test.
        fitted: the estimator of each fold.
    """

    name: str
    note: str
    scores: NDArray[np.float64]
    auc: Interval
    balanced_accuracy: float
    sensitivity: float
    specificity: float
    fitted: list[Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        labels, fold_of, groups: of each run (n,).
        folds: (train, test) indices.
        outcomes: one a contender, in the order they were given.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.object_]
    folds: list[Fold]
    fold_of: NDArray[np.int64]
    outcomes: list[Outcome]


def evaluate(
    contenders: Sequence[Contender], labels: NDArray[np.int64], groups: NDArray[np.object_], folds: list[Fold]
) -> Evaluation:
    """Fit and test every contender in every fold.

    Raises:
        LeakError: a person stands on both sides of a fold, or of an inner fold of a contender's own search.
        ParameterError: a run is tested twice or never.
    """
    steps = evaluate_steps(contenders, labels, groups, folds)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def evaluate_steps(
    contenders: Sequence[Contender], labels: NDArray[np.int64], groups: NDArray[np.object_], folds: list[Fold]
) -> Generator[str, None, Evaluation]:
    """As `evaluate`, giving a contender's name after each fold; the `Evaluation` is the generator's value."""
    labels, groups = np.asarray(labels), np.asarray(groups, dtype=object)
    fold_of = np.full(len(labels), -1)
    for number, (train, test) in enumerate(folds):
        assert_no_leak(groups, train, test)
        fold_of[test] = number
    tested = np.concatenate([test for _, test in folds])
    if not np.array_equal(np.sort(tested), np.arange(len(labels))):
        raise ParameterError(
            "folds", must_be="such that every run is tested once", got=f"{len(tested)} tests"
        )
    outcomes = []
    for contender in contenders:
        scores, fitted = np.zeros(len(labels)), []
        for train, test in folds:
            estimator = _fitted(contender, train, labels, groups)
            scores[test] = _decide(estimator, _take(contender.X, test))
            fitted.append(estimator)
            yield contender.name
        outcomes.append(_outcome(contender, labels, scores, fold_of, groups, fitted))
    return Evaluation(labels=labels, groups=groups, folds=folds, fold_of=fold_of, outcomes=outcomes)


def _fitted(
    contender: Contender, train: NDArray[np.intp], labels: NDArray[np.int64], groups: NDArray[np.object_]
) -> Any:
    estimator, X = clone(contender.estimator), _take(contender.X, train)
    check_inner_folds(estimator, X, labels[train], groups[train])
    if "groups" in inspect.signature(estimator.fit).parameters:
        estimator.fit(X, labels[train], groups=groups[train])
    else:
        estimator.fit(X, labels[train])
    return estimator


def _take(X: Any, indices: NDArray[np.intp]) -> Any:
    if isinstance(X, pd.DataFrame):
        return X.iloc[indices]
    return X[indices] if isinstance(X, np.ndarray) else [X[i] for i in indices]


def _decide(estimator: Any, X: Any) -> NDArray[np.float64]:
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(X), dtype=float)
    return np.asarray(estimator.predict_proba(X)[:, 1] - 0.5, dtype=float)


def _outcome(
    contender: Contender,
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    fold_of: NDArray[np.int64],
    groups: NDArray[np.object_],
    fitted: list[Any],
) -> Outcome:
    called = (scores > 0).astype(int)
    return Outcome(
        name=contender.name,
        note=contender.note,
        scores=scores,
        auc=fold_auc(labels, scores, fold_of, groups),
        balanced_accuracy=float(balanced_accuracy_score(labels, called)),
        sensitivity=float(recall_score(labels, called, pos_label=1, zero_division=0)),
        specificity=float(recall_score(labels, called, pos_label=0, zero_division=0)),
        fitted=fitted,
    )


def results_table(evaluation: Evaluation) -> pd.DataFrame:
    """One row a contender: AUC and its interval, balanced accuracy, sensitivity, specificity, note."""
    rows = [
        {
            "model": o.name,
            "auc": o.auc.estimate,
            "auc_low": o.auc.low,
            "auc_high": o.auc.high,
            "balanced_accuracy": o.balanced_accuracy,
            "sensitivity": o.sensitivity,
            "specificity": o.specificity,
            "note": o.note,
        }
        for o in evaluation.outcomes
    ]
    return pd.DataFrame(rows)


def write_results(evaluation: Evaluation, path: Path, facts: dict[str, Any]) -> None:
    """Write results.json: the facts given, every figure, every fold and every out-of-fold score."""
    content = {
        **facts,
        "folds": [
            {"test": sorted({str(evaluation.groups[i]) for i in test})} for _, test in evaluation.folds
        ],
        "models": [
            {
                "name": o.name,
                "note": o.note,
                "auc": asdict(o.auc),
                "balanced_accuracy": o.balanced_accuracy,
                "sensitivity": o.sensitivity,
                "specificity": o.specificity,
                "scores": dict(zip(facts["runs"], o.scores.tolist(), strict=True)),
            }
            for o in evaluation.outcomes
        ],
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")
