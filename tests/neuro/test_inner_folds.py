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
from data.splits.splitters import SubjectFolds
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import Outcome, evaluate
from neuro.protocol.plan import PlanConfig, draw_plan
from neuro.protocol.roster import Roster

NAMES = np.array([f"sub-{i:02d}" for i in range(24)], dtype=object)
LABELS = np.arange(24) % 2
CONFIG = PlanConfig(folds=3, repeats=1, inner=2)


def roster(people: np.ndarray, labels: np.ndarray) -> Roster:
    run_ids = np.array([f"run-{i}" for i in range(len(labels))], dtype=object)
    return Roster(run_ids=run_ids, labels=labels, people=people, sites=np.full(len(labels), "A", object))


def outcome_of(estimator: Any, known: Roster) -> Outcome:
    """Of a contender that sees the label."""
    X = np.column_stack([np.arange(len(known)), known.labels - 0.5]).astype(float)
    contender = Contender(name="x", estimator=estimator, X=X)
    return evaluate([contender], known, draw_plan(known, CONFIG)).outcomes[0]


def search(cv: Any) -> GridSearchCV:
    return GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=cv)


@pytest.mark.parametrize("cv", [SubjectFolds(2), StratifiedGroupKFold(2)])
def test_a_search_of_its_own_is_given_the_inner_folds_that_were_checked(cv: Any) -> None:
    wrapped = make_pipeline(StandardScaler(), search(cv))
    known = roster(np.repeat(NAMES, 2), np.repeat(LABELS, 2))
    outcome = outcome_of(wrapped, known)
    assert outcome.auc.estimate == 1
    for fold, ready in zip(draw_plan(known, CONFIG).within[0], outcome.settled, strict=True):
        inner, people = ready.estimator[-1].cv, known.people[fold.train]
        assert len(inner) == 2
        assert sorted(np.concatenate([b for _, b in inner])) == list(range(len(fold.train)))
        for a, b in inner:
            assert not set(people[a]) & set(people[b])


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
    mixed = roster(np.tile(NAMES, 2), np.tile(LABELS, 2))
    with pytest.raises(LeakError, match=r"different people|given by person where people have several runs"):
        outcome_of(estimator, mixed)


def test_a_search_by_row_is_fine_where_everybody_has_one_run() -> None:
    people = np.array([f"sub-{i:02d}" for i in range(48)], dtype=object)
    known = roster(people, np.tile(LABELS, 2))
    for estimator in (search(3), search(None), GridSearchCV(search(2), {"estimator__C": [1.0]}, cv=2)):
        assert len(outcome_of(estimator, known).settled) == 3
