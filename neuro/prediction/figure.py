"""One scan on lines: its probability from 0 to 1, and its distance from training, as pictures for a page."""

from __future__ import annotations

from neuro.calibration.figures import novelty_figure
from neuro.calibration.novelty import Novelty
from neuro.picture import CONTROL, INK, MUTED, PATIENT, data_uri, house_style
from neuro.prediction.prediction import LABELS, Prediction


def probability_line(found: Prediction) -> str:
    """Probability and interval between control and patient; hollow where it is uncalibrated."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(7, 1.1))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 0], color=MUTED, lw=1, alpha=0.5)
        axes.plot([0.5, 0.5], [-0.5, 0.5], color=MUTED, ls="--", lw=1)
        if (interval := found.interval) is not None:
            axes.plot(
                [interval.low, interval.high], [0, 0], color=INK, lw=6, alpha=0.35, solid_capstyle="butt"
            )
        sure = found.interval is not None
        axes.plot(
            found.probability, 0, "o", color=INK, ms=11, mfc=INK if sure else "white", mew=2, clip_on=False
        )
        for place, name, colour, side in ((0, LABELS[0], CONTROL, "left"), (1, LABELS[1], PATIENT, "right")):
            axes.text(place, 0.55, name, color=colour, ha=side, va="bottom", weight="bold")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.6, 1.0), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel(f"probability of being a {LABELS[1]}")
        axes.spines["left"].set_visible(False)
        return data_uri(figure)


def distance_line(found: Prediction, training: Novelty | None) -> str | None:
    """How far out the scan lies among those of training; None where that is not known."""
    if training is None or found.novelty is None:
        return None
    with house_style():  # which also says how a figure is saved
        return data_uri(novelty_figure(training, found.novelty))
