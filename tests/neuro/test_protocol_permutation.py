"""Permuted labels: between people, within sites; p by its formula, true under the null, within its budget."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.errors import ParameterError
from data.splits.folds import subject_folds
from neuro.protocol.permutation import PermutationTest, permutation_test, permuted_labels


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 3), sites=st.integers(1, 3))
def test_labels_move_between_people_within_sites(seed: int, runs: int, sites: int) -> None:
    rng = np.random.default_rng(seed)
    label = np.concatenate([[0, 1], rng.integers(0, 2, 16)])
    site = np.concatenate([[0, 0], rng.integers(0, sites, 16)])
    order = rng.permutation(np.repeat(np.arange(18), runs))
    labels, people, strata = label[order], order.astype(object), site[order].astype(object)
    for permuted in islice(permuted_labels(labels, people, strata=strata, seed=seed), 10):
        by_person = np.array([permuted[order == person] for person in range(18)])
        assert (by_person == by_person[:, :1]).all()
        for place in range(sites):
            assert by_person[site == place, 0].sum() == label[site == place].sum()


def test_everybody_gets_every_label() -> None:
    labels, people = np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"], dtype=object)
    draws = np.stack(list(islice(permuted_labels(labels, people), 600)))
    assert len(np.unique(draws, axis=0)) == 6
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.08)


def test_a_person_of_two_sites_counts_in_that_of_the_first_run() -> None:
    """With b at A, nobody at B is ill and nothing can be permuted there; at A two labels change places."""
    labels = np.array([0, 1, 1, 0])
    people, sites = (np.array(given, dtype=object) for given in (["a", "b", "b", "c"], ["A", "A", "B", "B"]))
    found = {tuple(draw) for draw in islice(permuted_labels(labels, people, strata=sites), 40)}
    assert found == {(0, 1, 1, 0), (1, 0, 0, 0)}


def test_p_is_counted_as_it_is_defined() -> None:
    labels, people = np.tile([0, 1], 10), np.arange(20).astype(object)
    values = iter([0.7, 0.5, 0.7, 0.9, 0.6])
    found = permutation_test(lambda _: next(values), labels, people, permutations=4)
    assert found.observed == 0.7
    assert found.null == (0.5, 0.7, 0.9, 0.6)
    assert found.p_value == (1 + 2) / (1 + 4)
    assert found.two_sided == 1.0
    assert found.least == 2 / 5
    assert (found.permutations, found.asked) == (4, 4)


def test_two_sided_is_twice_the_nearer_side() -> None:
    null = tuple(np.linspace(0.3, 0.7, 99))
    low = PermutationTest(observed=0.2, null=null, p_value=1.0, asked=99, seconds=0)
    assert low.two_sided == pytest.approx(2 / 100)
    high = PermutationTest(observed=0.8, null=null, p_value=1 / 100, asked=99, seconds=0)
    assert high.two_sided == pytest.approx(2 / 100)


def test_of_fixed_scores_it_is_the_mann_whitney_test() -> None:
    rng = np.random.default_rng(5)
    labels, people = np.tile([0, 1], 8), np.arange(16).astype(object)
    scores = rng.normal(size=16) + 0.8 * labels
    ranks = stats.rankdata(scores)
    found = permutation_test(lambda given: (given @ ranks - 36) / 64, labels, people, permutations=20_000)
    exact = stats.mannwhitneyu(
        scores[labels == 1], scores[labels == 0], alternative="greater", method="exact"
    )
    assert found.p_value == pytest.approx(exact.pvalue, abs=4 * np.sqrt(exact.pvalue / 20_000))


def pipeline(features: np.ndarray, people: np.ndarray, labels: np.ndarray) -> float:
    """Folds by the labels given, nearest mean within them, AUC within folds."""
    found = []
    for train, test in subject_folds(labels, people, n_splits=4):
        toward = features[train][labels[train] == 1].mean(0) - features[train][labels[train] == 0].mean(0)
        scores = features[test] @ toward
        found.append(np.mean(scores[labels[test] == 1][:, None] > scores[labels[test] == 0]))
    return float(np.mean(found))


def test_a_whole_pipeline_on_null_cohorts_is_called_as_often_as_it_should() -> None:
    """200 cohorts, 19 permutations: p <= 0.05 with probability 0.05; and with an effect nearly always."""
    people, labels = np.arange(16).astype(object), np.tile([0, 1], 8)
    called = {0.0: 0, 2.0: 0}
    for effect, cohorts in ((0.0, 200), (2.0, 30)):
        for seed in range(cohorts):
            features = np.random.default_rng((seed, 1)).normal(size=(16, 3)) + effect * labels[:, None]
            auc_of = partial(pipeline, features, people)
            found = permutation_test(auc_of, labels, people, permutations=19, seed=seed)
            called[effect] += found.p_value <= 0.05
    assert called[0.0] <= stats.binom.ppf(0.999, 200, 0.05)
    assert called[0.0] >= stats.binom.ppf(0.001, 200, 0.05)
    assert called[2.0] >= 25


def test_the_same_seed_gives_the_same_permutations() -> None:
    labels, people = np.tile([0, 1], 10), np.arange(20).astype(object)
    calls: list[tuple[int, ...]] = []

    def noted(given: np.ndarray) -> float:
        calls.append(tuple(given))
        return 0.5

    for _ in range(2):
        permutation_test(noted, labels, people, permutations=5)
    assert calls[:6] == calls[6:]
    assert calls[0] == tuple(labels)
    assert len(set(calls)) == 6


def test_time_is_a_budget_but_one_permutation_is_always_made() -> None:
    labels, people = np.tile([0, 1], 10), np.arange(20).astype(object)

    def slow(_: np.ndarray) -> float:
        time.sleep(0.02)
        return 0.5

    found = permutation_test(slow, labels, people, permutations=1000, seconds=0.2)
    assert 1 <= found.permutations < 12
    assert found.asked == 1000
    assert permutation_test(slow, labels, people, permutations=1000, seconds=0).permutations == 1


def test_what_cannot_be_permuted_is_refused() -> None:
    labels, people = np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"], dtype=object)
    with pytest.raises(ParameterError, match="both within a site"):
        permutation_test(lambda _: 0.5, labels, people, strata=np.array(["A", "A", "B", "B"], dtype=object))
    with pytest.raises(ParameterError, match="one a person"):
        permutation_test(lambda _: 0.5, labels, np.array(["a", "b", "b", "d"], dtype=object))
    with pytest.raises(ParameterError, match="permutations must be at least 1"):
        permutation_test(lambda _: 0.5, labels, people, permutations=0)
