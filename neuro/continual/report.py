"""What an update found, as Markdown: the decision first, then every strategy side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from data.interval import Interval
from neuro.continual.config import IN_WORDS, STRATEGIES, Strategy
from neuro.continual.outcome import Outcome, people_of

FIGURE = "update.png"


def markdown(outcome: Outcome) -> str:
    """The whole report."""
    parts = [
        ["# A new site", "", "For research, not for diagnosis."],
        decision_lines(outcome),
        _how(outcome),
        _strategies(outcome),
        _matrix(outcome),
        _provenance(outcome),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def decision_lines(outcome: Outcome) -> list[str]:
    """The decision in words, a line each."""
    decision, margins = outcome.decision(), outcome.margins
    allowed = f"AUC may fall by {margins.auc:g}, log loss rise by {margins.log_loss:g}, at any old site"
    if decision.accepted:
        lines = [f"**Accepted**: {outcome.chosen}. No old site is worse than is allowed ({allowed})."]
    else:
        lines = [f"**REFUSED**: {outcome.chosen}. Old sites got worse than is allowed ({allowed}):"]
        lines += ["", *(f"- {reason}" for reason in decision.reasons)]
        lines += ["", "No model was written: go on using the parent."]
    if decision.open:
        lines += ["", "These few people do not rule out:", "", *(f"- {line}" for line in decision.open)]
    return lines


def _how(outcome: Outcome) -> list[str]:
    if outcome.of_the_parent:
        how = (
            "Old sites: people whom neither the parent nor the update has seen; tested are the parent itself"
            " and the very update. New sites: people held out of the update"
            f" ({outcome.folds} folds by person)."
        )
    else:
        how = (
            f"People of old and new sites were dealt out into {outcome.folds} folds. In each, the parent's"
            " recipe was trained afresh on the old people of the training side and updated with the new ones"
            " of it; figures are of those held out, whom neither training saw. They are of the recipe, not of"
            " the very weights in this folder: the parent has seen every old person, and cannot be tested on"
            " any."
        )
    chosen = f"The strategy ({outcome.chosen}) was named beforehand; the others are shown, not chosen from."
    return ["## How it was measured", "", how, "", chosen, "", "Intervals: 95 %, people resampled."]


def _strategies(outcome: Outcome) -> list[str]:
    heads = ["strategy", "old sites: change of AUC", "change of log loss", "new site: AUC before", "after"]
    heads += ["backward transfer", "forward transfer", "old sites hold"]
    rows = [_row(outcome, name) for name in STRATEGIES if name in outcome.matrices]
    lines = ["## Strategies", "", *table(heads, rows), ""]
    lines += [f"- {name}: {IN_WORDS[name]}" for name in outcome.matrices]
    lines += [f"- {name} is left out: it needs {why}" for name, why in outcome.left_out.items()]
    return [*lines, "", f"![Strategies]({FIGURE})"]


def _row(outcome: Outcome, name: Strategy) -> list[str]:
    matrix, decision = outcome.matrices[name], outcome.decision(name)
    lines = "<br>".join
    return [
        f"**{name}**" if name == outcome.chosen else name,
        lines(f"{old.site} {signed(old.auc_change)}" for old in decision.old_sites),
        lines(f"{old.site} {signed(old.log_loss_change)}" for old in decision.old_sites),
        lines(f"{site} {told(matrix.auc(0, site))}" for site in outcome.new_sites),
        lines(f"{site} {told(matrix.auc(1, site))}" for site in outcome.new_sites),
        signed(matrix.backward()),
        signed(matrix.forward()),
        "yes" if decision.accepted else "NO",
    ]


def _matrix(outcome: Outcome) -> list[str]:
    matrix = outcome.matrix
    people = people_of(matrix)
    heads = ["", *(f"{site} ({people[site]} people)" for site in matrix.sites)]
    rows = [
        [f"{what} {step}", *(told(of(i, site)) for site in matrix.sites)]
        for what, of in (("AUC", matrix.auc), ("log loss", matrix.log_loss))
        for i, step in enumerate(("before", "after"))
    ]
    old = f"Old: {', '.join(outcome.old_sites)}. New: {', '.join(outcome.new_sites)}."
    return [f"## Site by site, {outcome.chosen}", "", *table(heads, rows), "", old]


def _provenance(outcome: Outcome) -> list[str]:
    facts = outcome.facts
    rows = [
        ["parent", f"`{facts['parent']['digest']}`"],
        ["added cohort", f"`{facts['added']['digest']}`, {facts['added']['runs']} runs"],
        ["recipe", f"`{facts['added']['recipe']}`"],
        ["strategy", outcome.chosen],
        ["seed", str(facts["update"]["seed"])],
        ["code", f"Chiasm {facts['version']}"],
    ]
    return ["## Where it comes from", "", *table(["", ""], rows)]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in (heads, ["---"] * len(heads), *rows)]
    return [f"| {' | '.join(row)} |" for row in safe]


def told(found: Interval) -> str:
    """An interval, or that nothing can be said."""
    return "nothing to compare" if math.isnan(found.estimate) else str(found)


def signed(found: Interval) -> str:
    """A change and its interval."""
    if math.isnan(found.estimate):
        return "nothing to compare"
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
