"""Retrieval metrics against a slow full-matrix twin; ties, several captions, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from vision.retrieval.metrics import Ranking, accuracy_figures, rank_both_ways


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def slow(scores: np.ndarray, right: np.ndarray) -> tuple[list[int], list[float]]:
    """Sort the whole matrix row by row, wrong answers before right ones where they tie."""
    ranks, precisions = [], []
    for row, good in zip(scores, right, strict=True):
        # 1e-6 is a tie, and ties are the worse for the model: right answers are pushed down by so much.
        order = sorted(range(len(row)), key=lambda at: (-(row[at] - 1e-6 * good[at]), good[at]))
        hits = [place for place, at in enumerate(order, start=1) if good[at]]
        if hits:
            ranks.append(hits[0])
            precisions.append(sum(n / place for n, place in enumerate(hits, start=1)) / len(hits))
    return ranks, precisions


@st.composite
def collections(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Few directions, so that ties are many; captions of some pictures only, in any order."""
    pictures, captions = draw(st.integers(1, 12)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corners = unit(rng.integers(-1, 2, size=(draw(st.integers(1, 6)), 3)) + 0.25)
    images, texts = (corners[rng.integers(0, len(corners), n)] for n in (pictures, captions))
    return images, texts, rng.integers(0, pictures, captions), draw(st.integers(1, 60))


@given(collections())
@settings(max_examples=200)
def test_equal_to_the_slow_twin(case: tuple[np.ndarray, np.ndarray, np.ndarray, int]) -> None:
    images, texts, owner, block = case
    to_picture, to_text = rank_both_ways(images, texts, owner, block=block)
    scores = texts.astype(np.float64) @ images.T.astype(np.float64)
    right = owner[:, None] == np.arange(len(images))
    for found, (ranks, precisions) in (
        (to_picture, slow(scores, right)),
        (to_text, slow(scores.T, right.T)),
    ):
        assert found.rank_Q.tolist() == ranks
        np.testing.assert_allclose(found.precision_Q, precisions, rtol=1e-12)
    assert to_picture.picture_Q.tolist() == owner.tolist()
    assert to_text.picture_Q.tolist() == sorted(set(owner.tolist()))


def test_blocks_do_not_matter_on_vectors_without_ties() -> None:
    rng = np.random.default_rng(0)
    images, texts = unit(rng.normal(size=(40, 16))), unit(rng.normal(size=(90, 16)))
    owner = rng.integers(0, 40, 90)
    whole, parts = (rank_both_ways(images, texts, owner, block=block) for block in (10**6, 100))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.rank_Q, other.rank_Q)


def test_a_model_that_gives_one_vector_to_everything_is_last() -> None:
    same = unit(np.tile(np.random.default_rng(0).normal(size=64), (37, 1)))
    to_picture, to_text = rank_both_ways(same, same, np.arange(37))
    assert (to_picture.rank_Q == 37).all()
    assert (to_text.rank_Q == 37).all()


def test_perfect_retrieval() -> None:
    images = np.eye(20, dtype=np.float32)
    to_picture, to_text = rank_both_ways(images, np.repeat(images, 5, axis=0), np.repeat(np.arange(20), 5))
    for ranking in (to_picture, to_text):
        figures = ranking.figures(resamples=50)
        assert [figures[name].estimate for name in ("R@1", "R@5", "R@10", "mAP", "median rank")] == [1.0] * 5


def ranking(ranks: np.ndarray, pictures: np.ndarray) -> Ranking:
    return Ranking(rank_Q=ranks, precision_Q=1 / ranks, picture_Q=pictures)


def test_figures_are_what_they_say() -> None:
    ranks = np.array([1, 1, 3, 7, 12, 40])
    figures = ranking(ranks, np.arange(6)).figures()
    assert figures["R@1"].estimate == pytest.approx(2 / 6)
    assert figures["R@5"].estimate == pytest.approx(3 / 6)
    assert figures["R@10"].estimate == pytest.approx(4 / 6)
    assert figures["mAP"].estimate == pytest.approx(np.mean(1 / ranks))
    assert figures["median rank"].estimate == 3  # the lower of the two in the middle
    assert str(figures["R@1"]).startswith("0.333 [0.")
    for value in figures.values():
        assert value.low <= value.estimate <= value.high


def test_intervals_resample_pictures_with_all_their_captions() -> None:
    """Five captions of a picture that agree are worth one: the interval stays as wide."""
    rng = np.random.default_rng(0)
    once = np.where(rng.random(200) < 0.5, 1, 50)
    width = {}
    for copies in (1, 5):
        value = ranking(np.repeat(once, copies), np.repeat(np.arange(200), copies)).figures()["R@1"]
        width[copies] = value.high - value.low
    assert width[5] == pytest.approx(width[1], rel=0.1)
    assert width[1] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 200), rel=0.15)


def test_bootstrap_equals_a_slow_one() -> None:
    rng = np.random.default_rng(1)
    ranks, pictures = rng.integers(1, 30, 60), rng.integers(0, 20, 60)
    groups = [np.flatnonzero(pictures == picture) for picture in np.unique(pictures)]
    draws = [
        np.concatenate([groups[at] for at in rng.integers(0, len(groups), len(groups))]) for _ in range(4000)
    ]
    figures = ranking(ranks, pictures).figures(resamples=4000)
    for name, slow_value in (
        ("R@10", [np.mean(ranks[rows] <= 10) for rows in draws]),
        ("mAP", [np.mean(1 / ranks[rows]) for rows in draws]),
        ("median rank", [np.quantile(ranks[rows], 0.5, method="inverted_cdf") for rows in draws]),
    ):
        low, high = np.percentile(slow_value, [2.5, 97.5])
        assert figures[name].low == pytest.approx(low, rel=0.08)
        assert figures[name].high == pytest.approx(high, rel=0.08)


@pytest.mark.parametrize(
    ("images", "texts", "owner", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), [0, 1], "vectors must be"),
        (np.ones((2, 3)), np.ones((2, 3)), [0], "vectors must be"),
        (np.ones((2, 3)), np.ones((0, 3)), [], "vectors must be"),
        (np.ones((2, 3)), np.ones((1, 3)), [2], "from 0 to 1"),
        (np.full((2, 3), np.nan), np.ones((1, 3)), [0], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(
    images: np.ndarray, texts: np.ndarray, owner: list[int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        rank_both_ways(images.astype(np.float32), texts.astype(np.float32), owner)


def test_accuracy_over_pictures_and_over_classes() -> None:
    classes = np.repeat([3, 8], [90, 10])
    right = np.c_[classes == 3, np.ones(100, bool)]
    figures = accuracy_figures(right, classes, ["top-1", "top-5"])
    assert figures["top-1"].estimate == pytest.approx(0.9)
    assert figures["top-5"].estimate == pytest.approx(1.0)
    assert figures["per class"].estimate == pytest.approx(0.5)
    assert (figures["top-1"].low, figures["top-1"].high) == pytest.approx((0.9, 0.9))  # nothing varies within
    mixed = accuracy_figures(np.arange(400)[:, None] % 4 > 0, np.zeros(400), ["top-1"])["top-1"]
    assert mixed.high - mixed.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.15)
