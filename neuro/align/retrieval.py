"""Scans found by words: does a sentence bring up the scans that it holds of? Against chance, with intervals.

All of it is within folds, as vectors of two folds come from two models. Letters: N runs, R resamples of
people, Q sentences that are asked for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.interval import Interval, percentile_interval
from neuro.align.bank import WRONG
from neuro.protocol.intervals import auc_of_deals, in_order
from neuro.protocol.resampling import People, drawn, people_of

DEPTH = 5
RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Found:
    """How well one kind of question finds its scans.

    Attributes:
        asked: what is asked for, in words.
        above: how often a scan that the sentence holds of stands above one that it does not hold of; the
            mean rank, on a scale from 0 to 1. Chance is 0.5.
        recall: share of the scans meant among the first `DEPTH`; None where many are meant.
        recall_chance: the same of a random order.
        recall_gain: `recall` less chance.
        precision: average precision, the mean over folds; None where one scan is meant.
        precision_chance: what a random order has on average.
    """

    asked: str
    above: Interval
    recall: Interval | None = None
    recall_chance: float | None = None
    recall_gain: Interval | None = None
    precision: float | None = None
    precision_chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, what does not apply left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """Runs that can be found.

    Attributes:
        vectors_NE: unit vectors, each by a model that had not seen the person.
        labels, people, fold_of: of the runs (N,).
    """

    vectors_NE: NDArray[np.float32]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    fold_of: NDArray[np.int64]

    @property
    def who(self) -> People:
        """The runs by person."""
        return people_of(self.people, self.labels)

    def weights(self, seed: int) -> Floats:
        """How often each run counts: once (first row), and in resamples of people (1 + R, N)."""
        resampled_RN = drawn(self.who, self.fold_of[None], RESAMPLES, seed)
        return np.concatenate([np.ones((1, len(self.labels))), resampled_RN])


def by_label(
    collection: Collection, query_E: NDArray[np.float32], label: int, asked: str, seed: int
) -> Found:
    """One sentence that holds of all people of a label."""
    scores_N = (collection.vectors_NE @ query_E).astype(np.float64)
    right_N = (collection.labels == label).astype(np.int64)
    folds_DN = collection.fold_of[None]
    above_R = auc_of_deals(right_N, scores_N[None], folds_DN, collection.weights(seed))[:, 0]
    precision, chance = [], []
    for fold in np.unique(collection.fold_of):
        here_N = collection.fold_of == fold
        precision.append(average_precision(scores_N[here_N], right_N[here_N]))
        chance.append(random_precision(int(here_N.sum()), int(right_N[here_N].sum())))
    return Found(
        asked=asked,
        above=percentile_interval(float(above_R[0]), above_R[1:]),
        precision=float(np.mean(precision)),
        precision_chance=float(np.mean(chance)),
    )


def by_own_sentence(
    collection: Collection,
    queries_NE: NDArray[np.float32],
    truth_NN: NDArray[np.int8],
    asked: str,
    seed: int,
) -> Found:
    """All that is told of a person: is it that person's scan that comes up?

    Left out are other scans of the same person, and those that the sentence holds of too, or may.

    Args:
        collection: the runs.
        queries_NE: a unit vector for each run, of what is told of it.
        truth_NN: whether what is told of run i (rows) holds of run j.
        asked: in words.
        seed: of the resamples.
    """
    weights_RN = collection.weights(seed)
    ordered_R, total_R = np.zeros(len(weights_RN)), np.zeros(len(weights_RN))
    hit_N, chance_N = np.zeros(len(queries_NE)), np.zeros(len(queries_NE))
    for fold in np.unique(collection.fold_of):
        here = np.flatnonzero(collection.fold_of == fold)
        scores_qn = (queries_NE[here] @ collection.vectors_NE[here].T).astype(np.float64)
        other_qn = collection.people[here][:, None] != collection.people[here][None, :]
        other_qn &= truth_NN[np.ix_(here, here)] == WRONG
        order_qn = np.stack([in_order(own[at : at + 1], own)[0] for at, own in enumerate(scores_qn)])
        weights_Rn = weights_RN[:, here]
        ordered_R += ((weights_Rn @ (order_qn * other_qn)) * weights_Rn).sum(1)
        total_R += ((weights_Rn @ other_qn) * weights_Rn).sum(1)
        rank_n = 1 + ((1 - order_qn) * other_qn).sum(1)
        hit_N[here] = rank_n <= DEPTH
        chance_N[here] = np.minimum(1, DEPTH / (1 + other_qn.sum(1)))
    above_R = np.divide(ordered_R, total_R, out=np.full(len(total_R), np.nan), where=total_R > 0)
    hits_R, gain_R = (weights_RN @ value_N / weights_RN.sum(1) for value_N in (hit_N, hit_N - chance_N))
    return Found(
        asked=asked,
        above=percentile_interval(float(above_R[0]), above_R[1:]),
        recall=percentile_interval(float(hits_R[0]), hits_R[1:]),
        recall_chance=float(chance_N.mean()),
        recall_gain=percentile_interval(float(gain_R[0]), gain_R[1:]),
    )


def holds_between(truth_NS: NDArray[np.int8], meaning_N: NDArray[np.intp]) -> NDArray[np.int8]:
    """Whether the meaning that is told of run i holds of run j: (N, N), runs that are asked for in rows."""
    return np.asarray(truth_NS[:, meaning_N].T, dtype=np.int8)


def average_precision(scores_N: Floats, right_N: NDArray[np.int64]) -> float:
    """Mean over the right runs of the share of right ones among all that score as high or higher."""
    at_least_NN = scores_N[None, :] >= scores_N[:, None]
    share_N = (at_least_NN & (right_N == 1)[None, :]).sum(1) / at_least_NN.sum(1)
    return float(share_N[right_N == 1].mean()) if (right_N == 1).any() else float("nan")


def random_precision(count: int, right: int) -> float:
    """The average precision of a random order, on average (Bestgen 2015, PLoS ONE 10).

    A right run at rank k has (k - 1) (r - 1) / (n - 1) others above it on average.
    """
    ranks = np.arange(1, count + 1)
    before = (ranks - 1) * (right - 1) / max(count - 1, 1)
    return float(np.mean((before + 1) / ranks))
