"""How each of age, sex, motion and site alone goes with the label and with the score. Letters: G people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from data.interval import Interval, percentile_interval
from data.quality.group_differences import stratified_auc
from neuro.fairness.person_rows import Floats, PersonRows, terms_of


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One covariate, or one of its levels, with the label and with the score.

    Attributes:
        covariate: `age`, `sex`, `motion` or `site`.
        term: the column: its name, or "sex=M" where it is one level among others.
        people: for whom it is known.
        auc: the chance that a patient has more of it than a control (of a level: is of it, and the control is
            not), ties half; what it would reach as a classifier without any scan is this or one less this.
        spearman: its rank correlation with the score.
    """

    covariate: str
    term: str
    people: int
    auc: Interval
    spearman: Interval


def relations(people: PersonRows, *, resamples: int = 2000, seed: int = 0) -> tuple[Relation, ...]:
    """Every covariate that differs between people; intervals of the AUC after Newcombe 2006, of the rank
    correlation by a bootstrap over people.
    """
    found = []
    for name in people.known:
        known_G = people.covariates[name].notna().to_numpy()
        columns_GC, terms = terms_of(people, name)
        for term, values_G in zip(terms, columns_GC[known_G].T, strict=True):
            labels_G = people.labels_G[known_G]
            rng = np.random.default_rng(seed)
            found.append(
                Relation(
                    covariate=name,
                    term=term,
                    people=int(known_G.sum()),
                    auc=_label_auc(labels_G, values_G),
                    spearman=spearman(values_G, people.score_G[known_G], resamples, rng),
                )
            )
    return tuple(found)


def spearman(x_G: Floats, y_G: Floats, resamples: int, rng: np.random.Generator) -> Interval:
    """Spearman's rank correlation and its percentile interval over people; 0 of a score that never varies."""
    rows_RG = rng.integers(0, len(x_G), (resamples, len(x_G)))
    estimate = float(np.nan_to_num(_rank_correlation(x_G[None, :], y_G[None, :])[0]))
    return percentile_interval(estimate, _rank_correlation(x_G[rows_RG], y_G[rows_RG]))


def _rank_correlation(x_RG: Floats, y_RG: Floats) -> Floats:
    x_RG, y_RG = rankdata(x_RG, axis=1), rankdata(y_RG, axis=1)
    x_RG, y_RG = x_RG - x_RG.mean(axis=1, keepdims=True), y_RG - y_RG.mean(axis=1, keepdims=True)
    size_R = np.sqrt((x_RG**2).sum(axis=1) * (y_RG**2).sum(axis=1))
    correlation_R: Floats = np.divide(
        (x_RG * y_RG).sum(axis=1), size_R, out=np.full(len(size_R), np.nan), where=size_R > 0
    )
    return correlation_R


def _label_auc(labels_G: NDArray[np.int64], values_G: Floats) -> Interval:
    patients, controls = values_G[labels_G == 1], values_G[labels_G == 0]
    if not len(patients) or not len(controls):
        return Interval(estimate=float("nan"), low=float("nan"), high=float("nan"))
    estimate, (low, high) = stratified_auc([(patients, controls)])
    return Interval(estimate=estimate, low=low, high=high)
