"""What is known of each site after each step: accuracy matrix, backward and forward transfer, intervals.

R[i, j] is how well site j is told after step i. Backward transfer is what later steps did to sites that were
learned before, forward transfer what earlier steps did for sites that were still to come (Lopez-Paz and
Ranzato 2017, arXiv 1706.08840, section 2.1), here of the AUC, whose value by chance is known (0.5):

    BWT = mean over sites learned before the last step of R[last, j] - R[learned(j), j]
    FWT = mean over sites learned after the first step of R[learned(j) - 1, j] - 0.5

With one site a step these are the paper's. All intervals come from the same resampled people, so differences
are those of the same people. Letters: N runs, I steps, J sites, B resamples, G people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import NOTHING, Interval, percentile_interval
from neuro.protocol.resampling import drawn_within

CHANCE = 0.5
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Who was tested, and when their site was learned.

    Attributes:
        labels: 0 or 1 (N,).
        people: (N,).
        sites: (N,).
        folds: which models tested each run (N,): only scores of the same fold are compared.
        learned: site -> the step, from 0, in which it was learned; in the order of columns.
        resamples: of people.
        seed: of the resampling.
    """

    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]
    folds: NDArray[np.int64]
    learned: Mapping[str, int]
    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        strangers = sorted(set(map(str, self.sites)) - set(self.learned))
        if strangers:
            raise ParameterError("sites", must_be=f"of {', '.join(self.learned)}", got=strangers[0])

    @cached_property
    def person_numbers(self) -> NDArray[np.intp]:
        """The number of each run's person (N,)."""
        return np.unique(self.people.astype(str), return_inverse=True)[1]

    @cached_property
    def draws(self) -> Floats:
        """How often each person is drawn (B, G), within label and site; the first time once each."""
        first_G = np.unique(self.person_numbers, return_index=True)[1]
        strata_G = np.array([f"{self.labels[row]} {self.sites[row]}" for row in first_G])
        rng = np.random.default_rng(self.seed)
        strata = [np.flatnonzero(strata_G == stratum) for stratum in np.unique(strata_G)]
        drawn = drawn_within(strata, len(first_G), self.resamples, rng)
        return np.vstack([np.ones(len(first_G)), drawn])

    def rows(self, site: str) -> NDArray[np.intp]:
        """The runs of a site."""
        return np.flatnonzero(self.sites.astype(str) == site)


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """AUC and log loss after each step, on each site; the first resample is everybody as they are.

    Attributes:
        panel: who.
        auc_BIJ: NaN where a site, or a resample of it, has no two people to compare.
        log_loss_BIJ: in nats.
    """

    panel: Panel
    auc_BIJ: Floats
    log_loss_BIJ: Floats

    @property
    def sites(self) -> list[str]:
        """In the order of columns."""
        return list(self.panel.learned)

    def auc(self, step: int, site: str) -> Interval:
        """R[step, site]."""
        return interval(self.auc_BIJ[:, step, self.sites.index(site)])

    def log_loss(self, step: int, site: str) -> Interval:
        """As `auc`, in nats."""
        return interval(self.log_loss_BIJ[:, step, self.sites.index(site)])

    def auc_change(self, site: str) -> Interval:
        """From the step in which a site was learned to the last."""
        return interval(_change(self.auc_BIJ, self.sites.index(site), self.panel.learned[site]))

    def log_loss_change(self, site: str) -> Interval:
        """As `auc_change`, in nats: a rise is for the worse."""
        return interval(_change(self.log_loss_BIJ, self.sites.index(site), self.panel.learned[site]))

    def backward(self) -> Interval:
        """Backward transfer of the AUC; below 0 where old sites were forgotten."""
        last = self.auc_BIJ.shape[1] - 1
        old = [(j, step) for j, step in enumerate(self.panel.learned.values()) if step < last]
        return interval(np.mean([_change(self.auc_BIJ, j, step) for j, step in old], axis=0))

    def forward(self) -> Interval:
        """Forward transfer of the AUC; above 0 where a site was told before it was learned."""
        new = [(j, step) for j, step in enumerate(self.panel.learned.values()) if step > 0]
        return interval(np.mean([self.auc_BIJ[:, step - 1, j] - CHANCE for j, step in new], axis=0))


def matrix_of(panel: Panel, logits_IN: Floats) -> Matrix:
    """Measure everything at once.

    Args:
        panel: who.
        logits_IN: of the positive label, after each step.
    """
    steps, sites = len(logits_IN), list(panel.learned)
    auc_BIJ = np.full((panel.resamples + 1, steps, len(sites)), np.nan)
    loss_BIJ = auc_BIJ.copy()
    for j, site in enumerate(sites):
        rows = panel.rows(site)
        for i in range(steps):
            auc_BIJ[:, i, j] = _auc(panel, logits_IN[i], rows)
            loss_BIJ[:, i, j] = _log_loss(panel, logits_IN[i], rows)
    return Matrix(panel=panel, auc_BIJ=auc_BIJ, log_loss_BIJ=loss_BIJ)


def interval(values_B: Floats) -> Interval:
    """The first value, and the percentiles of the others; NaN where nothing can be said."""
    if not (np.isfinite(values_B[0]) and np.isfinite(values_B[1:]).any()):
        return NOTHING
    return percentile_interval(float(values_B[0]), values_B[1:])


def _change(values_BIJ: Floats, site: int, since: int) -> Floats:
    change_B: Floats = values_BIJ[:, -1, site] - values_BIJ[:, since, site]
    return change_B


def _auc(panel: Panel, logits_N: Floats, rows: NDArray[np.intp]) -> Floats:
    """The share of pairs of the same fold and site that stand in the right order, by weight (B,)."""
    ordered_B, total_B = np.zeros((2, panel.resamples + 1))
    for fold in np.unique(panel.folds[rows]):
        here = rows[panel.folds[rows] == fold]
        sick, well = here[panel.labels[here] == 1], here[panel.labels[here] == 0]
        gap_PN = logits_N[sick][:, None] - logits_N[well][None, :]
        sick_BP, well_BN = (panel.draws[:, panel.person_numbers[side]] for side in (sick, well))
        ordered_B += np.einsum("bp,bp->b", sick_BP, well_BN @ ((gap_PN > 0) + 0.5 * (gap_PN == 0)).T)
        total_B += sick_BP.sum(1) * well_BN.sum(1)
    return _divided(ordered_B, total_B)


def _log_loss(panel: Panel, logits_N: Floats, rows: NDArray[np.intp]) -> Floats:
    """Mean over runs of -log of the probability given to what is so, by weight (B,)."""
    signs = np.where(panel.labels[rows] == 1, -1.0, 1.0)
    losses = np.logaddexp(0, signs * logits_N[rows])
    weights = panel.draws[:, panel.person_numbers[rows]]
    return _divided(weights @ losses, weights.sum(1))


def _divided(sum_B: Floats, total_B: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    mean_B: Floats = np.divide(sum_B, total_B, out=np.full(len(total_B), np.nan), where=total_B > 0)
    return mean_B
