"""What each person adds to an AUC within folds, and the variance that follows: DeLong's, clustered by person.

DeLong et al. 1988 (Biometrics 44:837) take the variance of an AUC, and of a difference of AUCs on the same
people, from each case's mean standing against the other label. Sun & Xu 2014 (IEEE Signal Processing Letters
21:1389) find those standings by ranks, in n log n instead of n². Obuchowski 1997 (Biometrics 53:567) adds up
the standings of a person's several scans first, as these are no independent cases. One fold and one run a
person give DeLong's numbers; pairs of several folds weigh equally, and a person's influences are averaged
over deals.

Letters: D deals, N runs, P people; of scores, P and M are positive and negative runs of one fold.
"""

from __future__ import annotations

import numpy as np

from neuro.protocol.intervals import sides
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import Floats, Ints, People, people_of


def standings(positive_P: Floats, negative_M: Floats) -> tuple[Floats, Floats]:
    """Share of negatives that each positive stands above (P,), and of positives above each negative (M,).

    Ties count half. Both have the AUC as their mean.
    """
    from scipy.stats import rankdata

    p, m = len(positive_P), len(negative_M)
    rank_all = rankdata(np.concatenate([positive_P, negative_M]))
    above_P = (rank_all[:p] - rankdata(positive_P)) / m
    below_M = 1 - (rank_all[p:] - rankdata(negative_M)) / p
    return above_P, below_M


def influences(predictions: Predictions) -> tuple[Floats, Floats]:
    """AUC within folds of each deal (D,), and what each person adds to it (D, P).

    A person's influence is how far the AUC would move, to first order, were the person counted once more. It
    is NaN for who was not tested in the deal, or in a fold without anybody of the other label.

    Raises:
        ParameterError: a person has two labels.
    """
    people = people_of(predictions.people, predictions.labels)
    found = [
        _of_deal(predictions.labels, scores_N, folds_N, people)
        for scores_N, folds_N in zip(predictions.scores, predictions.folds, strict=True)
    ]
    return np.array([auc for auc, _ in found]), np.stack([influence_P for _, influence_P in found])


def _of_deal(labels: Ints, scores_N: Floats, folds_N: Ints, people: People) -> tuple[float, Floats]:
    ordered, total = 0.0, 0
    ordered_N, pairs_N = np.zeros(len(labels)), np.zeros(len(labels))
    for positive_P, negative_M in sides(labels, folds_N):
        p, m = len(positive_P), len(negative_M)
        above_P, below_M = standings(scores_N[positive_P], scores_N[negative_M])
        ordered_N[positive_P], pairs_N[positive_P] = m * above_P, m
        ordered_N[negative_M], pairs_N[negative_M] = p * below_M, p
        ordered, total = ordered + float(m * above_P.sum()), total + p * m
    if not total:
        return float("nan"), np.full(len(people), np.nan)
    auc = ordered / total
    influence_P = people.total(ordered_N - auc * pairs_N) / total
    return auc, np.where(people.total(pairs_N) > 0, influence_P, np.nan)


def variance(influence_P: Floats, label_P: Ints) -> float:
    """Variance of a figure to which people add these influences; people of each label are a sample.

    Who has none (NaN) is no part of it.
    """
    found = 0.0
    for label in (0, 1):
        side = influence_P[(label_P == label) & np.isfinite(influence_P)]
        if len(side) > 1:
            found += len(side) / (len(side) - 1) * float((side**2).sum())
    return found


def variance_of_one_deal(influences_DP: Floats, label_P: Ints) -> float:
    """Mean over deals of the variance that each has by itself; deals without a pair are left out."""
    found = [variance(row_P, label_P) for row_P in influences_DP if np.isfinite(row_P).any()]
    return float(np.mean(found)) if found else float("nan")


def over_deals(influences_DP: Floats) -> Floats:
    """Influence on the mean of the deals' AUCs (P,); NaN for who has none in any."""
    known_DP = np.isfinite(influences_DP)
    mean_P = np.where(known_DP, influences_DP, 0.0).mean(0)
    return np.where(known_DP.any(0), mean_P, np.nan)
