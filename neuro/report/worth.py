"""Whether probabilities are worth more than the base rate, within folds and at a site that was not seen.

A probability can rank people well and still be far from true: at a new site scores shift and spread, and the
curve that turned them into probabilities does not know. Log loss tells, beside that of a model that says to
everybody the share of patients among the people it was trained on. Letters: D deals, N runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data.interval import Interval, percentile_interval
from neuro.calibration.coverage import Coverage, coverage_of
from neuro.calibration.reliability import Reliability, reliability
from neuro.protocol.metrics import METRICS, part_of
from neuro.protocol.predictions import Predictions
from neuro.protocol.resampling import drawn, people_of
from neuro.protocol.results import Results
from neuro.report.blocks import Cell

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Worth:
    """Probabilities where they were tested.

    Attributes:
        reliability: how they go with labels.
        patients: share of patients among tested runs.
        log_loss: of the probabilities.
        base: of the base rate: each fold is given the share of patients among the people of the others.
        more: the first less the second, with its interval over people; above 0 the probabilities are worse
            than knowing nothing of the scan.
        coverage: of the sets of labels; None where there are none.
    """

    reliability: Reliability
    patients: float
    log_loss: float
    base: float
    more: Interval
    coverage: Coverage | None

    @property
    def worse(self) -> bool:
        """Whether they are shown to be worse than the base rate."""
        return self.more.low > 0

    @property
    def better(self) -> bool:
        """Whether they are shown to be worth more than it."""
        return self.more.high < 0

    @property
    def short(self) -> bool:
        """Whether sets are shown to hold the label less often than asked."""
        return self.coverage is not None and self.coverage.found.high < self.coverage.asked

    def in_words(self) -> str:
        """Their log loss beside that of the base rate."""
        figures = (
            f"log loss {self.log_loss:.2f}; giving everybody the share of patients among those trained on has"
            f" {self.base:.2f}; difference {self.more.estimate:+.2f}"
            f" [{self.more.low:+.2f}, {self.more.high:+.2f}]"
        )
        if self.worse:
            return f"The probabilities are worse than knowing nothing of the scan: {figures}."
        if self.better:
            return f"The probabilities are worth more than the base rate: {figures}."
        return f"That the probabilities are worth more than the base rate is not shown: {figures}."


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Probabilities at sites that were not seen in training.

    Attributes:
        overall: of all sites together.
        sites: of each.
    """

    overall: Worth
    sites: Mapping[str, Worth]

    @property
    def warnings(self) -> list[str]:
        """What no reader may miss; nothing where nothing bad is shown."""
        return [line for line in (self._probabilities(), self._sets()) if line]

    def _probabilities(self) -> str:
        found, worth = self.overall.reliability, self.overall
        if worth.worse:
            return (
                "Its probabilities must not be believed at a new site: from site to site they have a log loss"
                f" of {worth.log_loss:.2f}, and saying the share of patients to everybody would have"
                f" {worth.base:.2f} ({worth.more.estimate:.2f} less [{worth.more.low:.2f},"
                f" {worth.more.high:.2f}]). They are sure, and wrong; they would have to be calibrated anew"
                " on people of that site."
            )
        if found.p_calibrated < 0.05:
            return (
                "Its probabilities are not calibrated at a new site (calibration error from site to site"
                f" {found.error}): they would have to be calibrated anew on people of that site."
            )
        return ""

    def _sets(self) -> str:
        told = self.overall.coverage
        if told is None or not self.overall.short:
            return ""
        kept, low, high = (100 * share for share in (told.found.estimate, told.found.low, told.found.high))
        return (
            "Its sets of labels do not keep their promise at a new site: of"
            f" {told.people} people {kept:.0f} % [{low:.0f}, {high:.0f}] have their label in the set, and"
            f" {100 * told.asked:g} % were asked."
        )

    def in_words(self) -> list[str]:
        """Everything that is to be said, the warnings first."""
        told = [] if self.overall.worse else [f"From site to site: {_lower(self.overall.in_words())}"]
        told += [self._bias(site, worth) for site, worth in self.sites.items() if self._biased(worth)]
        if self.overall.coverage is not None and not self.overall.short:
            told.append(f"From site to site: {_lower(self.overall.coverage.in_words())}")
        return [*self.warnings, *told]

    @staticmethod
    def _biased(worth: Worth) -> bool:
        return not worth.reliability.bias.low <= 0 <= worth.reliability.bias.high

    @staticmethod
    def _bias(site: str, worth: Worth) -> str:
        bias = worth.reliability.bias
        way = "patient" if bias.estimate > 0 else "control"
        return (
            f"At {site} it says {way} too often: its mean probability is"
            f" {worth.patients + bias.estimate:.2f}, and {worth.patients:.2f} are patients (difference"
            f" {bias.estimate:+.2f} [{bias.low:+.2f}, {bias.high:+.2f}])."
        )


def elsewhere(results: Results) -> Elsewhere | None:
    """How far our probabilities hold from site to site; None where that was not tested."""
    across = results.ours.across
    if across is None:
        return None
    asked, base_DN = results.facts.get("coverage"), base_rates(across)
    sites = {}
    for site in sorted({str(name) for name in across.sites}):
        here_N = across.sites.astype(str) == site
        if set(across.labels[here_N & across.tested.any(0)]) == {0, 1}:
            sites[site] = worth_of(part_of(across, here_N), base_DN[:, here_N], asked)
    return Elsewhere(overall=worth_of(across, base_DN, asked), sites=sites)


def within(results: Results, known: Reliability | None = None) -> Worth:
    """How far our probabilities hold within folds; `known` as for `worth_of`."""
    ours = results.ours.within
    return worth_of(ours, base_rates(ours), results.facts.get("coverage"), known)


def worth_of(
    predictions: Predictions,
    base_DN: NDArray[np.float64],
    asked: float | None,
    known: Reliability | None = None,
) -> Worth:
    """Compare probabilities with the base rate, on the same people.

    Args:
        predictions: of our model.
        base_DN: what the base rate says of each run (D, N), see `base_rates`.
        asked: the coverage that sets of labels promise; None for none.
        known: how these probabilities go with labels, where that was worked out already.
    """
    people = people_of(predictions.people, predictions.labels)
    weights_RN = drawn(people, predictions.folds, RESAMPLES, 0)
    weights_RN = np.vstack([np.ones(len(predictions.labels)), weights_RN])  # the first: everybody once
    given_R, base_R = (
        METRICS["log_loss"].of_deals(one, weights_RN).mean(axis=1)
        for one in (predictions, replace(predictions, probabilities=base_DN))
    )
    sets, tested_DN = predictions.sets, predictions.tested
    labels_DN = np.broadcast_to(predictions.labels, tested_DN.shape)
    return Worth(
        reliability=known if known is not None else reliability(predictions),
        patients=float(labels_DN[tested_DN].mean()),
        log_loss=float(given_R[0]),
        base=float(base_R[0]),
        more=percentile_interval(float(given_R[0] - base_R[0]), given_R[1:] - base_R[1:]),
        coverage=coverage_of(sets, predictions, asked) if sets is not None and asked else None,
    )


def base_rates(predictions: Predictions) -> NDArray[np.float64]:
    """For each tested run the share of patients among the runs that its model was trained on (D, N).

    Those are the runs that other folds of the deal test, of people whom its own does not; NaN where a run was
    not tested.
    """
    base_DN = np.full(predictions.folds.shape, np.nan)
    people_N = predictions.people.astype(str)
    for deal, folds_N in enumerate(predictions.folds):
        for fold in np.unique(folds_N[folds_N >= 0]):
            here_N = folds_N == fold
            others_N = (folds_N >= 0) & ~np.isin(people_N, people_N[here_N])
            base_DN[deal, here_N] = predictions.labels[others_N].mean()
    return base_DN


def worth_row(where: str, worth: Worth) -> list[str | Cell]:
    """A row of the table of probabilities, under WORTH_HEADS."""
    found, covered = worth.reliability, worth.coverage
    return [
        where,
        str(found.people),
        f"{worth.patients:.2f}",
        f"{worth.patients + found.bias.estimate:.2f}",
        _short(found.bias, "+"),
        _short(found.slope) if found.slope is not None else Cell("none", "all alike"),
        _short(found.error),
        f"{worth.log_loss:.2f}",
        f"{worth.base:.2f}",
        f"{100 * covered.found.estimate:.0f} %" if covered is not None else "none made",
    ]


WORTH_HEADS = (
    "tested",
    "people",
    "share of patients",
    "mean probability",
    "too high by",
    "slope",
    "calibration error",
    "log loss",
    "of the base rate",
    "label in the set",
)


def _short(value: Interval, sign: str = "") -> Cell:
    told = [f"{round(number, 2) + 0.0:{sign}.2f}" for number in (value.estimate, value.low, value.high)]
    return Cell(told[0], f"{told[1]} to {told[2]}")  # 0.0 is added as -0.00 would be no figure


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]
