"""Is an AUC above chance, where the pipeline was not run on permuted labels: predictions -> interval and p.

Labels are permuted between people against the out-of-fold scores as they are, which costs nothing, but leaves
out that the labels also trained the models. Alone it would call one null cohort in six above or below chance,
so its variance is that of one deal, times `training_factor`.

Letters: D deals, N runs, R permutations.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from data.errors import ParameterError
from data.interval import Z_95, Interval
from neuro.protocol.delong import influences, variance_of_one_deal
from neuro.protocol.differences import training_factor
from neuro.protocol.metrics import metric_intervals, metric_value
from neuro.protocol.permutation import permuted_labels
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import Floats, Ints, people_of


@dataclass(frozen=True, kw_only=True)
class ChanceTest:
    """What permuted labels gave against the scores as they are.

    Attributes:
        observed: AUC within folds.
        expected: its mean with permuted labels; 0.5 but for what sites tell.
        p_value: two-sided, by the normal distribution, training counted.
    """

    observed: float
    expected: float
    p_value: float


def chance_test(predictions: Predictions, *, permutations: int = 2000, seed: int = 0) -> ChanceTest:
    """Test an AUC against chance without running the pipeline again.

    Labels move between people of a site, or between all where each site holds one label only.

    Raises:
        ParameterError: no fold holds both labels, or a person has two.
    """
    from scipy.stats import norm

    observed = metric_value(predictions, "auc")
    labels_RN = _permuted(predictions, permutations, seed)
    null_RD = np.stack(
        [
            _aucs(labels_RN, scores_N, folds_N)
            for scores_N, folds_N in zip(predictions.scores, predictions.folds, strict=True)
        ],
        axis=1,
    )
    expected = float(np.nanmean(null_RD))
    spread = float(np.nanmean(np.nanvar(null_RD, axis=0))) * training_factor(predictions.deals)
    far = abs(observed - expected)
    p_value = float(2 * norm.sf(far / np.sqrt(spread))) if spread > 0 else 1.0
    return ChanceTest(observed=observed, expected=expected, p_value=p_value)


def auc_with_training(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """AUC with a 95 % interval that counts training, never narrower than the bootstrap's."""
    _, influence_DP = influences(predictions)
    label_P = people_of(predictions.people, predictions.labels).label_P
    reach = Z_95 * np.sqrt(variance_of_one_deal(influence_DP, label_P) * training_factor(predictions.deals))
    given = metric_intervals(predictions, names=["auc"], resamples=resamples, seed=seed)["auc"]
    return Interval(
        estimate=given.estimate,
        low=float(max(0.0, min(given.low, given.estimate - reach))),
        high=float(min(1.0, max(given.high, given.estimate + reach))),
    )


def _permuted(predictions: Predictions, permutations: int, seed: int) -> Ints:
    labels, people = predictions.labels, predictions.people
    try:
        draws = permuted_labels(labels, people, strata=predictions.sites, seed=seed)
    except ParameterError:
        draws = permuted_labels(labels, people, seed=seed)
    return np.stack(list(islice(draws, permutations)))


def _aucs(labels_RN: Ints, scores_N: Floats, folds_N: Ints) -> Floats:
    """AUC within folds for each row of labels (R,), by rank sums."""
    from scipy.stats import rankdata

    ordered_R, total_R = np.zeros(len(labels_RN)), np.zeros(len(labels_RN))
    for fold in np.unique(folds_N[folds_N >= 0]):
        here = np.flatnonzero(folds_N == fold)
        positive_R = labels_RN[:, here].sum(1)
        ordered_R += labels_RN[:, here] @ rankdata(scores_N[here]) - positive_R * (positive_R + 1) / 2
        total_R += positive_R * (len(here) - positive_R)
    auc_R: Floats = np.divide(ordered_R, total_R, out=np.full(len(labels_RN), np.nan), where=total_R > 0)
    return auc_R
