"""What an update found: every strategy's matrix, and the decision about the one named beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from data.interval import Interval
from neuro.continual.config import Margins, Strategy
from neuro.continual.decision import Decision, decide
from neuro.continual.matrix import Matrix


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """All figures of an update.

    Attributes:
        chosen: the strategy, named before anything was computed.
        matrices: of each strategy that could be taken: rows before, after; columns sites, the old ones first.
        left_out: strategy -> what it lacks.
        of_the_parent: whether the parent itself was tested on old people, or its recipe trained anew.
        folds: of people.
        margins: how much worse an old site may get.
        facts: who is who: identities, options, hashes; JSON-ready.
    """

    chosen: Strategy
    matrices: Mapping[Strategy, Matrix]
    left_out: Mapping[Strategy, str]
    of_the_parent: bool
    folds: int
    margins: Margins
    facts: Mapping[str, Any]

    @property
    def matrix(self) -> Matrix:
        """Of the chosen strategy."""
        return self.matrices[self.chosen]

    @property
    def old_sites(self) -> list[str]:
        """Sites that the parent has learned."""
        return [site for site, step in self.matrix.panel.learned.items() if step == 0]

    @property
    def new_sites(self) -> list[str]:
        """Sites that come in."""
        return [site for site, step in self.matrix.panel.learned.items() if step > 0]

    def decision(self, strategy: Strategy | None = None) -> Decision:
        """About the chosen strategy, or what it would have been about another."""
        return decide(self.matrices[strategy or self.chosen], self.margins)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All of it, JSON-ready; what cannot be said is null."""
    decision = outcome.decision()
    return {
        "accepted": decision.accepted,
        "strategy": outcome.chosen,
        "reasons": decision.reasons,
        "not_ruled_out": decision.open,
        "margins": finite(asdict(outcome.margins)),
        "tested_on_old_people": "the parent itself" if outcome.of_the_parent else "its recipe, in folds",
        "folds": outcome.folds,
        "people": people_of(outcome.matrix),
        "strategies": {name: _of_strategy(outcome, name) for name in outcome.matrices},
        "left_out": dict(outcome.left_out),
        **outcome.facts,
    }


def _of_strategy(outcome: Outcome, name: Strategy) -> dict[str, Any]:
    matrix, decision = outcome.matrices[name], outcome.decision(name)
    steps = {"before": 0, "after": 1}
    return {
        "accepted": decision.accepted,
        "auc": {s: {j: plain(matrix.auc(i, j)) for j in matrix.sites} for s, i in steps.items()},
        "log_loss": {s: {j: plain(matrix.log_loss(i, j)) for j in matrix.sites} for s, i in steps.items()},
        "auc_change": {old.site: plain(old.auc_change) for old in decision.old_sites},
        "log_loss_change": {old.site: plain(old.log_loss_change) for old in decision.old_sites},
        "backward_transfer": plain(matrix.backward()),
        "forward_transfer": plain(matrix.forward()),
    }


def people_of(matrix: Matrix) -> dict[str, int]:
    """How many people of each site were tested."""
    panel = matrix.panel
    return {site: len(set(panel.people[panel.rows(site)].tolist())) for site in matrix.sites}


def plain(found: Interval) -> dict[str, float | None]:
    """An interval without NaN, which JSON has not."""
    return finite(asdict(found))


def finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers for JSON, which knows neither NaN nor infinity."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
