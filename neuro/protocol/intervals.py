"""Area under the ROC curve over cross-validation folds, with a bootstrap interval over people.

Scores of different folds come from different models and are not on one scale, so only pairs within a fold
are compared: the AUC of a deal is the share of (positive, negative) pairs of the same fold that stand in the
right order, ties counting half; that of several deals is their mean.

Letters: D deals, N runs, R resamples, P positive and M negative runs of one fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Interval, percentile_interval
from neuro.protocol.resampling import Floats, Ints, drawn, people_of


def fold_auc(
    labels: Ints,
    scores: Floats,
    folds: Ints,
    groups: NDArray[np.object_],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """AUC within folds and its percentile bootstrap interval.

    People, not runs, are resampled, with replacement, within each label, the same ones in all deals: the
    interval says how the figure would move with other people tested, the trained models given. It does not
    know how training on other people would have moved it, and is therefore somewhat narrow.

    Args:
        labels: 0 or 1 for each run (N,).
        scores: the higher, the more positive (N,), or of several deals (D, N).
        folds: the fold in which each run was tested, -1 for none; of the same shape.
        groups: the person of each run (N,).
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ParameterError: no fold holds both labels, or a person has two.
    """
    scores_DN, folds_DN = np.atleast_2d(scores), np.atleast_2d(folds)
    once = mean_of_deals(auc_of_deals(labels, scores_DN, folds_DN, np.ones((1, len(labels)))))
    if np.isnan(once).any():
        raise ParameterError("folds", must_be="such that one of them holds both labels", got="none that does")
    weights_RN = drawn(people_of(groups, labels), folds_DN, resamples, seed)
    return percentile_interval(
        float(once[0]), mean_of_deals(auc_of_deals(labels, scores_DN, folds_DN, weights_RN))
    )


def auc_of_deals(labels: Ints, scores_DN: Floats, folds_DN: Ints, weights_RN: Floats) -> Floats:
    """AUC within folds of each deal, each run counting as its weight says: (R, D); NaN without a pair."""
    found_RD = np.full((len(weights_RN), len(folds_DN)), np.nan)
    for deal, (scores_N, folds_N) in enumerate(zip(scores_DN, folds_DN, strict=True)):
        ordered_R, total_R = np.zeros(len(weights_RN)), np.zeros(len(weights_RN))
        for positive_P, negative_M in sides(labels, folds_N):
            ordered_PM = in_order(scores_N[positive_P], scores_N[negative_M])
            weights_RP, weights_RM = weights_RN[:, positive_P], weights_RN[:, negative_M]
            ordered_R += ((weights_RP @ ordered_PM) * weights_RM).sum(1)
            total_R += weights_RP.sum(1) * weights_RM.sum(1)
        np.divide(ordered_R, total_R, out=found_RD[:, deal], where=total_R > 0)
    return found_RD


def sides(labels: Ints, folds_N: Ints) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Positive and negative runs of each fold of one deal that holds both."""
    found = []
    for fold in np.unique(folds_N[folds_N >= 0]):
        here_N = folds_N == fold
        pair = np.flatnonzero(here_N & (labels == 1)), np.flatnonzero(here_N & (labels == 0))
        if pair[0].size and pair[1].size:
            found.append(pair)
    return found


def in_order(positive_P: Floats, negative_M: Floats) -> Floats:
    """1 where the positive stands higher, 0.5 where they are equal, 0 otherwise: (P, M)."""
    higher_PM, equal_PM = positive_P[:, None] > negative_M, positive_P[:, None] == negative_M
    return np.asarray(higher_PM + 0.5 * equal_PM, dtype=np.float64)


def mean_of_deals(values_RD: Floats) -> Floats:
    """Mean over deals, those without a value left out: (R,); NaN where none has one."""
    known_RD = np.isfinite(values_RD)
    count_R = known_RD.sum(1)
    total_R = np.where(known_RD, values_RD, 0.0).sum(1)
    mean_R: Floats = np.divide(total_R, count_R, out=np.full(len(values_RD), np.nan), where=count_R > 0)
    return mean_R
