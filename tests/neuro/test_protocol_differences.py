"""DeLong's variance, clusters of runs, swapped ranks and the bootstrap, each against itself spelled out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from data.errors import ParameterError
from neuro.protocol.corrected import corrected_t
from neuro.protocol.delong import influences, over_deals, standings, variance
from neuro.protocol.differences import (
    bootstrap_difference,
    difference,
    paired_permutation,
    swap_shares,
    training_factor,
)
from neuro.protocol.intervals import auc_of_deals, fold_auc
from neuro.protocol.metrics import fold_values, metric_value
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import drawn, people_of

from .made_predictions import made


def one_fold(
    seed: int, effects: tuple[float, float], *, runs: int = 1, ties: bool = False
) -> list[Predictions]:
    """Two models tested once on everybody."""
    return [
        replace(one, folds=np.zeros_like(one.folds))
        for one in made(seed, effects, people=24, runs=runs, deals=1, ties=ties)
    ]


def higher(a: float, b: float) -> float:
    return float(a > b) + 0.5 * float(a == b)


def by_ranks(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC from the rank sum, for twins that take it a thousand times."""
    positive = labels == 1
    p = positive.sum()
    return float((stats.rankdata(scores)[positive].sum() - p * (p + 1) / 2) / (p * (len(labels) - p)))


def slow_delong(labels: np.ndarray, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """AUCs and their covariance as DeLong et al. 1988 write them, with every pair looked at."""
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    v10 = np.array([[np.mean([higher(s[i], s[j]) for j in negative]) for i in positive] for s in scores])
    v01 = np.array([[np.mean([higher(s[i], s[j]) for i in positive]) for j in negative] for s in scores])
    return v10.mean(1), np.cov(v10) / len(positive) + np.cov(v01) / len(negative)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_of_one_fold_and_one_run_a_person_it_is_delongs_test(seed: int, ties: bool) -> None:
    first, second = one_fold(seed, (1.0, 0.5), ties=ties)
    aucs, covariance = slow_delong(first.labels, [first.scores[0], second.scores[0]])
    contrast = np.array([1, -1])
    spread = float(contrast @ covariance @ contrast)
    found = difference(first, second, resamples=20, permutations=20)
    assert found.delong.estimate == pytest.approx(aucs[0] - aucs[1])
    assert found.delong_p == pytest.approx(2 * stats.norm.sf(abs(aucs[0] - aucs[1]) / np.sqrt(spread)))
    reach = stats.norm.ppf(0.975) * np.sqrt(spread)
    assert found.delong.high - found.delong.low == pytest.approx(2 * reach)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_standings_by_rank_are_those_of_all_pairs(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.normal(size=9), rng.normal(size=7)
    if ties:
        positive, negative = positive.round(), negative.round()
    above, below = standings(positive, negative)
    np.testing.assert_allclose(above, [np.mean([higher(p, n) for n in negative]) for p in positive])
    np.testing.assert_allclose(below, [np.mean([higher(p, n) for p in positive]) for n in negative])
    auc = roc_auc_score([1] * 9 + [0] * 7, [*positive, *negative])
    assert above.mean() == pytest.approx(auc)
    assert below.mean() == pytest.approx(auc)
    assert stats.mannwhitneyu(positive, negative).statistic / 63 == pytest.approx(auc)


def test_several_runs_of_a_person_are_obuchowskis_clusters() -> None:
    """Obuchowski 1997, with her sums over clusters; a person has one label, so no cluster holds both."""
    for one in one_fold(3, (1.0, 0.5), runs=3):
        labels, scores, people = one.labels, one.scores[0], one.people
        positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        auc = np.mean([[higher(scores[i], scores[j]) for j in negative] for i in positive])
        total = 0.0
        for side, other, sign in ((positive, negative, 1), (negative, positive, -1)):
            sums = []
            for person in np.unique(people[side]):
                mine = side[people[side] == person]
                standing = [
                    np.mean([higher(sign * scores[i], sign * scores[j]) for j in other]) for i in mine
                ]
                sums.append(sum(standing) - len(mine) * auc)
            clusters = len(sums)
            total += clusters / (clusters - 1) * float(np.sum(np.square(sums))) / len(side) ** 2
        _, influence = influences(one)
        assert variance(influence[0], people_of(people, labels).label_P) == pytest.approx(total)


def test_copies_of_runs_make_no_variance_smaller() -> None:
    once = one_fold(5, (1.0, 0.4))
    copied = [
        replace(
            one,
            **{name: np.repeat(getattr(one, name), 5) for name in ("run_ids", "labels", "people", "sites")},
            **{
                name: np.repeat(getattr(one, name), 5, axis=1)
                for name in ("folds", "scores", "probabilities", "called")
            },
        )
        for one in once
    ]
    single, fivefold = (difference(*pair, resamples=20, permutations=200) for pair in (once, copied))
    assert fivefold.delong_p == pytest.approx(single.delong_p)
    assert fivefold.permutation_p == single.permutation_p


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 2))
def test_an_influence_is_how_far_the_auc_moves_with_a_person_s_weight(seed: int, runs: int) -> None:
    (one,) = made(seed, [1.0], people=16, runs=runs, deals=2)
    _, influence = influences(one)
    people = people_of(one.people, one.labels)
    for person in range(len(people)):
        for_more, for_less = (
            auc_of_deals(
                one.labels,
                one.scores,
                one.folds,
                (1 + step * (people.person_N == person))[None].astype(float),
            )[0]
            for step in (1e-5, -1e-5)
        )
        np.testing.assert_allclose((for_more - for_less) / 2e-5, influence[:, person], atol=1e-6)


def slow_swap(first: Predictions, second: Predictions, signs: dict[str, int]) -> float:
    """The difference after the ranks of those with sign -1 were swapped, run by run and pair by pair."""
    total = 0.0
    for deal in range(first.deals):
        won = pairs = 0.0
        for fold in np.unique(first.folds[deal]):
            here = np.flatnonzero(first.folds[deal] == fold)
            a, b = (stats.rankdata(one.scores[deal, here]) for one in (first, second))
            swap = np.array([signs[first.people[i]] < 0 for i in here])
            a, b = np.where(swap, b, a), np.where(swap, a, b)
            labels = first.labels[here]
            for i, j in product(np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)):
                won += higher(a[i], a[j]) - higher(b[i], b[j])
                pairs += 1
        total += won / pairs
    return total / first.deals


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 2), ties=st.booleans())
def test_swapping_ranks_is_linear_in_the_signs_of_people(seed: int, runs: int, ties: bool) -> None:
    first, second = made(seed, [1.0, 0.3], people=12, runs=runs, deals=2, splits=2, ties=ties)
    shares = swap_shares(first, second)
    rng = np.random.default_rng(seed)
    for signs in (np.ones(12), *rng.choice([-1, 1], size=(5, 12))):
        by_name = {f"p{i:03d}": int(sign) for i, sign in enumerate(signs)}
        assert shares @ signs == pytest.approx(slow_swap(first, second, by_name), abs=1e-12)


def test_of_one_fold_it_is_scipys_permutation_test_of_paired_ranks() -> None:
    first, second = made(12, [1.5, 0.2], people=10, deals=1, splits=2)
    first, second = (replace(one, folds=np.zeros_like(one.folds)) for one in (first, second))
    labels = first.labels

    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return abs(by_ranks(labels, a) - by_ranks(labels, b))

    ranks = [stats.rankdata(one.scores[0]) for one in (first, second)]
    exact = stats.permutation_test(
        ranks, gap, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    found = paired_permutation(first, second, permutations=40_000)
    assert found == pytest.approx(exact.pvalue, abs=4 * np.sqrt(exact.pvalue / 40_000))


def test_the_bootstrap_draws_the_same_people_for_both() -> None:
    first, second = made(8, [1.0, 0.5], people=20, runs=2)
    found = bootstrap_difference(first, second, resamples=40, seed=3)
    weights = drawn(people_of(first.people, first.labels), first.folds, 40, 3).astype(int)
    twins = []
    for row in weights:
        runs = np.repeat(np.arange(40), row)
        pair = [
            fold_auc(one.labels[runs], one.scores[:, runs], one.folds[:, runs], one.people[runs], resamples=1)
            for one in (first, second)
        ]
        twins.append(pair[0].estimate - pair[1].estimate)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(twins, [2.5, 97.5])))
    assert found.estimate == pytest.approx(metric_value(first, "auc") - metric_value(second, "auc"))


def test_it_is_the_percentile_bootstrap_of_scipy_for_one_fold() -> None:
    first, second = one_fold(2, (1.2, 0.3))
    found = bootstrap_difference(first, second, resamples=4000)
    positive, negative = np.flatnonzero(first.labels == 1), np.flatnonzero(first.labels == 0)

    def gap(p: np.ndarray, n: np.ndarray) -> float:
        runs = np.concatenate([p, n]).astype(int)
        aucs = [by_ranks(one.labels[runs], one.scores[0, runs]) for one in (first, second)]
        return aucs[0] - aucs[1]

    twin = stats.bootstrap(
        (positive, negative), gap, n_resamples=1000, vectorized=False, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((twin.low, twin.high), abs=0.04)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_exchanging_the_models_turns_the_difference_round(seed: int) -> None:
    first, second = made(seed, [1.0, 0.5], people=20)
    one, other = (
        difference(*pair, resamples=50, permutations=300) for pair in ((first, second), (second, first))
    )
    assert one.interval.estimate == pytest.approx(-other.interval.estimate)
    assert (one.interval.low, one.interval.high) == pytest.approx((-other.interval.high, -other.interval.low))
    assert (one.delong_p, one.permutation_p) == pytest.approx((other.delong_p, other.permutation_p))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scales_of_folds_and_models_do_not_matter(seed: int) -> None:
    first, second = made(seed, [1.0, 0.5], people=20)
    stretched = replace(second, scores=np.exp(second.scores) + 100.0 * second.folds)
    a, b = (difference(first, other, resamples=50, permutations=300) for other in (second, stretched))
    assert a.interval == b.interval
    assert a.bootstrap == b.bootstrap
    assert a.p_value == b.p_value


def test_a_model_does_not_differ_from_itself() -> None:
    (one,) = made(0, [1.0])
    found = difference(one, replace(one, model="twin"), resamples=50, permutations=99)
    assert found.p_value == found.permutation_p == found.delong_p == 1.0
    assert (found.interval.low, found.interval.estimate, found.interval.high) == (0, 0, 0)
    assert found.corrected is not None
    assert found.corrected.p_value is None


def test_perfect_against_nothing_has_a_p_though_delong_has_none() -> None:
    """No score varies within a label, so there is no variance; swapping ranks still tells."""
    (one,) = made(0, [0.0], people=20, splits=2)
    perfect = replace(one, scores=np.broadcast_to(one.labels.astype(float), one.folds.shape))
    nothing = replace(one, scores=np.zeros(one.folds.shape))
    found = difference(perfect, nothing, permutations=999)
    assert found.interval.estimate == 0.5
    assert found.delong_p is None
    assert 0 < found.p_value < 0.01


def test_what_a_verdict_goes_by_counts_training() -> None:
    first, second = made(1, [1.0, 0.2], people=40, deals=3)
    found = difference(first, second, permutations=999)
    label_P = people_of(first.people, first.labels).label_P
    gap = influences(first)[1] - influences(second)[1]
    single = np.mean([variance(row, label_P) for row in gap])
    width = 2 * stats.norm.ppf(0.975) * np.sqrt(single * training_factor(3))
    assert found.interval.high - found.interval.low == pytest.approx(width)
    assert width > found.delong.high - found.delong.low
    assert found.delong.high - found.delong.low == pytest.approx(
        2 * stats.norm.ppf(0.975) * np.sqrt(variance(over_deals(gap), label_P))
    )
    assert found.corrected == corrected_t(fold_values(first, "auc") - fold_values(second, "auc"), 1 / 3)
    assert training_factor(1) == 2.0
    assert training_factor(3) > training_factor(10) > 1.3


def test_other_folds_or_people_are_refused() -> None:
    first, second = made(0, [1.0, 1.0])
    with pytest.raises(ParameterError, match="folds of compared models must be those of ours"):
        difference(first, replace(second, folds=(second.folds + 1) % 4))
    with pytest.raises(ParameterError, match="run_ids of compared models"):
        difference(first, replace(second, run_ids=second.run_ids[::-1]))
    apart = np.broadcast_to(first.labels, first.folds.shape)
    with pytest.raises(ParameterError, match="both labels"):
        difference(replace(first, folds=apart), replace(second, folds=apart))
