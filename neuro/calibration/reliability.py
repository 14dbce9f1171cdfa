"""Predictions -> how far probabilities can be taken at their word, with few people.

The usual expected calibration error (ECE, mean distance between predicted and observed share in bins) of 40
people is about 0.12 for a model that is calibrated to perfection: noise alone. Three things are said instead:

- the debiased error: root of the squared distance in bins of equal counts less what sampling adds to it
  (Kumar, Liang & Ma 2019; Ferro & Fricker 2012; Roelofs et al. 2022 find it among the least biased);
- the usual ECE beside what it would be if every probability were true, labels drawn anew from them
  (consistency resampling, Broecker & Smith 2007), which is a test as well;
- calibration in the large and the slope, which few people can bear (Cox 1958; Van Calster et al. 2019).

Letters: D deals, N runs, G people, R resamples, B bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError
from data.interval import Interval, wilson
from neuro.calibration.bin_errors import BinSums, bin_sums, equal_count, equal_width
from neuro.calibration.slope import slopes
from neuro.protocol.predictions import Predictions
from neuro.protocol.verdict_words import p_in_words

Floats = NDArray[np.float64]
PEOPLE_A_BIN = 8  # fewer tell nothing: the share of 8 has an interval some 0.6 wide
MOST_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Runs of like probability, all deals together.

    Attributes:
        low, high: least and greatest probability among them.
        predicted: mean probability.
        observed: share of label 1, with Wilson's 95 % interval at the number of people.
        runs: how many, in the mean over deals.
        people: the same, each person shared out over the bins of their runs.
    """

    low: float
    high: float
    predicted: float
    observed: Interval
    runs: float
    people: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How probabilities and labels go together.

    Attributes:
        model: its name.
        people, runs, deals: what it was measured on.
        bins: of equal counts, for the picture.
        widths: bins of equal widths, of those that hold anything.
        error: debiased root mean squared calibration error, bins of equal counts; interval over people.
        ece: the usual one, bins of equal counts, mean over deals.
        ece_equal_width: the same with bins of equal widths.
        ece_if_calibrated: what `ece` would be if every probability were true: mean and middle 95 %.
        p_calibrated: share of such draws with an `ece` as large as that found.
        bias: mean probability less the share of label 1; above 0 it says 1 too often.
        slope: of the label's log odds on the probability's; 1 is right, below 1 too sure, above 1 too shy;
            None where all probabilities are equal.
    """

    model: str
    people: int
    runs: int
    deals: int
    bins: tuple[Bin, ...]
    widths: tuple[Bin, ...]
    error: Interval
    ece: float
    ece_equal_width: float
    ece_if_calibrated: Interval
    p_calibrated: float
    bias: Interval
    slope: Interval | None

    def in_words(self) -> str:
        """One sentence that a reader of the report can take away."""
        told = (
            f"calibration error {self.error}; the usual ECE is {self.ece:.3f}, and would be"
            f" {self.ece_if_calibrated.low:.3f} to {self.ece_if_calibrated.high:.3f} if every probability of"
            f" these {self.people} people were true"
        )
        shown = self.p_calibrated < 0.05
        judged = "Not calibrated" if shown else "No miscalibration shown, which few people can hide"
        return f"{judged}: {told} ({p_in_words(self.p_calibrated)})."


def reliability(
    predictions: Predictions, *, bins: int | None = None, resamples: int = 2000, seed: int = 0
) -> Reliability:
    """Measure the calibration of out-of-fold probabilities.

    People are resampled with replacement, all of their runs and deals with them. A resample holds the
    sample's own noise and adds its own, so that twice the sampling variance is taken off its squared
    error; without that, intervals at 40 people lie above the truth.

    Args:
        predictions: probabilities of tested runs.
        bins: how many; None takes one for 8 people, from 2 to 10.
        resamples: of people, and of labels.
        seed: of both.

    Raises:
        ParameterError: fewer than two people were tested, a tested probability is not between 0 and 1, or
            there are too few bins.
    """
    sample = _sample(predictions)
    count = bins if bins is not None else int(np.clip(sample.people // PEOPLE_A_BIN, 2, MOST_BINS))
    if count < 1:
        raise ParameterError("bins", must_be="at least 1", got=count)
    rng = np.random.default_rng(seed)
    drawn_RG = _drawn(rng, sample.people, resamples)
    deals = [_Deal.of(sample, deal, count) for deal in range(predictions.deals) if sample.tested[deal].any()]
    ece, null_R = _mean(deals, lambda d: d.ece()), _null(deals, rng.random((resamples, sample.people)))
    return Reliability(
        model=predictions.model,
        people=sample.people,
        runs=int(sample.tested.any(0).sum()),
        deals=len(deals),
        bins=_bins(sample, count, equal_count),
        widths=_bins(sample, count, equal_width),
        error=_debiased(deals, drawn_RG),
        ece=float(ece),
        ece_equal_width=float(_mean(deals, lambda d: d.ece(equal=False))),
        ece_if_calibrated=_middle(float(null_R.mean()), null_R),
        p_calibrated=float((1 + (null_R >= ece - 1e-12).sum()) / (1 + resamples)),
        bias=_bias(sample, drawn_RG),
        slope=_slope(sample, drawn_RG),
    )


def _drawn(rng: np.random.Generator, people: int, resamples: int) -> Floats:
    """How often each person is drawn (R, G)."""
    return rng.multinomial(people, np.full(people, 1 / people), size=resamples).astype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sample:
    """Predictions with people numbered; untested places of `probability` hold 0.5 and are never used."""

    probability: Floats
    label: NDArray[np.int64]
    person: NDArray[np.intp]
    people: int
    tested: NDArray[np.bool_]

    def flat(self) -> tuple[Floats, NDArray[np.int64], NDArray[np.intp], Floats]:
        """Probability, label, person and weight of every tested run of every deal; a run weighs 1 in all."""
        _, run = np.nonzero(self.tested)
        weight = 1 / self.tested.sum(0)[run]
        return self.probability[self.tested], self.label[run], self.person[run], weight


def _sample(predictions: Predictions) -> _Sample:
    tested_DN = predictions.tested
    used_N: NDArray[np.bool_] = np.asarray(tested_DN.any(0))
    people, number = np.unique(predictions.people[used_N].astype(str), return_inverse=True)
    if len(people) < 2:
        raise ParameterError("tested people", must_be="at least two", got=len(people))
    probability_DN = np.where(tested_DN, predictions.probabilities, 0.5)
    if not ((probability_DN >= 0) & (probability_DN <= 1)).all():
        raise ParameterError("probabilities", must_be="between 0 and 1 where a run was tested", got="others")
    person_N = np.zeros(len(used_N), dtype=np.intp)
    person_N[used_N] = number
    return _Sample(
        probability=probability_DN,
        label=predictions.labels,
        person=person_N,
        people=len(people),
        tested=tested_DN,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Deal:
    """The tested runs of one deal, and their bins."""

    probability: Floats
    residual: Floats
    person: NDArray[np.intp]
    counts: NDArray[np.intp]
    widths: NDArray[np.intp]
    people: int

    @classmethod
    def of(cls, sample: _Sample, deal: int, bins: int) -> _Deal:
        rows = sample.tested[deal]
        probability = sample.probability[deal, rows]
        return cls(
            probability=probability,
            residual=sample.label[rows] - probability,
            person=sample.person[rows],
            counts=equal_count(probability, bins),
            widths=equal_width(probability, bins),
            people=sample.people,
        )

    def sums(self, weight_RG: Floats) -> BinSums:
        return bin_sums(self.residual, self.person, self.counts, weight_RG)

    def ece(self, *, equal: bool = True) -> float:
        bins = self.counts if equal else self.widths
        return float(np.abs(np.bincount(bins, weights=self.residual)).sum() / len(bins))


def _mean(deals: list[_Deal], of: Callable[[_Deal], float]) -> float:
    return float(np.mean([of(deal) for deal in deals]))


def _null(deals: list[_Deal], chance_RG: Floats) -> Floats:
    """ECE of labels drawn from the probabilities (R,); a person's runs share one draw in all deals."""
    null_R = np.zeros(len(chance_RG))
    for deal in deals:
        in_bin_NB = np.eye(deal.counts.max() + 1)[deal.counts]
        residual_RN = (chance_RG[:, deal.person] < deal.probability) - deal.probability
        null_R += np.abs(residual_RN @ in_bin_NB).sum(1) / deal.probability.size
    return null_R / len(deals)


def _debiased(deals: list[_Deal], drawn_RG: Floats) -> Interval:
    once = [deal.sums(np.ones((1, deal.people))) for deal in deals]
    square = float(np.mean([sums.squared() - sums.noise() for sums in once]))
    again = [deal.sums(drawn_RG) for deal in deals]
    square_R = np.mean([sums.squared() - 2 * sums.noise() for sums in again], axis=0)
    root_R = np.sqrt(np.maximum(square_R, 0))
    return _middle(float(np.sqrt(max(square, 0.0))), root_R)


def _bias(sample: _Sample, drawn_RG: Floats) -> Interval:
    probability, label, person, weight = sample.flat()
    total_G = np.bincount(person, weights=weight, minlength=sample.people)
    excess_G = np.bincount(person, weights=weight * (probability - label), minlength=sample.people)
    return _middle(float(excess_G.sum() / total_G.sum()), (drawn_RG @ excess_G) / (drawn_RG @ total_G))


def _slope(sample: _Sample, drawn_RG: Floats) -> Interval | None:
    probability, label, person, weight = sample.flat()
    if np.ptp(probability) < 1e-9:
        return None
    odds = np.log(np.clip(probability, 1e-6, 1 - 1e-6)) - np.log(np.clip(1 - probability, 1e-6, 1 - 1e-6))
    once = slopes(odds, label, weight[None, :])[0]
    return _middle(float(once), slopes(odds, label, drawn_RG[:, person] * weight))


def _bins(sample: _Sample, count: int, cut: Callable[[Floats, int], NDArray[np.intp]]) -> tuple[Bin, ...]:
    """Bins of all deals together: what the picture shows."""
    probability, label, person, weight = sample.flat()
    share = weight / np.bincount(person, weights=weight, minlength=sample.people)[person]
    bin_of = cut(probability, count)
    found = []
    for number in np.unique(bin_of):
        here = bin_of == number
        people = float(share[here].sum())
        observed = float(np.average(label[here], weights=weight[here]))
        found.append(
            Bin(
                low=float(probability[here].min()),
                high=float(probability[here].max()),
                predicted=float(np.average(probability[here], weights=weight[here])),
                observed=wilson(observed, people),
                runs=float(weight[here].sum()),
                people=people,
            )
        )
    return tuple(found)


def _middle(estimate: float, drawn_R: Floats) -> Interval:
    """An estimate with the middle 95 % of what was drawn, widened to hold it."""
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Interval(estimate=estimate, low=float(min(low, estimate)), high=float(max(high, estimate)))
