"""How much of the truth does the graph find? Measured on the user's own pictures, and told.

Shape legend: N queries, E components.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data import interval
from data.errors import ParameterError
from vision.store.vector_store import Row, Vectors, VectorStore

EQUAL = 1e-6  # cosines this near are the same neighbour's for all that one can tell


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of the `k` nearest rows that the graph finds, its 95 % interval, and median times of a search.

    All of it plain numbers: `dataclasses.asdict` and `Recall(**fields)` keep and restore it.
    """

    estimate: float
    low: float
    high: float
    queries: int
    exact_ms: float
    graph_ms: float
    k: int = 10

    def __str__(self) -> str:
        return (
            f"recall@{self.k} {self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"
            f" over {self.queries} queries; {self.graph_ms:.1f} ms against {self.exact_ms:.1f} ms exact"
        )


def measure_recall(store: VectorStore, queries_NE: Vectors, k: int = 10) -> Recall:
    """Search for each query through the graph and exactly, in turn, and compare.

    A row found counts as right if it is as near as the k-th exact one: which of several equal pictures comes
    up makes no difference. The interval is Wilson's (1927), for as many independent trials as the spread
    between the queries leaves of the N k ones (Kish's design effect, 1965).

    Args:
        queries_NE: vectors of real queries; those of texts lie elsewhere than those of pictures.

    Raises:
        ParameterError: no queries, `k` below 1, or an empty store.
    """
    if k < 1:
        raise ParameterError("k", must_be="a whole number of at least 1", got=k)
    if len(queries_NE) == 0 or store.count() == 0:
        found = "no queries" if len(queries_NE) == 0 else "an empty store"
        raise ParameterError("recall", must_be="measured with queries on a store with rows", got=found)
    shares, exact_s, graph_s = [], [], []
    for query_E in queries_NE:
        began = time.perf_counter()
        truth = store.search(query_E, k, exact=True)
        between = time.perf_counter()
        found_rows = store.search(query_E, k)
        graph_s.append(time.perf_counter() - between)
        exact_s.append(between - began)
        shares.append(_share(found_rows, truth))
    low, high = wilson(shares, min(k, store.count()))
    return Recall(
        estimate=float(np.mean(shares)),
        low=low,
        high=high,
        queries=len(shares),
        exact_ms=1000 * float(np.median(exact_s)),
        graph_ms=1000 * float(np.median(graph_s)),
        k=k,
    )


def wilson(shares: Sequence[float], k: int) -> tuple[float, float]:
    """95 % interval of the mean of shares, each of `k` trials that may hang together."""
    mean, trials = float(np.mean(shares)), float(len(shares) * k)
    if 0 < mean < 1 and len(shares) > 1:
        effect = float(np.var(shares, ddof=1)) * k / (mean * (1 - mean))
        trials /= min(max(effect, 1.0), k)
    found = interval.wilson(mean, trials)
    return found.low, found.high


def _share(found: Sequence[Row], truth: Sequence[Row]) -> float:
    near_enough = truth[-1].score - EQUAL
    return sum(row.score >= near_enough for row in found) / len(truth)
