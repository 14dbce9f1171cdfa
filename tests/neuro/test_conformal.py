"""Sets of labels: against mapie's classifier and a slow twin, and their coverage over many draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from scipy.special import expit
from scipy.stats import beta, binomtest
from sklearn.base import BaseEstimator, ClassifierMixin

from data.errors import ParameterError
from data.interval import wilson
from neuro.calibration.conformal import ConformalSets, enough_people, first_runs, people_needed
from neuro.calibration.coverage import coverage_of
from neuro.protocol.predictions import Predictions

NAMES = ("control", "patient")


class AsGiven(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Takes the first column for the probability of label 1."""

    classes_ = np.array([0, 1])

    def fit(self, X: np.ndarray, y: np.ndarray) -> AsGiven:
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.stack([1 - X[:, 0], X[:, 0]], axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return (X[:, 0] > 0.5).astype(int)


def drawn(rng: np.random.Generator, count: int, patients: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Scores that part the labels in part, and are worse for patients where these are few."""
    label = (rng.random(count) < patients).astype(int)
    return expit(1.5 * (label - 0.5) + 2 * (patients - 0.5) + rng.normal(size=count)), label


def with_both(rng: np.random.Generator, count: int, patients: float) -> tuple[np.ndarray, np.ndarray]:
    """As `drawn`, again where a label is missing: of 10 people once in 500 times."""
    p, label = drawn(rng, count, patients)
    return (p, label) if len(set(label)) == 2 else with_both(rng, count, patients)


def slow_set(
    p: float, calibration: np.ndarray, labels: np.ndarray, percent: int, by_label: bool
) -> list[bool]:
    """A label is in unless too few of the calibration people stand as far from their own: by counting."""
    found = []
    for label in (0, 1):
        mine = 1 - (p if label else 1 - p)
        others = [
            1 - (q if y else 1 - q)
            for q, y in zip(calibration, labels, strict=True)
            if not by_label or y == label
        ]
        # p-value (1 + #{others >= mine}) / (n + 1) must be above the risk
        stranger = 1 + sum(other >= mine - 1e-8 for other in others)
        found.append(100 * stranger > (100 - percent) * (len(others) + 1))
    return found


@pytest.mark.parametrize("by_label", [False, True])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(4, 60), percent=st.sampled_from([50, 80, 90, 95]))
def test_sets_equal_those_of_the_slow_twin(by_label: bool, seed: int, count: int, percent: int) -> None:
    rng = np.random.default_rng(seed)
    p, label = drawn(rng, count)
    p, label = p.round(2), np.where(np.arange(count) < 2, [0, 1] * (count // 2) + [0] * (count % 2), label)
    fitted = ConformalSets.fit(p, label, coverage=percent / 100, by_label=by_label)
    at = np.linspace(0, 1, 101)
    wanted = [slow_set(q, p, label, percent, by_label) for q in at]
    assert fitted.sets(at).tolist() == wanted


@pytest.mark.parametrize("coverage", [0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [21, 40, 60])
def test_sets_equal_mapies(coverage: float, count: int) -> None:
    rng = np.random.default_rng(count)
    (p, label), (new, _) = drawn(rng, count), drawn(rng, 200)
    mapie = SplitConformalClassifier(AsGiven(), confidence_level=coverage, prefit=True)
    wanted = mapie.conformalize(p[:, None], label).predict_set(new[:, None])[1][:, :, 0]
    assert (ConformalSets.fit(p, label, coverage=coverage).sets(new) == wanted).all()


def coverage_over_draws(
    count: int, draws: int, patients: float = 0.5, **options: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of calibration people, each with one new person: whether the set held its label, and which."""
    rng = np.random.default_rng(17)
    held, labels = [], []
    for _ in range(draws):
        fitted = ConformalSets.fit(*with_both(rng, count, patients), coverage=0.9, **options)
        new, truth = drawn(rng, 1, patients)
        held.append(fitted.sets(new)[0, truth[0]])
        labels.append(truth[0])
    return np.array(held), np.array(labels)


@pytest.mark.parametrize("count", [10, 29, 40])
def test_coverage_over_many_draws_is_within_binomial_bounds(count: int) -> None:
    """Exactly ceil(0.9 (n + 1)) / (n + 1), as scores have no ties."""
    truth = np.ceil(0.9 * (count + 1) - 1e-9) / (count + 1)
    held, _ = coverage_over_draws(count, 4000)
    assert binomtest(int(held.sum()), 4000, truth).pvalue > 1e-3
    assert truth >= 0.9


def test_the_coverage_of_one_calibration_set_spreads_as_theory_says() -> None:
    """Given the calibration people it follows Beta(k, n + 1 - k) (Vovk 2012): 40 people promise no 90 %."""
    rng = np.random.default_rng(2)
    new, truth = drawn(rng, 4000)
    found = []
    for _ in range(300):
        sets = ConformalSets.fit(*drawn(rng, 40), coverage=0.9).sets(new)
        found.append(sets[np.arange(4000), truth].mean())
    low, high = beta(37, 4).ppf([0.05, 0.95])
    assert 0.03 < np.mean(np.array(found) < low) < 0.08
    assert 0.03 < np.mean(np.array(found) > high) < 0.08


def test_within_a_label_coverage_is_kept_only_where_it_is_asked() -> None:
    for by_label, low, high in ((False, 0.70, 0.85), (True, 0.88, 0.96)):
        held, label = coverage_over_draws(60, 3000, patients=0.3, by_label=by_label)
        assert 0.88 < held.mean() < 0.95
        assert low < held[label == 1].mean() < high


@pytest.mark.parametrize(("coverage", "people"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_with_too_few_people_the_set_is_both_labels_and_says_so(coverage: float, people: int) -> None:
    assert people_needed(coverage) == people
    assert not enough_people(people - 1, coverage)
    if people < 3:
        return
    p, label = np.linspace(0.01, 0.99, people - 1), np.arange(people - 1) % 2
    few = ConformalSets.fit(p, label, coverage=coverage)
    assert not few.enough
    assert few.sets([0.0, 0.5, 1.0]).all()
    assert f"{people - 1} people are too few" in few.in_words(0.999, NAMES)
    enough = ConformalSets.fit(np.append(label * 0.98 + 0.01, 0.01), np.append(label, 0), coverage=coverage)
    assert enough.enough
    assert enough.sets([0.999]).tolist() == [[False, True]]


def test_runs_of_one_person_do_not_count_as_people() -> None:
    rng = np.random.default_rng(3)
    p, label = drawn(rng, 20)
    people = np.array([f"sub-{i}" for i in range(20)])
    once = ConformalSets.fit(p, label, people=people)
    again = ConformalSets.fit(
        np.concatenate([p, rng.random(40)]), np.tile(label, 3), people=np.tile(people, 3)
    )
    assert again == once
    assert once.people == (20, 20)
    assert first_runs(["b", "a", "b", "c"]).tolist() == [0, 1, 3]


def test_words_tell_what_both_one_and_none_mean() -> None:
    sets = ConformalSets(coverage=0.9, by_label=False, quantiles=(0.6, 0.6), people=(40, 40))
    assert (
        sets.in_words(0.5, NAMES)
        == "cannot tell: neither control nor patient can be excluded at 90 % coverage"
    )
    assert sets.in_words(0.7, NAMES).startswith("patient: control is excluded")
    assert sets.in_words(0.3, NAMES).startswith("control: patient is excluded")
    sure = ConformalSets(coverage=0.9, by_label=False, quantiles=(0.2, 0.2), people=(40, 40))
    assert sure.sets([0.5]).sum() == 0
    assert sure.in_words(0.5, NAMES).startswith("neither control nor patient")


def test_sets_come_back_from_json_to_the_bit() -> None:
    made = ConformalSets.fit(*drawn(np.random.default_rng(1), 33), coverage=0.85, by_label=True)
    assert ConformalSets.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize("coverage", [0, 1, 1.5])
def test_a_coverage_that_cannot_be_is_refused(coverage: float) -> None:
    with pytest.raises(ParameterError, match="between 0 and 1"):
        ConformalSets.fit([0.1, 0.9], [0, 1], coverage=coverage)


def predictions(labels: np.ndarray, people: np.ndarray, folds: np.ndarray) -> Predictions:
    blank = np.zeros(folds.shape)
    names = np.arange(len(labels)).astype(object)
    return Predictions(
        model="m", run_ids=names, labels=labels, people=people, sites=names, folds=folds,
        scores=blank, probabilities=blank, called=blank.astype(int),
    )  # fmt: skip


def test_coverage_counts_people_once_and_leaves_out_who_was_not_tested() -> None:
    labels, people = np.array([0, 0, 0, 1, 1]), np.array(["a", "a", "b", "c", "d"], object)
    folds = np.array([[0, 0, 0, 0, -1], [0, 0, 0, 0, -1]])
    sets = np.zeros((2, 5, 2), bool)
    sets[:, 0] = True, False  # a: right, twice
    sets[:, 1] = False, True  # a's other run: wrong
    sets[0, 2] = True, True  # b: both, then none
    sets[:, 3] = False, True  # c: right
    sets[:, 4] = True, False  # d was not tested
    found = coverage_of(sets, predictions(labels, people, folds), 0.9)
    assert found.people == 3
    assert found.found.estimate == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found.negatives.estimate == pytest.approx(0.5)
    assert found.positives.estimate == pytest.approx(1)
    assert (found.both, found.one, found.none) == (1 / 8, 6 / 8, 1 / 8)
    assert found.right_of_one == pytest.approx(4 / 6)
    assert "67 % of 3 people" in found.in_words()


def test_wilsons_interval_is_scipys() -> None:
    for hits, count in ((0, 5), (3, 8), (19, 40), (40, 40)):
        found, wanted = wilson(hits / count, count), binomtest(hits, count).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
