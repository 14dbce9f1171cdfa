"""Probability of relevance: what never changes it, what it tells apart, when it keeps silent."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ParameterError
from vision.retrieval.relevance import (
    CROWD,
    FEWEST,
    Background,
    cut,
    expected_above,
    relevance,
    tail_relevance,
)

SEEDS = st.integers(0, 2**32 - 1)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def noise(seed: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.04, count)


@given(seed=SEEDS, shift=st.floats(-5, 5), stretch=st.floats(0.01, 100))
def test_adding_and_stretching_change_nothing(seed: int, shift: float, stretch: float) -> None:
    background = noise(seed)
    scores = np.sort(np.r_[background, 0.3, 0.5])[::-1][:20]
    plain = tail_relevance(scores, background, 300)
    moved = tail_relevance(scores * stretch + shift, background * stretch + shift, 300)
    np.testing.assert_allclose(moved, plain, rtol=1e-6, atol=1e-9)


@given(seed=SEEDS, total=st.integers(1, 10**7), asked=st.integers(1, 50))
def test_in_rank_order_probabilities_never_rise_and_do_not_depend_on_how_many_were_asked_for(
    seed: int, total: int, asked: int
) -> None:
    background = noise(seed)
    scores = np.sort(np.random.default_rng(seed + 1).uniform(-1, 1, 50))[::-1]
    chances = tail_relevance(scores, background, total)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances) <= 0).all()
    np.testing.assert_array_equal(tail_relevance(scores[:asked], background, total), chances[:asked])


@given(seed=SEEDS, fewer=st.integers(1, CROWD), more=st.integers(1, 10**6))
def test_the_same_score_means_less_in_a_larger_collection(seed: int, fewer: int, more: int) -> None:
    small, large = sorted((fewer, more))
    scores, background = np.array([0.25, 0.3, 0.35]), noise(seed)
    assert (tail_relevance(scores, background, large) <= tail_relevance(scores, background, small)).all()


def test_expected_number_counts_what_lies_above() -> None:
    background = np.random.default_rng(0).exponential(1.0, 100_000) ** (1 / 1.3)  # the assumed tail, mirrored
    background = np.r_[background, -background]
    for level in (0.0, 1.0, 2.0, 3.0):
        expected = expected_above(np.array([level]), background, 1000)[0]
        assert expected == pytest.approx(1000 * np.mean(background >= level), rel=0.25)


@pytest.mark.parametrize("seed", range(5))
def test_a_clear_hit_is_shown_and_noise_is_not(seed: int) -> None:
    background = noise(seed)
    assert tail_relevance([0.4], background, 300)[0] > 0.85
    assert tail_relevance([background.max()], background, 300)[0] < 0.5
    with_hit = np.r_[background, 0.4]  # the hit is part of the sample, as in a small collection
    assert tail_relevance([0.4], with_hit, 301)[0] > 0.85


def test_a_subject_that_fills_an_eighth_of_the_collection_does_not_hide_itself() -> None:
    background = np.r_[noise(0, 262), np.random.default_rng(1).normal(0.4, 0.04, 38)]
    best = np.sort(background)[::-1][:10]
    assert (tail_relevance(best, background, 300) > 0.5).all()


@pytest.mark.parametrize("count", [0, 1, 3, 10, FEWEST - 1])
def test_too_few_pictures_tell_nothing_and_all_are_shown(count: int) -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(count, 8))) if count else np.empty((0, 8))
    chances = relevance(np.ones(8), np.linspace(1, 0, count), Background.from_vectors(vectors), count)
    assert chances.shape == (count,)
    assert np.isnan(chances).all()
    assert cut(chances) == count


def test_enough_pictures_tell_something() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(50, 8)))
    assert np.isfinite(relevance(np.ones(8), np.array([0.9]), Background.from_vectors(vectors), 50)).all()


def test_pictures_that_are_all_alike_tell_nothing() -> None:
    same = np.tile(unit(np.arange(1.0, 9.0)), (100, 1))
    rounded = Background.from_vectors(same + np.random.default_rng(0).normal(0, 1e-9, same.shape))
    assert np.isnan(relevance(np.ones(8), np.array([0.8]), rounded, 100)).all()


def test_length_of_the_query_does_not_matter_and_half_precision_hardly() -> None:
    rng = np.random.default_rng(0)
    vectors, query = unit(rng.normal(size=(500, 64))), rng.normal(size=64)
    scores = np.sort(vectors @ unit(query))[::-1][:10]
    whole = relevance(query, scores, Background.from_vectors(vectors), 500)
    np.testing.assert_allclose(
        relevance(7 * query, scores, Background.from_vectors(vectors), 500), whole, rtol=1e-4
    )
    half = Background.from_vectors(vectors.astype(np.float16))
    np.testing.assert_allclose(relevance(query, scores, half, 500), whole, atol=0.01)


def test_a_sample_is_drawn_from_all_rows_and_always_the_same() -> None:
    rows = np.arange(10_000, dtype=np.float32)[:, None]
    one, other = (Background.from_vectors(rows, size=1000) for _ in range(2))
    assert len(one) == 1000
    np.testing.assert_array_equal(one.vectors_NE, other.vectors_NE)
    assert len(np.unique(one.vectors_NE)) == 1000
    assert one.vectors_NE.mean() == pytest.approx(4999.5, rel=0.06)


@pytest.mark.parametrize("vectors", [np.ones(3), np.full((3, 2), np.nan)])
def test_what_is_no_matrix_is_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="background must be a finite matrix"):
        Background.from_vectors(vectors)


def test_cut_stops_at_the_first_below() -> None:
    assert cut(np.array([0.9, 0.5, 0.4])) == 2
    assert cut(np.array([0.4, 0.3])) == 0
    assert cut(np.array([0.9, 0.8])) == 2
    assert cut(np.array([])) == 0
    assert cut(np.array([0.9, 0.5]), threshold=0.0) == 2
    with pytest.raises(ParameterError, match="cut must be a probability"):
        cut(np.array([0.9]), threshold=1.5)


def test_no_torch_is_imported() -> None:
    code = "import sys, vision.retrieval.relevance; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
