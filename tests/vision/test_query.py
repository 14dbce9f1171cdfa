"""The algebra of queries: what must hold of every combination, whatever the terms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data.errors import ParameterError
from vision.retrieval.query import LESS_LIKE, MORE_LIKE, Query, Term, combine

DIM = 6
WEIGHTS = st.floats(-3, 3).filter(lambda weight: abs(weight) > 1e-3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@st.composite
def terms(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, list[float]]:
    count = draw(st.integers(least, 4))
    raw = draw(arrays.arrays(np.float64, (count, DIM), elements=st.floats(-1, 1)))
    assume((np.linalg.norm(raw, axis=1) > 1e-2).all())
    return unit(raw), draw(st.lists(WEIGHTS, min_size=count, max_size=count))


@st.composite
def samples(draw: st.DrawFn) -> np.ndarray | None:
    seed = draw(st.none() | st.integers(0, 1000))
    return None if seed is None else unit(np.random.default_rng(seed).normal(size=(20, DIM)))


def not_cancelled(vectors: np.ndarray, weights: list[float], sample: np.ndarray | None) -> np.ndarray:
    try:
        total = combine(vectors, weights, sample)
    except ParameterError:
        assume(False)
    # Near to cancelling, the direction is rounding and nothing else.
    raw = naive_scores(vectors, weights, sample, np.eye(DIM, dtype=np.float32))
    assume(np.linalg.norm(raw) > 1e-2)
    return total


def naive_scores(
    vectors: np.ndarray, weights: list[float], sample: np.ndarray | None, pictures: np.ndarray
) -> np.ndarray:
    """Each picture by each term, in units of the term's spread: what `combine` promises, done slowly."""
    totals = []
    for picture in pictures.astype(float):
        total = 0.0
        for vector, weight in zip(vectors.astype(float), weights, strict=True):
            scores = [] if sample is None else [float(vector @ row) for row in sample.astype(float)]
            spread = (
                math.sqrt(sum((s - sum(scores) / len(scores)) ** 2 for s in scores) / len(scores))
                if scores
                else 1
            )
            total += weight * float(vector @ picture) / (spread if spread > 1e-6 else 1)
        totals.append(total)
    return np.array(totals)


@given(terms(), samples(), st.integers(0, 1000))
def test_one_vector_ranks_as_the_terms_one_by_one(
    given_terms: tuple[np.ndarray, list[float]], sample: np.ndarray | None, seed: int
) -> None:
    vectors, weights = given_terms
    total = not_cancelled(vectors, weights, sample)
    pictures = unit(np.random.default_rng(seed).normal(size=(15, DIM)))
    slow = naive_scores(vectors, weights, sample, pictures)
    fast = pictures @ total
    np.testing.assert_allclose(fast, slow * (fast @ slow) / (slow @ slow), atol=2e-4)
    assert np.linalg.norm(total) == pytest.approx(1, abs=1e-5)
    assert fast @ slow > 0


@given(terms(), samples(), st.floats(0.1, 10))
def test_only_proportions_of_weights_matter(
    given_terms: tuple[np.ndarray, list[float]], sample: np.ndarray | None, factor: float
) -> None:
    vectors, weights = given_terms
    total = not_cancelled(vectors, weights, sample)
    np.testing.assert_allclose(combine(vectors, [factor * w for w in weights], sample), total, atol=1e-4)


@given(terms(), samples(), st.randoms(use_true_random=False))
def test_order_does_not_matter(
    given_terms: tuple[np.ndarray, list[float]], sample: np.ndarray | None, random: object
) -> None:
    vectors, weights = given_terms
    total = not_cancelled(vectors, weights, sample)
    order = list(range(len(weights)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = combine(vectors[order], [weights[i] for i in order], sample)
    np.testing.assert_allclose(again, total, atol=1e-4)


@given(terms(), samples())
def test_a_term_of_no_weight_is_as_good_as_none(
    given_terms: tuple[np.ndarray, list[float]], sample: np.ndarray | None
) -> None:
    vectors, weights = given_terms
    total = not_cancelled(vectors, weights, sample)
    more = np.concatenate([vectors, unit(np.arange(1, DIM + 1)[None])])
    np.testing.assert_allclose(combine(more, [*weights, 0.0], sample), total, atol=1e-5)


@given(terms(), samples())
def test_what_is_added_and_taken_away_cancels(
    given_terms: tuple[np.ndarray, list[float]], sample: np.ndarray | None
) -> None:
    vectors, weights = given_terms
    with pytest.raises(ParameterError, match="take each other away"):
        combine(np.concatenate([vectors, vectors]), [*weights, *(-w for w in weights)], sample)
    total = not_cancelled(vectors, weights, sample)
    one = unit(np.arange(1, DIM + 1)[None])
    padded = combine(np.concatenate([vectors, one, one]), [*weights, 0.7, -0.7], sample)
    np.testing.assert_allclose(padded, total, atol=1e-4)


@given(samples())
def test_a_single_term_is_its_own_vector(sample: np.ndarray | None) -> None:
    vector = unit(np.arange(DIM) - 2.0)
    np.testing.assert_allclose(combine(vector[None], [0.3], sample), vector, atol=1e-6)


def test_words_and_pictures_count_alike_however_wide_they_spread() -> None:
    """Pictures differ by much along the first axis and by little along the second."""
    sample = unit(np.random.default_rng(0).normal(size=(500, 3)) * [1, 0.05, 0] + [0, 0, 2])
    wide, narrow = np.eye(3, dtype=np.float32)[:2]
    total = combine(np.stack([wide, narrow]), [1, 1], sample)
    shares = (sample @ np.diag(total)[:2].T).std(axis=0)
    assert shares[0] == pytest.approx(shares[1], rel=0.01)
    assert total[0] < total[1] / 5


def test_a_query_is_built_without_changing_what_it_is_built_from() -> None:
    dog = Query.of("a dog")
    whole = dog.plus("sunset").minus("people", 0.5).like(b"bytes", 2)
    assert dog == Query.of("a dog") == Query.of(dog)
    assert [term.weight for term in whole.terms] == [1, 1, -0.5, 2]
    assert whole.words == "a dog sunset"


def test_feedback_shares_its_weight() -> None:
    terms_given = Query.of("a dog").feedback(more=[b"1", b"2"], less=[b"3"]).terms
    assert [term.weight for term in terms_given] == [1, MORE_LIKE / 2, MORE_LIKE / 2, -LESS_LIKE]


def test_nothing_to_look_for_is_an_error() -> None:
    for vectors, weights in ((np.zeros((0, DIM), np.float32), []), (unit(np.ones((1, DIM))), [0.0])):
        with pytest.raises(ParameterError, match="query must be something to look for, got no term"):
            combine(vectors, weights)
    with pytest.raises(ParameterError, match="query must be some words, got an empty text"):
        Query.of("dog").plus("  ")
    with pytest.raises(ParameterError, match="weight must be a finite number, got nan"):
        Term(content="dog", weight=math.nan)
