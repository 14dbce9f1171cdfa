"""The picture of a leak: AUC of every draw of labels, split by unit and by person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.writing import whole_file
from neuro.picture import CONTROL, INK, MUTED, PATIENT, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuro.protocol.leak_demo import LeakDemo


def save_figure(found: LeakDemo, path: Path) -> None:
    """Write the figure, whole or not at all."""
    with house_style(), whole_file(path) as draft:
        leak_figure(found).savefig(draft, dpi=150)


def leak_figure(found: LeakDemo) -> Figure:
    """Draws as dots, their mean and its interval beside them, and the line of chance."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(5.2, 4.0), layout="constrained")
        axes: Any = figure.subplots()
        shift = np.random.default_rng(0).uniform(-0.13, 0.13, len(found.by_unit))
        for place, (values, mean, colour) in enumerate(
            (
                (found.by_unit, found.mean_by_unit, PATIENT),
                (found.by_person, found.mean_by_person, CONTROL),
            )
        ):
            axes.scatter(place + shift, values, s=24, color=colour, alpha=0.55, lw=0)
            axes.plot([place + 0.25] * 2, [mean.low, mean.high], color=colour, lw=3)
            axes.plot(place + 0.25, mean.estimate, "o", color=colour, ms=8)
            axes.text(place + 0.31, mean.estimate, f"{mean.estimate:.2f}", color=colour, va="center")
        axes.axhline(0.5, color=MUTED, ls="--", lw=1)
        axes.text(-0.33, 0.505, "chance", color=MUTED, ha="left", va="bottom")
        axes.set_xticks([0, 1], [f"split by {found.unit}", "split by person"])
        axes.set(
            xlim=(-0.35, 1.62),
            ylim=(min(0.2, *found.by_person), 1.03),
            ylabel="AUC on labels drawn by lot",
        )
        axes.set_title(f"{found.people} people, {found.samples} samples", fontsize=9, color=INK)
        return figure
