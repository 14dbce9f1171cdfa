"""A contender's own search splits people as the protocol does, or is stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data.errors import LeakError
from data.splits.folds import subject_folds
from data.splits.splitters import SubjectFolds
from neuro.evaluate import Contender, evaluate

PEOPLE = np.repeat([f"sub-{i:02d}" for i in range(12)], 2).astype(object)
LABELS = np.repeat(np.arange(12) % 2, 2)
FOLDS = subject_folds(LABELS, PEOPLE, n_splits=3)


def rows(column: Any) -> np.ndarray:
    return np.column_stack([np.arange(len(LABELS)), column]).astype(float)


def search(cv: Any) -> GridSearchCV:
    return GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=cv)


@pytest.mark.parametrize("cv", [SubjectFolds(2), StratifiedGroupKFold(2)])
def test_a_search_of_its_own_is_given_the_inner_folds_that_were_checked(cv: Any) -> None:
    wrapped = make_pipeline(StandardScaler(), search(cv))
    X = rows(LABELS - 0.5)
    outcome = evaluate([Contender(name="x", estimator=wrapped, X=X)], LABELS, PEOPLE, FOLDS).outcomes[0]
    assert outcome.auc.estimate == 1
    for (train, _), fitted in zip(FOLDS, outcome.fitted, strict=True):
        inner = fitted[-1].cv
        assert len(inner) == 2
        assert sorted(np.concatenate([b for _, b in inner])) == list(range(len(train)))
        for a, b in inner:
            assert not set(PEOPLE[train][a]) & set(PEOPLE[train][b])


@pytest.mark.parametrize(
    "estimator",
    [
        search(3),
        make_pipeline(StandardScaler(), search(3)),
        search(None),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        GridSearchCV(search(2), {"estimator__C": [1.0]}, cv=SubjectFolds(2)),
    ],
)
def test_a_search_whose_folds_split_a_persons_runs_is_stopped(estimator: Any) -> None:
    mixed = np.tile([f"sub-{i:02d}" for i in range(12)], 2).astype(object)
    labels = np.tile(np.arange(12) % 2, 2)
    folds = subject_folds(labels, mixed, n_splits=3)
    with pytest.raises(LeakError, match=r"different people|given by person where people have several runs"):
        evaluate([Contender(name="x", estimator=estimator, X=rows(labels))], labels, mixed, folds)


def test_a_search_by_row_is_fine_where_everybody_has_one_run() -> None:
    people = np.array([f"sub-{i:02d}" for i in range(24)], dtype=object)
    labels = np.arange(24) % 2
    folds = subject_folds(labels, people, n_splits=3)
    for estimator in (search(3), search(None), GridSearchCV(search(2), {"estimator__C": [1.0]}, cv=2)):
        outcome = evaluate([Contender(name="x", estimator=estimator, X=rows(labels))], labels, people, folds)
        assert len(outcome.outcomes[0].fitted) == 3
