"""The whole pipeline on any labels: the evaluation's AUC on the true ones, an honest null on others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier
from neuro.model import ModelConfig
from neuro.protocol import pipeline
from neuro.protocol.contender import Contender
from neuro.protocol.evaluation import evaluate
from neuro.protocol.permutation import (
    FEWEST,
    Permutations,
    PermutationTest,
    permutation_test,
    permuted_labels,
)
from neuro.protocol.pipeline import permuted_in_words, permuted_pipeline, pipeline_auc, require_permutable
from neuro.protocol.plan import PlanConfig, draw_plan
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig
from neuro.training.config import OptimizerConfig, TrainingConfig

from .conftest import TINY_BACKBONE
from .toy_runs import toy_cohort


def roster_of(labels: Any, *, sites: int = 2, runs: int = 1) -> Roster:
    """People in order, `runs` each; labels one a person."""
    count = len(labels)
    numbers = np.repeat(np.arange(count), runs)
    return Roster(
        run_ids=np.array([f"run-{i}" for i in range(count * runs)], dtype=object),
        labels=np.repeat(labels, runs),
        people=np.array([f"sub-{number}" for number in numbers], dtype=object),
        sites=np.array([f"site-{number // 2 % sites}" for number in numbers], dtype=object),
    )


ROSTER = roster_of(np.arange(24) % 2, runs=2)
CONFIG = PlanConfig(folds=3, repeats=2, inner=2, seed=5)
X = np.random.default_rng(0).normal(size=(48, 4)) + 0.6 * ROSTER.labels[:, None]
LOGISTIC = Contender(name="logistic", estimator=LogisticRegression(), X=X)
CHOOSING = replace(LOGISTIC, grid=({"C": 1e-4}, {"C": 0.1}, {"C": 100.0}))
Fits = list[tuple[list[int], list[int]]]


class MeanApart(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores along the line between the means of both labels; notes rows (column 0) and labels."""

    fits: Fits = []  # noqa: RUF012 (clones share it on purpose)

    def __init__(self, noted: bool = False):
        self.noted = noted

    def fit(self, X: Any, y: Any) -> MeanApart:
        if self.noted:
            self.fits.append((X[:, 0].astype(int).tolist(), y.tolist()))
        self.classes_ = np.array([0, 1])
        self.toward_ = X[y == 1, 1:].mean(0) - X[y == 0, 1:].mean(0)
        return self

    def decision_function(self, X: Any) -> Any:
        return X[:, 1:] @ self.toward_


def mean_apart(features: Any, **options: Any) -> Contender:
    return Contender(
        name="mean apart",
        estimator=MeanApart(**options),
        X=np.column_stack([np.arange(len(features)), features]),
    )


@pytest.mark.parametrize("contender", [LOGISTIC, CHOOSING], ids=["one setting", "three to choose among"])
def test_on_the_true_labels_it_is_the_auc_of_the_evaluation(contender: Contender) -> None:
    evaluation = evaluate([contender], ROSTER, draw_plan(ROSTER, CONFIG))
    found = pipeline_auc(contender, ROSTER, CONFIG, ROSTER.labels)
    assert found == pytest.approx(evaluation.outcomes[0].auc.estimate, abs=1e-12)
    assert evaluation.plan.across  # which it has no part in
    settings = {str(chosen) for chosen in evaluation.outcomes[0].chosen}
    assert len(settings) == 1 if contender is LOGISTIC else len(settings) > 1


def test_so_it_is_of_a_transformer_that_stops_early() -> None:
    """Who is held out to watch, order and clips are drawn from the same seed."""
    runs, labels = toy_cohort(16)
    labels = np.random.default_rng(8).permutation(labels)  # what is planted would give 1 in any case
    training = TrainingConfig(
        epochs=2, validation_share=0.5, patience=1, optimizer=OptimizerConfig(learning_rate=1e-2)
    )
    classifier = ParkinsonClassifier(
        model=ModelConfig(backbone=TINY_BACKBONE), training=training, seed=3, device="cpu"
    )
    contender = Contender(name="ours", estimator=classifier, X=runs)
    roster, config = roster_of(labels), PlanConfig(folds=2, repeats=1, inner=2, across=False)
    evaluation = evaluate([contender], roster, draw_plan(roster, config))
    expected = evaluation.outcomes[0].auc.estimate
    assert pipeline_auc(contender, roster, config, labels) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 2))
def test_people_are_dealt_anew_and_stratified_by_the_labels_given(seed: int, runs: int) -> None:
    roster = roster_of(np.arange(20) % 2, runs=runs)
    labels = next(permuted_labels(roster.labels, roster.people, strata=roster.sites, seed=seed))
    MeanApart.fits.clear()
    noted = mean_apart(np.random.default_rng(seed).normal(size=(len(roster), 2)), noted=True)
    pipeline_auc(noted, roster, PlanConfig(folds=5, repeats=2), labels)
    assert len(MeanApart.fits) == 10
    dealt = np.zeros(len(roster), dtype=int)
    for rows, seen in MeanApart.fits:
        assert seen == labels[rows].tolist()
        tested = np.setdiff1d(np.arange(len(roster)), rows)
        dealt[tested] += 1
        assert not set(roster.people[tested]) & set(roster.people[rows])
        assert [int((labels[tested] == label).sum()) for label in (0, 1)] == [2 * runs, 2 * runs]
    assert (dealt == 2).all()


def test_other_labels_deal_people_otherwise() -> None:
    roster = roster_of(np.arange(20) % 2)
    noted = mean_apart(np.random.default_rng(1).normal(size=(20, 2)), noted=True)
    folds = []
    for labels in (roster.labels, 1 - roster.labels, np.arange(20) // 2 % 2, roster.labels):
        MeanApart.fits.clear()
        pipeline_auc(noted, replace(roster, sites=np.full(20, "A", object)), CONFIG, labels)
        folds.append([rows for rows, _ in MeanApart.fits])
    assert folds[0] == folds[3]
    assert folds[0] != folds[2]


def test_inner_folds_are_trained_only_where_something_is_chosen() -> None:
    noted = mean_apart(X, noted=True)
    for grid, models in (({},), 6), (({}, {"noted": True}), 6 * (1 + 2 * 2)):
        MeanApart.fits.clear()
        pipeline_auc(replace(noted, grid=grid), ROSTER, CONFIG, ROSTER.labels)
        assert len(MeanApart.fits) == models


def test_p_is_uniform_where_nothing_is_to_be_found() -> None:
    """150 cohorts of noise, 19 permutations each: all p from 1/20 to 1 are as likely; with an effect, few."""
    config = PlanConfig(folds=2, repeats=1, inner=2)
    roster = roster_of(np.arange(12) % 2)
    found: dict[float, list[float]] = {0.0: [], 3.5: []}
    for effect, cohorts in ((0.0, 150), (3.5, 15)):
        for seed in range(cohorts):
            features = np.random.default_rng((seed, 7)).normal(size=(12, 2)) + effect * roster.labels[:, None]
            auc_of = partial(pipeline_auc, mean_apart(features), roster, config)
            test = permutation_test(
                auc_of, roster.labels, roster.people, strata=roster.sites, permutations=19, seed=seed
            )
            found[effect].append(test.p_value)
    # Ties make p a little larger than uniform, never smaller.
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        called = sum(p <= level + 1e-9 for p in found[0.0])
        assert called <= stats.binom.ppf(0.999, 150, level), level
        assert called >= stats.binom.ppf(0.0005, 150, 0.75 * level), level
    assert sum(p <= 0.05 for p in found[3.5]) >= 12


def test_a_pipeline_that_leaks_is_not_taken_for_one_that_knows() -> None:
    """Noise, but a person's four runs look alike and stand on both sides of the folds."""
    roster = roster_of(np.arange(16) % 2, runs=4)
    rng = np.random.default_rng(2)
    features = np.repeat(rng.normal(size=(16, 6)), 4, axis=0) + 0.05 * rng.normal(size=(64, 6))
    nearest = Contender(name="nearest", estimator=KNeighborsClassifier(1), X=features)
    by_run = replace(roster, people=roster.run_ids)
    auc_of = partial(pipeline_auc, nearest, by_run, PlanConfig(folds=4, repeats=1, inner=2))
    found = permutation_test(auc_of, roster.labels, roster.people, strata=roster.sites, permutations=19)
    assert found.observed > 0.9
    assert min(found.null) > 0.9
    assert found.two_sided > 0.05


def test_labels_are_permuted_within_sites_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1])
    roster, given, ticks = roster_of(labels, sites=3, runs=2), [], []

    def noted(contender: Contender, same: Roster, config: PlanConfig, labels: Any) -> float:
        assert (contender, same, config) == (LOGISTIC, roster, CONFIG)
        given.append(labels)
        return 0.5

    monkeypatch.setattr(pipeline, "pipeline_auc", noted)
    found = permuted_pipeline(
        LOGISTIC, roster, CONFIG, Permutations(count=50, seed=4), done=lambda: ticks.append(1)
    )
    assert (found.permutations, found.asked, len(ticks)) == (50, 50, 50)
    np.testing.assert_array_equal(given[0], roster.labels)
    assert len({tuple(one) for one in given}) > 25
    for one in given[1:]:
        for site in np.unique(roster.sites):
            here = roster.sites == site
            assert one[here].sum() == roster.labels[here].sum()


@pytest.mark.parametrize("count", [-1, 1, 20, FEWEST - 1])
def test_too_few_permutations_to_show_anything_are_refused(count: int) -> None:
    with pytest.raises(ParameterError, match=f"0, for none, or at least 39, got {count}"):
        Permutations(count=count)
    with pytest.raises(ParameterError, match="permutations"):
        StudyConfig(permutations=count)
    test = PermutationTest(observed=0.9, null=(0.5,) * (FEWEST - 1), p_value=1 / FEWEST, asked=38, seconds=1)
    assert test.two_sided > 0.05
    assert replace(test, null=(0.5,) * FEWEST, p_value=1 / (FEWEST + 1)).two_sided == 0.05


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_no_time_is_refused(minutes: float) -> None:
    with pytest.raises(ParameterError, match="permutation minutes must be positive and finite"):
        StudyConfig(permutations=FEWEST, permutation_minutes=minutes)


def test_what_cannot_be_permuted_is_refused_before_anything_is_trained() -> None:
    split = replace(ROSTER, sites=np.array(["A", "B"], dtype=object)[ROSTER.labels])
    with pytest.raises(ParameterError, match="where each site holds one label only, got 2 such sites"):
        require_permutable(split, CONFIG)
    with pytest.raises(ParameterError, match="n_splits"):
        require_permutable(ROSTER, replace(CONFIG, folds=20))
    require_permutable(ROSTER, CONFIG)


def test_time_cuts_it_short() -> None:
    found = permuted_pipeline(LOGISTIC, ROSTER, CONFIG, Permutations(count=FEWEST, minutes=1e-9))
    assert (found.permutations, found.asked) == (1, FEWEST)
    assert found.observed == pipeline_auc(LOGISTIC, ROSTER, CONFIG, ROSTER.labels)
    (permuted,) = found.null
    draws = permuted_labels(ROSTER.labels, ROSTER.people, strata=ROSTER.sites)
    assert permuted == pipeline_auc(LOGISTIC, ROSTER, CONFIG, next(draws))


def test_words_tell_of_time_and_of_folds() -> None:
    test = PermutationTest(observed=0.71, null=(0.4, 0.6), p_value=1 / 3, asked=2, seconds=90)
    whole, short = permuted_in_words(test), permuted_in_words(replace(test, asked=99), own_folds=False)
    assert whole.startswith("2 permutations, of labels between people, within sites;")
    assert "AUC 0.710 by the labels as they are, 0.400 to 0.600 by permuted ones" in whole
    assert "in 1.5 minutes" in whole
    assert "from a file" not in whole
    assert short.startswith("2 permutations, as time allowed no more of the 99 that were asked for,")
    assert "The folds of the evaluation are from a file" in short
    assert test.made_in_words == "2 permutations"


def test_the_digest_is_of_who_was_scanned_and_of_the_recipe() -> None:
    order = np.random.default_rng(0).permutation(len(ROSTER))
    shuffled = Roster(**{name: values[order] for name, values in vars(ROSTER).items()})
    digest = ROSTER.digest("6p-1")
    assert shuffled.digest("6p-1") == digest
    assert len(digest) == 64
    others = [
        ROSTER.digest("6p-2"),
        replace(ROSTER, labels=1 - ROSTER.labels).digest("6p-1"),
        replace(ROSTER, sites=ROSTER.people).digest("6p-1"),
        replace(ROSTER, run_ids=ROSTER.run_ids[::-1]).digest("6p-1"),
    ]
    assert len({digest, *others}) == 5
