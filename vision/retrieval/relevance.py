"""Probability that a hit is what the query meant: its score against what the query scores on everything else.

A raw cosine says nothing by itself: another query, another phrasing or another model has another level of
noise. So every query is measured against the collection's own background, its scores on a random sample of
the collection. Location is their median, spread the way from there to the 90 % point, and above the median
the tail is taken to fall as exp(-u ** SHAPE), u in spreads. That gives E, the number of pictures that chance
would put at or above a score, and from E the log-odds of relevance, OFFSET - SLOPE log E: a local false
discovery rate (Efron, JASA 99, 2004) with a parametric null, whose constants `benchmarks/relevance.py` fits
on one half of its subjects and checks on the other.

What it does not know: whether the nearest thing that is there would do. "Toy poodle", where there is none,
gets a miniature poodle with good odds. And of a subject that fills a tenth of a collection or more, only the
clearer pictures stand out from the background that they are themselves part of.

Shape legend: N pictures of the sample, K scores of hits, E components of the joint space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import ParameterError

Scores = npt.NDArray[np.floating]

SAMPLE = 4096  # the 90 % point of so many scores is known to within about 3 % of the spread
FEWEST = 20  # below, the 90 % point is one or two pictures, which may be the very ones that were meant
CROWD = 1000  # larger collections hold more of what people ask for: odds go down no further

SHAPE = 1.3  # 1 is an exponential tail, about 1.6 follows a normal one
LOPSIDED = 1.3  # most that the upper spread counts, in lower spreads: what goes beyond is hits, not noise
OFFSET, SLOPE = -3.04, 0.69


@dataclass(frozen=True, eq=False)
class Background:
    """A random sample of a collection's unit vectors (N, E), fp32."""

    vectors_NE: npt.NDArray[np.float32]

    @classmethod
    def from_vectors(cls, vectors_NE: npt.ArrayLike, *, size: int = SAMPLE, seed: int = 0) -> Background:
        """Sample `size` of the vectors, or take all where there are no more; fp16 will do.

        Raises:
            ParameterError: not a finite matrix.
        """
        given_NE = np.asarray(vectors_NE)
        if given_NE.ndim != 2 or not np.isfinite(given_NE).all():
            raise ParameterError(
                "background", must_be="a finite matrix (N, E)", got=f"an array of shape {given_NE.shape}"
            )
        if len(given_NE) > size:
            rows = np.random.default_rng(seed).choice(len(given_NE), size, replace=False)
            given_NE = given_NE[np.sort(rows)]
        return cls(np.ascontiguousarray(given_NE, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.vectors_NE)

    def scores(self, query_E: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Cosines (N,) of a query, of any length but 0, with the sample."""
        query = np.asarray(query_E, dtype=np.float32)
        cosines_N: npt.NDArray[np.float32] = self.vectors_NE @ (query / np.linalg.norm(query))
        return cosines_N


def relevance(
    query_E: npt.ArrayLike, scores_K: npt.ArrayLike, background: Background, total: int
) -> npt.NDArray[np.float64]:
    """Probabilities (K,) that hits with these cosines are what the query meant.

    A greater score never gets a lower probability, so that hits in rank order get non-increasing ones; and a
    hit's probability does not depend on how many others were asked for.

    Args:
        query_E: the vector that was searched with.
        scores_K: cosines of the hits with it.
        background: a sample of the collection.
        total: how many pictures were searched (those that fit the filter, where there was one).

    Returns:
        NaN for all where the background cannot be known: fewer than 20 pictures, or no spread among them.
    """
    return tail_relevance(scores_K, background.scores(query_E), total)


def tail_relevance(
    scores_K: npt.ArrayLike, background_N: npt.ArrayLike, total: int
) -> npt.NDArray[np.float64]:
    """`relevance` from scores alone; adding to all of them, or stretching all of them, changes nothing."""
    scores = np.asarray(scores_K, dtype=np.float64)
    expected_K = expected_above(scores, background_N, min(total, CROWD))
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1 / (1 + np.exp(SLOPE * np.log(expected_K) - OFFSET)))


def expected_above(scores_K: Scores, background_N: npt.ArrayLike, total: int) -> npt.NDArray[np.float64]:
    """How many of `total` irrelevant pictures would score as high as each of the scores; NaN if unknown.

    Scores below the median count as at it.
    """
    background = np.asarray(background_N, dtype=np.float64)
    unknown_K = np.full(len(scores_K), np.nan)
    if len(background) < FEWEST:
        return unknown_K
    low, middle, high = np.quantile(background, [0.1, 0.5, 0.9])
    spread = min(high - middle, LOPSIDED * (middle - low))
    if spread <= 1e-6 * max(abs(low), abs(high)):  # nothing but rounding
        return unknown_K
    heights_K = np.maximum(scores_K - middle, 0) / spread
    return np.asarray(0.5 * total * np.exp(-np.log(5) * heights_K**SHAPE))  # 0.5 at 0, 0.1 at 1


def cut(probabilities_K: npt.ArrayLike, threshold: float = 0.5) -> int:
    """How many hits, from the best on, to show: up to the first below `threshold`; all, if nothing is known.

    Raises:
        ParameterError: the threshold is no probability.
    """
    if not 0 <= threshold <= 1:
        raise ParameterError("cut", must_be="a probability from 0 to 1", got=threshold)
    below_K = np.asarray(probabilities_K) < threshold
    return int(below_K.argmax()) if below_K.any() else len(below_K)
