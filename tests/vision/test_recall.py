"""Recall of a graph: known shares give known estimates, and the interval covers what it says."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from data.errors import ParameterError
from vision.store.recall import Recall, measure_recall, wilson
from vision.store.vector_store import Row


class Forgetful:
    """A store of ten rows on a line, whose graph loses some rows of each answer."""

    def __init__(self, lost: int, scores: Any = None):
        self.lost, self.scores = lost, scores if scores is not None else np.linspace(0.9, 0.1, 10)

    def count(self) -> int:
        return len(self.scores)

    def search(self, vector_E: np.ndarray, k: int, *, exact: bool = False) -> list[Row]:
        kept = range(k) if exact else [*range(k - self.lost), *range(k, k + self.lost)]
        return [Row(id=str(at), payload={}, score=self.scores[at]) for at in kept if at < len(self.scores)]


QUERIES = np.eye(4, dtype=np.float32)


def measure(store: Forgetful, k: int = 5) -> Recall:
    return measure_recall(store, QUERIES, k)  # type: ignore[arg-type]


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_the_share_found_is_the_estimate(lost: int) -> None:
    recall = measure(Forgetful(lost))
    assert recall.estimate == pytest.approx(1 - lost / 5)
    assert recall.low < recall.estimate <= recall.high <= 1
    assert recall.queries == 4
    assert min(recall.exact_ms, recall.graph_ms) >= 0
    assert Recall(**dataclasses.asdict(recall)) == recall


def test_equal_rows_stand_in_for_each_other() -> None:
    assert measure(Forgetful(2, np.full(10, 0.5))).estimate == 1


def test_a_store_smaller_than_k_can_be_measured() -> None:
    assert measure(Forgetful(0), k=50).estimate == 1


def test_it_reads_as_one_line() -> None:
    recall = Recall(estimate=0.998, low=0.995, high=1.0, queries=200, exact_ms=25.02, graph_ms=1.1)
    assert str(recall) == "recall@10 0.998 [0.995, 1.000] over 200 queries; 1.1 ms against 25.0 ms exact"


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ParameterError, match="k must be"):
        measure(Forgetful(0), k=0)
    with pytest.raises(ParameterError, match="got an empty store"):
        measure(Forgetful(0, []))
    with pytest.raises(ParameterError, match="got no queries"):
        measure_recall(Forgetful(0), QUERIES[:0])  # type: ignore[arg-type]


@pytest.mark.parametrize("together", [False, True])
def test_the_interval_covers_the_truth(rng: np.random.Generator, together: bool) -> None:
    """Also where the misses of one query hang together, which plain Wilson over all of them does not."""
    covered = 0
    for _ in range(300):
        each_Q = rng.beta(9, 1, 100) if together else np.full(100, 0.9)
        low, high = wilson(rng.binomial(10, each_Q) / 10, 10)  # type: ignore[arg-type]
        covered += low <= 0.9 <= high
    assert 0.91 <= covered / 300 <= 0.995


def test_perfect_scores_are_not_taken_for_certainty() -> None:
    low, high = wilson([1.0] * 20, 10)
    assert high == pytest.approx(1)
    assert 0.97 < low < 0.99
