"""Area under the ROC curve over cross-validation folds, with a bootstrap interval over people.

Scores of different folds come from different models and are not on one scale, so only pairs within a fold are
compared: the AUC is the share of (positive, negative) pairs of the same fold that stand in the right order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """The pairs of one fold: which person each side is, and whether the pair is in order (ties count 0.5)."""

    positive_P: NDArray[np.intp]
    negative_N: NDArray[np.intp]
    ordered_PN: NDArray[np.float64]


def fold_auc(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    folds: NDArray[np.int64],
    groups: NDArray[np.object_],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """AUC within folds and its percentile bootstrap interval.

    People, not runs, are resampled, with replacement, within each label: the interval says how the figure
    would move with other people tested, the trained models given. It does not know how training on other
    people would have moved it, and is therefore somewhat narrow.

    Args:
        labels: 0 or 1 for each run (n,).
        scores: the higher, the more positive (n,).
        folds: the fold in which each run was tested (n,).
        groups: the person of each run (n,).
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ParameterError: no fold holds both labels.
    """
    people, person = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    pairs = [_pairs(labels, scores, person, np.flatnonzero(folds == fold)) for fold in np.unique(folds)]
    pairs = [p for p in pairs if p.ordered_PN.size]
    if not pairs:
        raise ParameterError("folds", must_be="such that one of them holds both labels", got="none that does")
    rng = np.random.default_rng(seed)
    once = np.ones((1, len(people)))
    drawn = np.zeros((resamples, len(people)))
    for sides in ([p.positive_P for p in pairs], [p.negative_N for p in pairs]):
        side = np.unique(np.concatenate(sides))
        drawn[:, side] = rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=resamples)
    # A sample of very few people may hold no pair of a common fold: it says nothing.
    low, high = np.nanpercentile(_weighted_auc(pairs, drawn), [2.5, 97.5])
    return Interval(estimate=float(_weighted_auc(pairs, once)[0]), low=float(low), high=float(high))


def _pairs(
    labels: NDArray[np.int64], scores: NDArray[np.float64], person: NDArray[np.intp], rows: NDArray[np.intp]
) -> _Pairs:
    positive, negative = rows[labels[rows] == 1], rows[labels[rows] == 0]
    difference = scores[positive][:, None] - scores[negative][None, :]
    return _Pairs(
        positive_P=person[positive],
        negative_N=person[negative],
        ordered_PN=(difference > 0) + 0.5 * (difference == 0),
    )


def _weighted_auc(pairs: list[_Pairs], weights_RG: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUC for each row of weights over people (R, people)."""
    ordered = np.zeros(len(weights_RG))
    total = np.zeros(len(weights_RG))
    for p in pairs:
        positive_RP, negative_RN = weights_RG[:, p.positive_P], weights_RG[:, p.negative_N]
        ordered += np.einsum("rp,pn,rn->r", positive_RP, p.ordered_PN, negative_RN)
        total += positive_RP.sum(1) * negative_RN.sum(1)
    auc_R: NDArray[np.float64] = np.divide(ordered, total, out=np.full(len(total), np.nan), where=total > 0)
    return auc_R
