"""Nadeau and Bengio's corrected resampled t: figures of folds -> interval and test.

Folds of repeated cross-validation share most of their training people, so their figures are not independent,
and the plain t test finds differences everywhere. Nadeau & Bengio 2003 (Machine Learning 52:239, eq. 5-6)
widen the variance of the mean of n figures from s²/n to s² (1/n + test/train).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data.errors import ParameterError
from data.interval import Interval
from neuro.protocol.metrics import fold_values
from neuro.protocol.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class CorrectedT:
    """What the corrected t says.

    Attributes:
        interval: mean over folds, and its 95 % interval.
        folds: figures that it is of.
        test_share: people tested by people trained on.
        against: the value that the test asks about.
        t: statistic, of folds - 1 degrees of freedom; None where the figures do not vary.
        p_value: two-sided; None where the figures do not vary, as then no t can be had.
    """

    interval: Interval
    folds: int
    test_share: float
    against: float
    t: float | None
    p_value: float | None


def corrected_t(values: ArrayLike, test_share: float, *, against: float = 0.0) -> CorrectedT:
    """Interval and two-sided test of the mean of figures from (repeated) cross-validation.

    Args:
        values: one a fold, of all deals; for two models, the differences of their figures.
        test_share: test people by training people, 1 / (k - 1) for k folds.
        against: what the mean is compared with.

    Raises:
        ParameterError: fewer than two figures, or a share that is no positive number.
    """
    from scipy.stats import t as student

    figures = np.asarray(values, dtype=np.float64).ravel()
    if len(figures) < 2 or not np.isfinite(figures).all():
        raise ParameterError("figures of folds", must_be="two or more numbers", got=f"{figures.tolist()[:5]}")
    if not 0 <= test_share < np.inf:
        raise ParameterError("test_share", must_be="0 or a positive number", got=test_share)
    n, mean = len(figures), float(figures.mean())
    error = float(np.sqrt(figures.var(ddof=1) * (1 / n + test_share)))
    reach = float(student.ppf(0.975, n - 1)) * error
    statistic = (mean - against) / error if error > 0 else None
    return CorrectedT(
        interval=Interval(estimate=mean, low=mean - reach, high=mean + reach),
        folds=n,
        test_share=test_share,
        against=against,
        t=statistic,
        p_value=float(2 * student.sf(abs(statistic), n - 1)) if statistic is not None else None,
    )


def corrected_metric(predictions: Predictions, name: str = "auc", *, against: float = 0.5) -> CorrectedT:
    """The corrected t of a metric's figures in the folds.

    Raises:
        ParameterError: fewer than two folds have the figure.
    """
    return corrected_t(fold_values(predictions, name), share_tested(predictions), against=against)


def share_tested(predictions: Predictions) -> float:
    """People tested by people trained on (all others of the deal), on average over folds."""
    shares = []
    for folds_N in predictions.folds:
        people = set(predictions.people[folds_N >= 0])
        for fold in np.unique(folds_N[folds_N >= 0]):
            tested = set(predictions.people[folds_N == fold])
            if len(people) > len(tested):
                shares.append(len(tested) / (len(people) - len(tested)))
    if not shares:
        raise ParameterError("folds", must_be="two or more in a deal", got="one that tests everybody")
    return float(np.mean(shares))
