"""Every contender on the same folds: contenders, plan -> predictions of everybody by models of other people.

Letters: D deals, N runs.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.interval import Interval
from neuro.protocol.contender import Contender, taken
from neuro.protocol.metrics import metric_intervals
from neuro.protocol.plan import Plan, require_tested_once
from neuro.protocol.predictions import Predictions
from neuro.protocol.roster import Roster
from neuro.protocol.settling import HowCalibrated, Settled, Tested, settle


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """How one contender did.

    Attributes:
        contender: name, note and budget.
        within: predictions over the deals of people into folds.
        across: the same where each site is tested by models of the others; None where that was not asked.
        figures: every metric of `within`, with its 95 % interval over people.
        figures_across: the same of `across`.
        settled: what became of it in each fold of the first deal: its models explain, none is trained anew.
        chosen: of each fold of all deals, the settings that inner folds chose.
    """

    contender: Contender = field(repr=False)
    within: Predictions
    across: Predictions | None
    figures: dict[str, Interval]
    figures_across: dict[str, Interval]
    settled: list[Settled] = field(repr=False)
    chosen: list[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    @property
    def auc(self) -> Interval:
        """Within folds."""
        return self.figures["auc"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        roster: whose runs they are.
        plan: the folds.
        outcomes: one a contender, in the order they were given.
    """

    roster: Roster
    plan: Plan
    outcomes: list[Outcome]

    def named(self, name: str) -> Outcome:
        """The outcome of a contender."""
        return next(outcome for outcome in self.outcomes if outcome.name == name)


def evaluate(
    contenders: Sequence[Contender], roster: Roster, plan: Plan, *, how: HowCalibrated | None = None
) -> Evaluation:
    """Fit and test every contender in every fold.

    Raises:
        LeakError: a person stands on both sides of a fold, or of an inner fold of a contender's own search.
        ParameterError: a run is tested twice in a deal.
    """
    steps = evaluate_steps(contenders, roster, plan, how=how)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def evaluate_steps(
    contenders: Sequence[Contender], roster: Roster, plan: Plan, *, how: HowCalibrated | None = None
) -> Generator[str, None, Evaluation]:
    """As `evaluate`, giving a contender's name after each fold; the `Evaluation` is the generator's value."""
    for _, _, folds in plan.deals():
        require_tested_once(folds, len(roster))
    outcomes = []
    for contender in contenders:
        drafts = {"within": _Draft(roster, len(plan.within)), "across": _Draft(roster, 1)}
        settled: list[Settled] = []
        chosen: list[Mapping[str, Any]] = []
        for scheme, deal, folds in plan.deals():
            for number, fold in enumerate(folds):
                ready = settle(contender, roster, fold, how or HowCalibrated())
                drafts[scheme].write(deal, number, fold.test, ready.tested(taken(contender.X, fold.test)))
                chosen.append(ready.settings)
                if (scheme, deal) == ("within", 0):
                    settled.append(ready)
                yield contender.name
        within = drafts["within"].predictions(contender.name)
        across = drafts["across"].predictions(contender.name) if plan.across else None
        outcomes.append(
            Outcome(
                contender=contender,
                within=within,
                across=across,
                figures=metric_intervals(within),
                figures_across=metric_intervals(across) if across is not None else {},
                settled=settled,
                chosen=chosen,
            )
        )
    return Evaluation(roster=roster, plan=plan, outcomes=outcomes)


class _Draft:
    """Predictions while they are being made."""

    def __init__(self, roster: Roster, deals: int):
        shape = deals, len(roster)
        self.roster = roster
        self.folds, self.called = np.full(shape, -1), np.full(shape, -1)
        self.scores, self.probabilities = np.full(shape, np.nan), np.full(shape, np.nan)
        self.sets = np.zeros((*shape, 2), dtype=bool)

    def write(self, deal: int, number: int, rows: NDArray[np.intp], tested: Tested) -> None:
        """What a fold's test side was found to be."""
        self.folds[deal, rows] = number
        for name in ("scores", "probabilities", "called", "sets"):
            getattr(self, name)[deal, rows] = getattr(tested, name)

    def predictions(self, name: str) -> Predictions:
        """All of them."""
        return Predictions(
            model=name,
            run_ids=self.roster.run_ids,
            labels=self.roster.labels,
            people=self.roster.people,
            sites=self.roster.sites,
            folds=self.folds,
            scores=self.scores,
            probabilities=self.probabilities,
            called=self.called,
            sets=self.sets,
        )
