"""Evaluation: nobody is tested by who saw them, all is learned inside the fold, and folds are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from data.errors import LeakError, ParameterError
from data.splits.nested_splits import NestedFold
from neuro.baselines.connectivity import connectivity_svm
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import Evaluation, evaluate, evaluate_steps
from neuro.protocol.plan import Plan, PlanConfig, draw_plan
from neuro.protocol.roster import Roster

PEOPLE = 24
ROSTER = Roster(
    run_ids=np.array([f"run-{i}" for i in range(2 * PEOPLE)], dtype=object),
    labels=np.repeat(np.arange(PEOPLE) % 2, 2),
    people=np.repeat([f"sub-{i:02d}" for i in range(PEOPLE)], 2).astype(object),
    sites=np.repeat([f"site-{i // 2 % 2}" for i in range(PEOPLE)], 2).astype(object),
)
LABELS = ROSTER.labels
PLAN = draw_plan(ROSTER, PlanConfig(folds=3, repeats=2, inner=2))
FOLDS = [fold for _, _, folds in PLAN.deals() for fold in folds]
Log = list[tuple[str, list[float]]]


class Recorder(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Knows the rows it was fitted on; answers with the row it is shown: column `column`, times `sign`."""

    log: Log = []  # noqa: RUF012 (clones share it on purpose)

    def __init__(self, column: int = 1, sign: float = 1.0):
        self.column = column
        self.sign = sign

    def fit(self, X: Any, y: Any) -> Recorder:
        self.classes_ = np.unique(y)
        self.log.append(("fit", np.asarray(X)[:, 0].tolist()))
        self.labels_ = np.asarray(y)
        return self

    def decision_function(self, X: Any) -> Any:
        self.log.append(("test", np.asarray(X)[:, 0].tolist()))
        return self.sign * np.asarray(X)[:, self.column]


class Taker(Recorder):
    """As Recorder, and takes persons and sites of its rows."""

    def fit(self, X: Any, y: Any, groups: Any = None, sites: Any = None) -> Taker:
        self.people_, self.sites_ = groups, sites
        return super().fit(X, y)  # type: ignore[return-value]


@pytest.fixture
def record() -> Log:
    Recorder.log.clear()
    return Recorder.log


def rows(*columns: Any) -> np.ndarray:
    return np.column_stack([np.arange(len(LABELS)), *columns]).astype(float)


def contender(*columns: Any, name: str = "x", **options: Any) -> Contender:
    return Contender(name=name, estimator=Recorder(), X=rows(*columns), **options)


def found(*contenders: Contender, plan: Plan = PLAN) -> Evaluation:
    return evaluate(contenders, ROSTER, plan)


def test_a_leak_stops_everything_before_anything_is_fitted(record: Log) -> None:
    fold = PLAN.within[0][0]
    leaky = NestedFold(train=np.append(fold.train, fold.test[0]), test=fold.test, inner=fold.inner)
    with pytest.raises(LeakError, match="different people, got 1 on both sides"):
        found(contender(LABELS), plan=replace(PLAN, within=[[leaky]]))
    assert not record


def test_nothing_is_fitted_on_what_it_is_tested_on_and_all_get_the_same_folds(record: Log) -> None:
    found(contender(LABELS, name="one"), contender(LABELS, name="two"))
    assert record[: len(record) // 2] == record[len(record) // 2 :]
    people = ROSTER.people
    for (what, fitted), (then, tested) in zip(record[::2], record[1::2], strict=True):
        assert (what, then) == ("fit", "test")
        assert not set(people[np.array(fitted, int)]) & set(people[np.array(tested, int)])


def test_inner_models_see_the_training_side_alone(record: Log) -> None:
    found(contender(LABELS))
    fits = [set(rows) for what, rows in record if what == "fit"]
    for number, fold in enumerate(FOLDS):
        *inner, outer = fits[3 * number : 3 * number + 3]
        assert outer == set(fold.train)
        assert all(seen < outer for seen in inner)


def test_an_oracle_a_liar_and_one_who_says_nothing() -> None:
    oracle, liar, silent, majority = found(
        contender(LABELS - 0.5),
        contender(0.5 - LABELS),
        contender(np.zeros(len(LABELS))),
        Contender(name="majority", estimator=DummyClassifier(), X=rows()),
    ).outcomes
    assert oracle.auc.estimate == oracle.auc.high == 1
    assert 0.5 < oracle.auc.low < 1  # of so few people a bootstrap would know of no doubt
    assert oracle.figures["balanced_accuracy"].estimate == oracle.figures_across["auc"].estimate == 1
    assert liar.auc.estimate == 0
    for nothing in (silent, majority):
        assert (nothing.auc.estimate, nothing.auc.low, nothing.auc.high) == (0.5, 0.5, 0.5)
        assert nothing.figures["balanced_accuracy"].estimate == 0.5


def test_figures_are_those_of_a_count_by_hand(rng: np.random.Generator) -> None:
    outcome = found(contender(LABELS + rng.normal(size=len(LABELS)))).outcomes[0]
    within, across = outcome.within, outcome.across
    aucs = [
        np.average(
            [roc_auc_score(LABELS[fold.test], within.scores[deal, fold.test]) for fold in folds],
            weights=[(LABELS[fold.test] == 1).sum() * (LABELS[fold.test] == 0).sum() for fold in folds],
        )
        for deal, folds in enumerate(PLAN.within)
    ]
    assert outcome.auc.estimate == pytest.approx(np.mean(aucs))
    accuracies = [balanced_accuracy_score(LABELS, called) for called in within.called]
    assert outcome.figures["balanced_accuracy"].estimate == pytest.approx(np.mean(accuracies))
    assert across is not None
    assert across.tested.all()
    for number, fold in enumerate(PLAN.across):
        assert (across.folds[0, fold.test] == number).all()


def test_a_threshold_far_from_zero_is_found_on_inner_folds(rng: np.random.Generator) -> None:
    """Scores that part the labels at 100: by 0 everybody would be positive."""
    outcome = found(contender(100 + LABELS - 0.5 + rng.normal(0, 0.1, len(LABELS)))).outcomes[0]
    assert outcome.figures["balanced_accuracy"].estimate == 1


def test_a_setting_is_chosen_by_inner_folds_and_told() -> None:
    grid = [{"sign": -1.0}, {"column": 2}, {"sign": 1.0}]
    noise = np.random.default_rng(0).normal(size=len(LABELS))
    outcome = found(contender(LABELS - 0.5, noise, grid=grid)).outcomes[0]
    assert outcome.chosen == [{"sign": 1.0}] * PLAN.models
    assert outcome.auc.estimate == 1
    assert all(len(ready.inner_auc) == 3 and ready.inner_auc[2] == 1 for ready in outcome.settled)


def test_the_models_of_the_first_deal_are_kept_and_the_contenders_own_stays_unfitted() -> None:
    mine = contender(LABELS)
    outcome = found(mine).outcomes[0]
    assert not hasattr(mine.estimator, "classes_")
    assert len({id(ready.estimator) for ready in outcome.settled}) == 3
    for ready, fold in zip(outcome.settled, PLAN.within[0], strict=True):
        np.testing.assert_array_equal(ready.estimator.labels_, LABELS[fold.train])
        np.testing.assert_array_equal(ready.inner.labels, LABELS[fold.train])


def test_scaling_is_learned_inside_the_fold(rng: np.random.Generator) -> None:
    X = rng.normal(size=(len(LABELS), 4)) + 10 * np.arange(len(LABELS))[:, None]
    outcome = found(Contender(name="svm", estimator=connectivity_svm(), X=X)).outcomes[0]
    for ready, fold in zip(outcome.settled, PLAN.within[0], strict=True):
        np.testing.assert_allclose(ready.estimator[0].mean_, X[fold.train].mean(0))


def test_estimators_that_ask_are_told_persons_and_sites() -> None:
    outcome = found(Contender(name="x", estimator=Taker(), X=rows(LABELS))).outcomes[0]
    for ready, fold in zip(outcome.settled, PLAN.within[0], strict=True):
        assert ready.estimator.people_.tolist() == ROSTER.people[fold.train].tolist()
        assert ready.estimator.sites_.tolist() == ROSTER.sites[fold.train].tolist()


def test_lists_arrays_and_frames_are_the_same(record: Log) -> None:
    X = rows(LABELS - 0.2)
    frame = pd.DataFrame(X, index=np.arange(len(X))[::-1])  # its index is not its rows
    outcomes = found(
        *(Contender(name="x", estimator=Recorder(), X=kind) for kind in (X, list(X), frame))
    ).outcomes
    for outcome in outcomes[1:]:
        np.testing.assert_array_equal(outcomes[0].within.scores, outcome.within.scores)


def test_steps_tell_each_fold_of_each_contender() -> None:
    steps = evaluate_steps([contender(LABELS, name=name) for name in "ab"], ROSTER, PLAN)
    assert list(steps) == ["a"] * PLAN.models + ["b"] * PLAN.models


def test_a_run_that_is_tested_twice_in_a_deal_is_refused() -> None:
    fold = PLAN.within[0][0]
    with pytest.raises(ParameterError, match="no run is tested twice"):
        found(contender(LABELS), plan=replace(PLAN, within=[[fold, fold]]))
