"""The picture of an update: what each strategy did to the old sites and to the new one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.interval import Interval
from data.writing import whole_file
from neuro.continual.config import STRATEGIES
from neuro.continual.outcome import Outcome
from neuro.picture import CONTROL, INK, MUTED, PATIENT, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPREAD = 0.5  # of the marks of several sites in one row


def strategies_figure(outcome: Outcome) -> Figure:
    """Left, the change of AUC at each old site and the margin; right, the AUC at the new ones."""
    from matplotlib.figure import Figure

    names = [name for name in STRATEGIES if name in outcome.matrices][::-1]
    with house_style():
        figure = Figure(figsize=(9, 0.55 * len(names) + 1.6))
        left, right = figure.subplots(1, 2, sharey=True)
        for row, name in enumerate(names):
            matrix, decision = outcome.matrices[name], outcome.decision(name)
            colour = CONTROL if decision.accepted else PATIENT
            for place, old in _places(row, list(decision.old_sites)):
                _mark(left, place, old.auc_change, colour)
            for place, site in _places(row, outcome.new_sites):
                _mark(right, place, matrix.auc(1, site), INK)
                right.plot(matrix.auc(0, site).estimate, place, "|", color=MUTED, ms=14, mew=2)
        left.axvline(0, color=MUTED, lw=1)
        left.axvline(-outcome.margins.auc, color=PATIENT, ls="--", lw=1)
        right.axvline(0.5, color=MUTED, ls="--", lw=1)
        left.set_yticks(range(len(names)), [f"{n} (chosen)" if n == outcome.chosen else n for n in names])
        left.set(ylim=(-0.7, len(names) - 0.3), xlabel="old sites: change of AUC; dashed, what is allowed")
        right.set(xlim=(0, 1.02), xlabel="new site: AUC after; grey bar, before")
        figure.tight_layout()
    return figure


def write_figure(outcome: Outcome, path: Path) -> None:
    """As PNG."""
    with house_style(), whole_file(path) as draft:
        strategies_figure(outcome).savefig(draft, dpi=150)


def _places(row: int, things: list[Any]) -> list[tuple[float, Any]]:
    """Heights around a row, one for each thing."""
    count = len(things)
    lowest = row - SPREAD * (count - 1) / (2 * count)
    return [(lowest + SPREAD * number / count, thing) for number, thing in enumerate(things)]


def _mark(axes: Any, place: float, found: Interval, colour: str) -> None:
    if not math.isnan(found.estimate):
        axes.plot([found.low, found.high], [place, place], color=colour, lw=3, alpha=0.5)
        axes.plot(found.estimate, place, "o", color=colour, ms=7)
