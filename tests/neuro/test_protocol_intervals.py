"""The AUC within folds against loops, and its interval against known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from data.errors import ParameterError
from neuro.protocol.intervals import fold_auc


def slow_auc(labels: np.ndarray, scores: np.ndarray, folds: np.ndarray) -> float:
    won = total = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            if folds[i] == folds[j]:
                total += 1
                won += float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])
    return won / total


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), ties=st.booleans())
def test_estimate_equals_the_slow_twin(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels, folds = np.tile([0, 1], 15), np.repeat(np.arange(3), 10)
    scores = rng.integers(0, 3, 30).astype(float) if ties else rng.normal(size=30)
    found = fold_auc(labels, scores, folds, np.arange(30).astype(object), resamples=50)
    assert found.estimate == pytest.approx(slow_auc(labels, scores, folds))
    assert found.low <= found.estimate <= found.high


def test_one_fold_is_the_ordinary_auc(rng: np.random.Generator) -> None:
    labels, scores = rng.integers(0, 2, 40), rng.normal(size=40)
    found = fold_auc(labels, scores, np.zeros(40, int), np.arange(40).astype(object), resamples=10)
    assert found.estimate == pytest.approx(roc_auc_score(labels, scores))


def test_offsets_between_folds_do_not_count() -> None:
    labels, folds = np.tile([0, 1], 10), np.repeat([0, 1], 10)
    scores = labels + 100.0 * folds
    people = np.arange(20).astype(object)
    assert fold_auc(labels, scores, folds, people).estimate == 1.0
    shifted = fold_auc(labels, scores * np.where(folds == 0, 1, 1) - 50 * folds, folds, people)
    assert shifted.estimate == 1.0


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two normal groups one standard deviation apart: AUC = Phi(1 / sqrt 2) = 0.760."""
    rng = np.random.default_rng(8)
    labels, people = np.tile([0, 1], 30), np.arange(60).astype(object)
    hits = 0
    for _ in range(150):
        scores = rng.normal(size=60) + labels
        found = fold_auc(labels, scores, np.zeros(60, int), people, resamples=300)
        hits += found.low <= 0.7602 <= found.high
    assert 0.87 <= hits / 150 <= 0.99


def test_people_are_resampled_not_runs(rng: np.random.Generator) -> None:
    """Ten copies of every run tell nothing new: the interval must not shrink."""
    labels, scores = np.tile([0, 1], 12), rng.normal(size=24)
    people = np.arange(24).astype(object)
    once = fold_auc(labels, scores, np.zeros(24, int), people)
    tenfold = fold_auc(*(np.repeat(a, 10) for a in (labels, scores, np.zeros(24, int), people)))
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, abs=0.03)


def test_folds_of_one_label_are_refused() -> None:
    with pytest.raises(ParameterError, match="both labels"):
        fold_auc(np.array([0, 1]), np.zeros(2), np.array([0, 1]), np.array(["a", "b"], object))


def test_one_person_a_label_in_each_fold_still_has_an_interval() -> None:
    labels, folds = np.tile([0, 1], 5), np.repeat(np.arange(5), 2)
    scores = np.array([0.0, 1.0] * 4 + [1.0, 0.0])
    found = fold_auc(labels, scores, folds, np.arange(10).astype(object))
    assert found.estimate == 0.8
    assert found.low < 0.5
    assert found.high == 1.0


def test_several_deals_are_averaged_and_their_doubt_with_them(rng: np.random.Generator) -> None:
    """The same people in all deals: ten copies of a deal leave the interval as it is."""
    labels, people = np.tile([0, 1], 12), np.arange(24).astype(object)
    folds, scores = np.stack([rng.permutation(24) % 3 for _ in range(3)]), rng.normal(size=(3, 24)) + labels
    once = fold_auc(labels, scores, folds, people)
    slow = [slow_auc(labels, s, f) for s, f in zip(scores, folds, strict=True)]
    assert once.estimate == pytest.approx(np.mean(slow))
    copied = fold_auc(labels, np.tile(scores, (10, 1)), np.tile(folds, (10, 1)), people)
    assert (copied.low, copied.estimate, copied.high) == pytest.approx((once.low, once.estimate, once.high))


def test_one_deal_as_a_row_is_that_deal(rng: np.random.Generator) -> None:
    labels, people = np.tile([0, 1], 12), np.arange(24).astype(object)
    folds, scores = rng.permutation(24) % 3, rng.normal(size=24)
    assert fold_auc(labels, scores[None], folds[None], people) == fold_auc(labels, scores, folds, people)


def test_a_person_of_two_labels_is_refused() -> None:
    with pytest.raises(ParameterError, match="both for a"):
        fold_auc(np.array([0, 1]), np.zeros(2), np.zeros(2, int), np.array(["a", "a"], object))
