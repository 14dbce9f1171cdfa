"""Two models on the same people and folds -> the difference of their AUCs, its interval, and tests of it.

Four ways, since each asks something else:
- the person-level bootstrap and DeLong's test take the trained models as given, and ask about other people
  tested by them;
- the paired permutation test (Bandos et al. 2005, Statistics in Medicine 24:2873) asks whether the ranks by
  the two models could be swapped within people, the models as given;
- the corrected resampled t looks at how figures vary over folds.

The first three are too sure of themselves in cross-validation: who is tested in one fold trains the others,
so that accidents of the sample are counted once where they work twice. Where there is no difference they find
one in one of six cohorts, at a nominal 5 % (docs/protocol.md). What a verdict goes by therefore counts
training too: the variance of a single deal, times `training_factor`.

Letters: D deals, N runs, P people, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Z_95, Interval, percentile_interval
from neuro.protocol.corrected import CorrectedT, corrected_t, share_tested
from neuro.protocol.delong import influences, over_deals, variance, variance_of_one_deal
from neuro.protocol.intervals import auc_of_deals, in_order, mean_of_deals, sides
from neuro.protocol.metrics import fold_values
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import Floats, drawn, people_of


@dataclass(frozen=True, kw_only=True)
class Difference:
    """AUC of the first model less that of the second.

    Attributes:
        first, second: the models.
        interval: with training counted; what a verdict goes by.
        p_value: two-sided, of the same; no smaller than that of the permutation, which also holds where
            DeLong's variance is lost (an AUC of 1).
        bootstrap: people resampled, the models given.
        delong, delong_p: the models given; people with several runs are clusters. No p where nothing varies.
        permutation_p: two-sided, ranks swapped within people, the models given.
        corrected: corrected resampled t; None with fewer than two folds.
    """

    first: str
    second: str
    interval: Interval
    p_value: float
    bootstrap: Interval
    delong: Interval
    delong_p: float | None
    permutation_p: float
    corrected: CorrectedT | None


def training_factor(deals: int) -> float:
    """What the variance of one deal's AUC, models given, is multiplied with to count training: 1.3 + 0.7 / D.

    Where a model is little more than a sum over its training people, each pair of people speaks twice in a
    deal, once each way, so the variance is 2 times what independent tests would have; averaging deals takes
    some of the chance of who met whom away. The form is fitted to simulations: see docs/protocol.md.
    """
    return 1.3 + 0.7 / deals


def difference(
    first: Predictions, second: Predictions, *, resamples: int = 2000, permutations: int = 9999, seed: int = 0
) -> Difference:
    """Compare two models' AUCs within folds.

    Raises:
        ParameterError: they are not of the same runs, people and folds, or no fold holds both labels.
    """
    require_same_folds(first, second)
    people = people_of(first.people, first.labels)
    (auc_first_D, first_DP), (auc_second_D, second_DP) = influences(first), influences(second)
    by_deal_D = auc_first_D - auc_second_D
    estimate = float(mean_of_deals(by_deal_D[None])[0])
    if not np.isfinite(estimate):
        raise ParameterError("folds", must_be="such that one of them holds both labels", got="none that does")
    influence_DP = first_DP - second_DP
    given = variance(over_deals(influence_DP), people.label_P)
    with_training = variance_of_one_deal(influence_DP, people.label_P) * training_factor(first.deals)
    permutation_p = paired_permutation(first, second, permutations=permutations, seed=seed)
    return Difference(
        first=first.model,
        second=second.model,
        interval=_interval(estimate, with_training),
        p_value=max(_two_sided(estimate, with_training) or 0.0, permutation_p),
        bootstrap=bootstrap_difference(first, second, resamples=resamples, seed=seed),
        delong=_interval(estimate, given),
        delong_p=_two_sided(estimate, given),
        permutation_p=permutation_p,
        corrected=_corrected(first, second),
    )


def bootstrap_difference(
    first: Predictions, second: Predictions, *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The difference with its percentile interval, the same people drawn for both models."""
    weights_RN = drawn(people_of(first.people, first.labels), first.folds, resamples, seed)
    once_RN = np.ones((1, len(first.labels)))

    def found(weights: Floats) -> Floats:
        """Differences of the mean AUC (R,)."""
        both = [auc_of_deals(p.labels, p.scores, p.folds, weights) for p in (first, second)]
        return mean_of_deals(both[0] - both[1])

    return percentile_interval(float(found(once_RN)[0]), found(weights_RN))


def paired_permutation(
    first: Predictions, second: Predictions, *, permutations: int = 9999, seed: int = 0
) -> float:
    """Two-sided p: how often is the difference as large when people's ranks are swapped between the models?

    All runs of a person are swapped together, in all deals. As a pair's contribution to the difference is
    linear in the signs of its two people, so is the whole, and a permutation is one product.
    """
    signs_RP = np.random.default_rng(seed).choice(
        np.array([-1.0, 1.0]), size=(permutations, len(set(first.people.astype(str))))
    )
    share_P = swap_shares(first, second)
    observed, swapped_R = abs(float(share_P.sum())), np.abs(signs_RP @ share_P)
    return float((1 + (swapped_R >= observed - 1e-12).sum()) / (1 + permutations))


def swap_shares(first: Predictions, second: Predictions) -> Floats:
    """What each person brings into the difference (P,), and takes out twice when the ranks are swapped.

    For a positive i and a negative j of one fold, with a and b the ranks by the two models, let
    A = [a_i > a_j] - [b_i > b_j] and B = [a_i > b_j] - [b_i > a_j]. Signs s_i and s_j (-1 where swapped) make
    the pair's difference s_i A where they are alike and s_i B where not: s_i (A + B) / 2 + s_j (A - B) / 2.
    """
    people = people_of(first.people, first.labels)
    shares = []
    for deal in range(first.deals):
        share_N, total = np.zeros(len(first.labels)), 0
        for positive, negative in sides(first.labels, first.folds[deal]):
            a, b = (_ranks(p.scores[deal], positive, negative) for p in (first, second))
            same = in_order(a[0], a[1]) - in_order(b[0], b[1])
            mixed = in_order(a[0], b[1]) - in_order(b[0], a[1])
            share_N[positive] = (same + mixed).sum(1) / 2
            share_N[negative] = (same - mixed).sum(0) / 2
            total += len(positive) * len(negative)
        if total:
            shares.append(people.total(share_N) / total)
    mean_P: Floats = np.mean(shares, axis=0)
    return mean_P


def require_same_folds(first: Predictions, second: Predictions) -> None:
    """Raise where two models were not tested on the same runs of the same people in the same folds.

    Raises:
        ParameterError: names what differs.
    """
    for name in ("run_ids", "labels", "people", "folds"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            do = "test every model on the same saved splits"
            got = f"others in {second.model}"
            raise ParameterError(
                f"{name} of compared models", must_be=f"those of {first.model}", got=got, do=do
            )


def _ranks(scores_N: Floats, positive: NDArray[np.intp], negative: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Midranks within the fold: scores of two models share no scale, ranks do."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([scores_N[positive], scores_N[negative]]))
    return ranks[: len(positive)], ranks[len(positive) :]


def _corrected(first: Predictions, second: Predictions) -> CorrectedT | None:
    values = fold_values(first, "auc") - fold_values(second, "auc")
    return corrected_t(values, share_tested(first)) if len(values) > 1 else None


def _interval(estimate: float, found: float) -> Interval:
    reach = Z_95 * np.sqrt(found)
    return Interval(
        estimate=estimate, low=float(max(-1.0, estimate - reach)), high=float(min(1.0, estimate + reach))
    )


def _two_sided(estimate: float, found: float) -> float | None:
    from scipy.stats import norm

    if found <= 0:
        return 1.0 if estimate == 0 else None
    return float(2 * norm.sf(abs(estimate) / np.sqrt(found)))
