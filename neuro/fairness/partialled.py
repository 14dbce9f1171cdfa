"""Does the prediction hold once age, sex, motion and site are taken out? People -> tests, and a verdict.

The score is regressed on the covariates (a line and a curve); what is left of it, the residual, is what the
scan told beyond them. Two questions are asked of it, both with training counted: permuting residuals takes
the trained models as given, while in cross-validation each pair of people speaks twice, once each way, so
that the statistic's variance is TRAINING times what permutations show (docs/fairness.md).

primary     does the residual tell labels that a logistic regression on the covariates leaves open? The
            efficient score statistic of that regression, its p value by permuting the residual among people
            of a site (Potter 2005, Statistics in Medicine 24:693; Freedman & Lane 1983). Right where the
            model of the score is right, and where the model of the label is: one of them is enough. The
            likelihood-ratio test of the same regression (Firth's penalty) stands beside it.
secondary   does the residual rank patients above controls (AUC within folds), by permutation as well? The
            AUC is the size of what is left; as a test it trusts the model of the score alone.

Letters: G people, C columns, P permutations, R resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from data.interval import Interval, percentile_interval
from neuro.fairness import firth
from neuro.fairness.edges import collapsed, perfect_auc
from neuro.fairness.person_rows import COVARIATES, Floats, PersonRows, design, person_rows
from neuro.fairness.relations import Relation, relations
from neuro.protocol.predictions import Predictions

ALPHA = 0.05
TRAINING = 2.0  # of variances: measured 1.6 to 2.0 in linear models, however many deals are averaged
NOTHING_LEFT = 1e-6  # of the largest value: rounding
BLOCK = 2_000_000  # pairs compared at a time


@dataclass(frozen=True, kw_only=True)
class Partialled:
    """What is left of a prediction beside age, sex, motion and site.

    Attributes:
        people: how many.
        taken_out: covariates that were partialled out.
        not_taken_out: those that are not known, or the same for everybody.
        columns: terms of the score's regression.
        p: primary, one-sided: the residual is higher in patients than the covariates explain.
        odds_ratio: of being a patient for one standard deviation of the residual, covariates given.
        likelihood_ratio, likelihood_p: of the residual in that regression, two-sided, one degree.
        auc: of the score as it is, pairs of a fold.
        residual_auc, residual_auc_p: of the residual; secondary, one-sided.
        separated: the covariates alone give every label, so that nothing is left to test.
        relations: each covariate with the label and with the score.
    """

    people: int
    taken_out: tuple[str, ...]
    not_taken_out: tuple[str, ...]
    columns: tuple[str, ...]
    p: float
    odds_ratio: Interval
    likelihood_ratio: float
    likelihood_p: float
    auc: Interval
    residual_auc: Interval
    residual_auc_p: float
    separated: bool
    relations: tuple[Relation, ...]

    @property
    def holds(self) -> bool:
        """Whether the primary test says that the score tells more than the covariates."""
        return self.p < ALPHA


def partialled(
    predictions: Predictions,
    table: pd.DataFrame,
    *,
    permutations: int = 4999,
    resamples: int = 2000,
    seed: int = 0,
) -> Partialled:
    """Test whether a model's out-of-fold scores tell labels beyond age, sex, motion and site.

    Args:
        predictions: of one model.
        table: of the cache, one row a run.
        permutations: of both permutation tests.
        resamples: bootstrap samples, of people within their label.
        seed: of both.

    Raises:
        ParameterError: a run is not in the table, or a person has two labels or two folds in a deal, or all
            people have one label.
    """
    people = person_rows(predictions, table)
    X_GC, columns = design(people, squares=True, components=True)
    residual_G = left(X_GC, people.score_G)
    ratio, odds = _in_the_regression(people, residual_G)
    p, auc_p = permuted(people, X_GC, permutations, seed)
    plain_GC, _ = design(people, squares=False, components=False)
    return Partialled(
        people=len(people.labels_G),
        taken_out=tuple(people.known),
        not_taken_out=tuple(name for name in COVARIATES if name not in people.known),
        columns=tuple(columns[1:]),
        p=p,
        odds_ratio=odds,
        likelihood_ratio=ratio,
        likelihood_p=float(chi2.sf(ratio, 1)),
        auc=_auc_interval(people, X_GC[:, :1], resamples, seed),
        residual_auc=_auc_interval(people, X_GC, resamples, seed),
        residual_auc_p=auc_p,
        separated=not left(plain_GC, people.labels_G.astype(float)).any(),
        relations=relations(people, resamples=resamples, seed=seed),
    )


def left(X_GC: Floats, values: Floats) -> Floats:
    """What least squares on the columns leave of values (G,) or (G, P); 0 where that is only rounding."""
    q_GC, _ = np.linalg.qr(X_GC)
    rest = values - q_GC @ (q_GC.T @ values)
    nothing = np.abs(rest).max(axis=0) <= NOTHING_LEFT * np.abs(values).max(axis=0)
    return np.asarray(np.where(nothing, 0.0, rest))


def permuted(
    people: PersonRows, X_GC: Floats, permutations: int, seed: int, training: float = TRAINING
) -> tuple[float, float]:
    """One-sided p of the score statistic and of the AUC, residuals permuted and regressed anew.

    Permuting within sites lets each keep its own spread; the residuals as they are count as one permutation.

    Args:
        people: and their scores.
        X_GC: columns to take out of the scores.
        permutations: how many.
        seed: of these.
        training: factor on the variance; 1 for scores by models that none of these people trained.
    """
    rng = np.random.default_rng(seed)
    residual_G = left(X_GC, people.score_G)
    order_PG = np.tile(np.arange(len(residual_G)), (permutations, 1))
    site_G = people.covariates["site"].astype(str).to_numpy(object)
    for site in np.unique(site_G):
        here = site_G == site
        order_PG[:, here] = rng.permuted(order_PG[:, here], axis=1)
    all_PG = np.vstack([residual_G, left(X_GC, residual_G[order_PG].T).T])
    found = score_statistic(people, all_PG), pair_auc(people, all_PG)
    p, auc_p = (_one_sided(values[0], values[1:], training) for values in found)
    return p, auc_p


def _one_sided(found: float, null_P: Floats, training: float) -> float:
    """By the normal distribution with training counted, and never below the rank among permutations."""
    by_rank = (np.count_nonzero(null_P >= found - 1e-9) + 1) / (len(null_P) + 1)
    spread = math.sqrt(training) * float(null_P.std())
    by_size = float(norm.sf((found - null_P.mean()) / spread)) if spread > 0 else 1.0
    return float(max(by_rank, by_size))


def score_statistic(people: PersonRows, residual_PG: Floats) -> Floats:
    """Rao's efficient score, signed and standardized, of each residual (P,) in the label's regression."""
    X_GC, _ = design(people, squares=False, components=False)
    logit_G = X_GC @ firth.fit(X_GC, people.labels_G).coefficients_C
    expected_G = 1 / (1 + np.exp(-logit_G))
    weight_G = np.sqrt(expected_G * (1 - expected_G))
    q_GC, _ = np.linalg.qr(weight_G[:, None] * X_GC)
    weighted_PG = residual_PG * weight_G
    variance_P = ((weighted_PG - (weighted_PG @ q_GC) @ q_GC.T) ** 2).sum(axis=1)
    # What Firth's fit leaves is not quite orthogonal to the covariates: only the residual's own part counts.
    own_G = (people.labels_G - expected_G) / weight_G
    own_G = own_G - q_GC @ (q_GC.T @ own_G)
    size_P = np.sqrt(variance_P)
    statistic_P: Floats = np.divide(weighted_PG @ own_G, size_P, out=np.zeros(len(size_P)), where=size_P > 0)
    return statistic_P


def pair_auc(people: PersonRows, scores_PG: Floats, weights_G: NDArray[np.int64] | None = None) -> Floats:
    """AUC of each row of scores (P,), a pair counting once for every deal whose fold tested both."""
    patient_G = people.labels_G == 1
    pairs_PQ = people.together_PQ
    if weights_G is not None:
        pairs_PQ = pairs_PQ * weights_G[patient_G][:, None] * weights_G[~patient_G][None, :]
    at = np.nonzero(pairs_PQ)
    weight = pairs_PQ[at]
    if not weight.sum():
        return np.full(len(scores_PG), np.nan)
    patients_PG, controls_PG = scores_PG[:, patient_G], scores_PG[:, ~patient_G]
    rows = max(1, BLOCK // len(weight))
    found = []
    for start in range(0, len(scores_PG), rows):
        gap = patients_PG[start : start + rows, at[0]] - controls_PG[start : start + rows, at[1]]
        found.append(((gap > 0) + 0.5 * (gap == 0)) @ weight / weight.sum())
    return np.concatenate(found)


def _in_the_regression(people: PersonRows, residual_G: Floats) -> tuple[float, Interval]:
    """Likelihood ratio and odds ratio of the residual beside the covariates; of no residual, nothing."""
    if not residual_G.any():
        return 0.0, Interval(estimate=1.0, low=0.0, high=math.inf)
    plain_GC, _ = design(people, squares=False, components=False)
    X_GC = np.column_stack([plain_GC, residual_G / residual_G.std()])
    column = X_GC.shape[1] - 1
    logit = firth.coefficient(X_GC, people.labels_G, column)
    odds = Interval(estimate=math.exp(logit.estimate), low=math.exp(logit.low), high=math.exp(logit.high))
    return firth.likelihood_ratio(X_GC, people.labels_G, column), odds


def _auc_interval(people: PersonRows, X_GC: Floats, resamples: int, seed: int) -> Interval:
    """AUC of what the columns leave of the score; they are fitted anew to every bootstrap sample."""
    rng = np.random.default_rng(seed)
    score_G = people.score_G
    sides = [np.flatnonzero(people.labels_G == label) for label in (0, 1)]
    estimate = float(pair_auc(people, left(X_GC, score_G)[None, :])[0])
    drawn_R = np.empty(resamples)
    for resample in range(resamples):
        weight_G = np.bincount(
            np.concatenate([rng.choice(side, len(side)) for side in sides]), minlength=len(score_G)
        )
        root_G = np.sqrt(weight_G)
        # A site that was not drawn leaves a column of zeros, hence lstsq.
        slopes_C = np.linalg.lstsq(root_G[:, None] * X_GC, root_G * score_G, rcond=None)[0]
        rest_G = score_G - X_GC @ slopes_C
        rest_G[np.abs(rest_G) <= NOTHING_LEFT * np.abs(score_G).max()] = 0.0
        drawn_R[resample] = pair_auc(people, rest_G[None, :], weight_G)[0]
    interval = percentile_interval(estimate, drawn_R)
    if collapsed(interval) and estimate in (0.0, 1.0):
        return perfect_auc(estimate, len(sides[1]), len(sides[0]))
    return interval
