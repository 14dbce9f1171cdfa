"""Pictures of calibration and of how strange a scan is: results -> matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neuro.calibration.novelty import Novelty, NoveltyScore
from neuro.calibration.reliability import Bin, Reliability
from neuro.picture import CONTROL, INK, MUTED, PATIENT, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def reliability_figure(found: Reliability, positive: str = "label 1") -> Figure:
    """Observed share against predicted probability, with intervals, above how many people each bin holds.

    Args:
        found: of one model.
        positive: the name of label 1.
    """
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(4.4, 5.0))
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1, label="every probability true")
        _shares(axes, found.bins)
        axes.set(ylabel=f"share that is {positive}", ylim=(-0.03, 1.03))
        axes.set_title(_heading(found), fontsize=9, loc="left", color=INK)
        _counts(counts, found.bins)
        counts.set(xlabel=f"predicted probability of {positive}", xlim=(-0.03, 1.03), ylabel="people")
        counts.legend(  # below: points may lie anywhere above
            *axes.get_legend_handles_labels(),
            frameon=False,
            fontsize=8,
            ncols=2,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.6),
        )
        figure.align_ylabels()
        return figure


def novelty_figure(novelty: Novelty, score: NoveltyScore) -> Figure:
    """A new scan's distance among those of the training people, each measured with themselves left out."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(6.4, 1.5))
        axes = figure.subplots()
        heights = np.random.default_rng(0).uniform(-0.3, 0.3, len(novelty.distances))
        axes.scatter(novelty.distances, heights, s=22, color=CONTROL, alpha=0.7, lw=0, label="training")
        axes.axvline(score.distance, color=PATIENT, lw=2, label="this scan")
        axes.set(yticks=[], ylim=(-0.6, 0.6), xlabel="distance from the training scans")
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.06)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
        return figure


def _heading(found: Reliability) -> str:
    return f"{found.model}: calibration error {found.error.estimate:.2f}" + (
        f" [{found.error.low:.2f}, {found.error.high:.2f}], {found.people} people"
    )


def _shares(axes: Any, bins: tuple[Bin, ...]) -> None:
    for bin_ in bins:
        axes.plot(
            [bin_.predicted] * 2, [bin_.observed.low, bin_.observed.high], color=CONTROL, lw=3, alpha=0.45
        )
    axes.plot(
        [bin_.predicted for bin_ in bins],
        [bin_.observed.estimate for bin_ in bins],
        "o",
        color=CONTROL,
        ms=7,
        label="observed, 95 % interval",
    )


def _counts(axes: Any, bins: tuple[Bin, ...]) -> None:
    for bin_ in bins:
        width = max(bin_.high - bin_.low, 0.008)
        axes.bar(
            (bin_.low + bin_.high) / 2, bin_.people, width=width, color=CONTROL, alpha=0.6, edgecolor="white"
        )
        axes.annotate(
            f"{bin_.people:.0f}",
            ((bin_.low + bin_.high) / 2, bin_.people),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=INK,
        )
    axes.margins(y=0.35)
