"""The figures of a protocol, each with an interval over people: predictions -> metric -> interval.

Every metric is taken in each deal and then averaged over deals. Letters: D deals, N runs, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Interval, percentile_interval, wilson
from neuro.protocol.intervals import auc_of_deals, mean_of_deals
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import Floats, drawn, people_of, tested_people

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)  # as scikit-learn clips, so that no loss is endless


@dataclass(frozen=True, kw_only=True, eq=False)
class Metric:
    """One figure.

    Attributes:
        title: how it is called in tables.
        higher_is_better: as AUC, unlike losses.
        of_deals: (predictions, weights of runs (R, N)) -> its value in each deal (R, D), NaN for none.
        people: (positive, negative people) -> how many it is about, where it is a share that may be 0 or 1.
    """

    title: str
    higher_is_better: bool
    of_deals: Callable[[Predictions, Floats], Floats]
    people: Callable[[int, int], int] | None = None


def metric_intervals(
    predictions: Predictions, *, names: Sequence[str] | None = None, resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Metrics, each with its 95 % percentile bootstrap interval.

    People are resampled within each label, with all their runs, the same ones in all deals and for all
    metrics. The interval is of other people tested by these models; that others would have trained other
    models is not in it (docs/protocol.md says how much that is). Where all resamples are 0 or all are 1, a
    bootstrap knows of no doubt at all: there the interval is Wilson's, for as many people.

    Args:
        predictions: of one model.
        names: which; None for all.
        resamples: bootstrap samples.
        seed: the same seed draws the same people, whatever the model.

    Raises:
        ParameterError: a person has two labels, or a label was never tested within a fold of both.
    """
    people = people_of(predictions.people, predictions.labels)
    weights_RN = drawn(people, predictions.folds, resamples, seed)
    there_P = tested_people(people, predictions.folds)
    counts = [int((there_P & (people.label_P == label)).sum()) for label in (1, 0)]
    found = {}
    for name in METRICS if names is None else names:
        metric = METRICS[name]
        values_R = mean_of_deals(metric.of_deals(predictions, weights_RN))
        found[name] = _interval(metric, metric_value(predictions, name), values_R, counts)
    return found


def metric_value(predictions: Predictions, name: str) -> float:
    """One metric: its mean over deals.

    Raises:
        ParameterError: no deal has a value.
    """
    once_RN = np.ones((1, len(predictions.labels)))
    value = float(mean_of_deals(METRICS[name].of_deals(predictions, once_RN))[0])
    if not np.isfinite(value):
        raise ParameterError("folds", must_be="such that one of them holds both labels", got="none that does")
    return value


def fold_values(predictions: Predictions, name: str) -> Floats:
    """A metric in each fold of each deal, in order; folds without a value (one label only) are left out."""
    found = []
    for deal in range(predictions.deals):
        folds_N = predictions.folds[deal]
        for fold in np.unique(folds_N[folds_N >= 0]):
            part = part_of(predictions, folds_N == fold, deal)
            found.append(METRICS[name].of_deals(part, np.ones((1, len(part.labels))))[0, 0])
    values: Floats = np.array(found)
    return np.asarray(values[np.isfinite(values)])


def part_of(predictions: Predictions, runs_N: NDArray[np.bool_], deal: int | None = None) -> Predictions:
    """The predictions of some runs, in all deals or in one."""
    deals = slice(None) if deal is None else slice(deal, deal + 1)
    by_run = {name: getattr(predictions, name)[runs_N] for name in ("run_ids", "labels", "people", "sites")}
    by_deal = {
        name: getattr(predictions, name)[deals][:, runs_N]
        for name in ("folds", "scores", "probabilities", "called")
    }
    sets = None if predictions.sets is None else predictions.sets[deals][:, runs_N]
    return replace(predictions, **by_run, **by_deal, sets=sets)


def _interval(metric: Metric, estimate: float, values_R: Floats, counts: list[int]) -> Interval:
    found = percentile_interval(estimate, values_R)
    if metric.people is None or found.low != found.high or found.low not in (0.0, 1.0):
        return found
    return wilson(found.low, metric.people(*counts))


def _auc(predictions: Predictions, weights_RN: Floats) -> Floats:
    return auc_of_deals(predictions.labels, predictions.scores, predictions.folds, weights_RN)


def _sensitivity(predictions: Predictions, weights_RN: Floats) -> Floats:
    return _share(weights_RN, predictions.called == 1, _of_label(predictions, 1))


def _specificity(predictions: Predictions, weights_RN: Floats) -> Floats:
    return _share(weights_RN, predictions.called == 0, _of_label(predictions, 0))


def _balanced_accuracy(predictions: Predictions, weights_RN: Floats) -> Floats:
    return (_sensitivity(predictions, weights_RN) + _specificity(predictions, weights_RN)) / 2


def _f1(predictions: Predictions, weights_RN: Floats) -> Floats:
    """Of label 1: 2 hits / (those who carry the label + those who are called so)."""
    positive_DN, called_DN = _of_label(predictions, 1), predictions.tested & (predictions.called == 1)
    hits_RD = weights_RN @ (positive_DN & called_DN).T
    return _divided(2.0 * hits_RD, weights_RN @ positive_DN.T + weights_RN @ called_DN.T)


def _brier(predictions: Predictions, weights_RN: Floats) -> Floats:
    return _mean(predictions, weights_RN, (predictions.probabilities - predictions.labels) ** 2)


def _log_loss(predictions: Predictions, weights_RN: Floats) -> Floats:
    given_DN = np.where(predictions.labels == 1, predictions.probabilities, 1 - predictions.probabilities)
    return _mean(predictions, weights_RN, -np.log(np.clip(given_DN, LEAST_PROBABILITY, 1.0)))


def _of_label(predictions: Predictions, label: int) -> NDArray[np.bool_]:
    """Tested runs of a label (D, N)."""
    return np.asarray(predictions.tested & (predictions.labels == label))


def _mean(predictions: Predictions, weights_RN: Floats, values_DN: Floats) -> Floats:
    tested_DN = predictions.tested
    return _divided(weights_RN @ np.where(tested_DN, values_DN, 0.0).T, weights_RN @ tested_DN.T)


def _share(weights_RN: Floats, hit_DN: NDArray[np.bool_], of_DN: NDArray[np.bool_]) -> Floats:
    return _divided(weights_RN @ (hit_DN & of_DN).T, weights_RN @ of_DN.T)


def _divided(above_RD: Floats, below_RD: Floats) -> Floats:
    quotient_RD: Floats = np.divide(
        above_RD, below_RD, out=np.full(below_RD.shape, np.nan), where=below_RD > 0
    )
    return quotient_RD


METRICS: dict[str, Metric] = {
    "auc": Metric(title="AUC", higher_is_better=True, of_deals=_auc, people=min),
    "balanced_accuracy": Metric(
        title="balanced accuracy", higher_is_better=True, of_deals=_balanced_accuracy, people=min
    ),
    "sensitivity": Metric(
        title="sensitivity",
        higher_is_better=True,
        of_deals=_sensitivity,
        people=lambda positive, negative: positive,
    ),
    "specificity": Metric(
        title="specificity",
        higher_is_better=True,
        of_deals=_specificity,
        people=lambda positive, negative: negative,
    ),
    "f1": Metric(title="F1", higher_is_better=True, of_deals=_f1, people=min),
    "brier": Metric(title="Brier score", higher_is_better=False, of_deals=_brier),
    "log_loss": Metric(title="log loss", higher_is_better=False, of_deals=_log_loss),
}
