"""Intervals where a bootstrap has nothing to resample: everybody of a group was called alike.

Five of five people found is no proof that all are found, yet every resample of them says 1.0. There, and only
there, formulas that do not collapse stand in for the bootstrap.
"""

from __future__ import annotations

import math

import numpy as np

from data.interval import Z_95, Interval, wilson
from data.quality.group_differences import stratified_auc
from neuro.fairness.cells import Cells, figures

FLAT = 1e-9  # a bootstrap interval narrower than this has collapsed


def collapsed(interval: Interval) -> bool:
    """Whether a bootstrap interval has no width."""
    return interval.high - interval.low < FLAT


def perfect_auc(auc: float, patients: int, controls: int, *, z: float = Z_95) -> Interval:
    """Newcombe's interval (2006) of an AUC of 0 or 1; anything of an AUC of one patient or one control."""
    if min(patients, controls) < 2:
        return Interval(estimate=auc, low=0.0, high=1.0)
    sides = np.full(patients, auc), np.full(controls, 1 - auc)
    _, (low, high) = stratified_auc([sides], z=z)
    return Interval(estimate=auc, low=low, high=high)


def mean_of(first: Interval, second: Interval) -> Interval:
    """The mean of two independent figures: their distances to their bounds, added in squares (MOVER)."""
    estimate = (first.estimate + second.estimate) / 2
    below = math.hypot(first.estimate - first.low, second.estimate - second.low) / 2
    above = math.hypot(first.high - first.estimate, second.high - second.estimate) / 2
    return Interval(estimate=estimate, low=estimate - below, high=estimate + above)


def difference_of(higher: Interval, lower: Interval) -> Interval:
    """The difference of two independent figures, likewise (Newcombe 1998, method 10)."""
    estimate = higher.estimate - lower.estimate
    below = math.hypot(higher.estimate - higher.low, lower.high - lower.estimate)
    above = math.hypot(higher.high - higher.estimate, lower.estimate - lower.low)
    return Interval(estimate=estimate, low=max(-1.0, estimate - below), high=min(1.0, estimate + above))


def formula(cells: Cells, group: int, metric: str, estimate: float, *, z: float = Z_95) -> Interval:
    """The interval of a group's figure without a bootstrap: `metric` is one of those of `figures`."""
    patients, controls = (cells.people(group, patients=label) for label in (True, False))
    if metric == "auc":
        return perfect_auc(estimate, patients, controls, z=z)
    if metric == "balanced_accuracy":
        share = figures(cells, cells.of_group(group))
        sensitivity, specificity = (float(share[name][0]) for name in ("sensitivity", "specificity"))
        return mean_of(wilson(sensitivity, patients, z=z), wilson(specificity, controls, z=z))
    people = {"sensitivity": patients, "specificity": controls, "selection_rate": patients + controls}
    return wilson(estimate, people[metric], z=z)
