"""A scaling study in a picture: analysis -> loss against compute, as PNG and SVG.

Letters: G computes that a curve is drawn at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.writing import whole_file
from neuro.picture import INK, MUTED, PATIENT, house_style
from neuro.scaling.analysis import Analysis
from neuro.scaling.finished import Finished, cells
from neuro.scaling.frontier import best_loss
from neuro.scaling.law import converged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("scaling.png", "scaling.svg")
RAMP = ("#8cc9e3", "#0b6e99", "#06283a")  # small to large models: lightness alone tells the order
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
POINTS = 200


def save_figure(analysis: Analysis, out: Path) -> None:
    """Write scaling.png and scaling.svg into a folder, each whole or not at all.

    Raises:
        OSError: the place cannot be written.
    """
    import matplotlib as mpl

    with house_style(), mpl.rc_context({"svg.hashsalt": "chiasm"}):  # the same study, the same bytes
        figure = scaling_figure(analysis)
        for name in NAMES:
            kind = name.rpartition(".")[2]
            with whole_file(out / name) as draft:
                figure.savefig(draft, dpi=160, metadata={"Date": None} if kind == "svg" else None)


def scaling_figure(analysis: Analysis) -> Figure:
    """Loss against compute on logarithmic axes; beside it the held-out check, where there is one."""
    from matplotlib.figure import Figure

    with house_style():
        if not analysis.held_out:
            figure = Figure(figsize=(7.4, 4.8), layout="constrained")
            _loss_by_compute(figure.subplots(), analysis)
            return figure
        figure = Figure(figsize=(10.4, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.5, 1))
        _loss_by_compute(left, analysis)
        _held_out(right, analysis)
        return figure


def _loss_by_compute(axes: Any, analysis: Analysis) -> None:
    kept = converged(analysis.runs)
    colours = _colours(kept)
    axes.set(xscale="log", yscale="log")
    for params, colour in colours.items():
        _size(axes, analysis, [run for run in kept if run.params == params], colour)
    _frontier(axes, analysis, kept)
    _target(axes, analysis)
    _limits(axes, analysis, kept)
    _floor(axes, analysis)
    _ticks(axes)
    axes.set(xlabel="compute of training (FLOP)", ylabel="loss on held-out people")
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def _size(axes: Any, analysis: Analysis, runs: Sequence[Finished], colour: str) -> None:
    """All runs of one size: each seed faint, each cell's mean in full, and the law's curve through them."""
    compute = np.array([run.compute for run in runs])
    loss = np.array([run.loss for run in runs])
    params = runs[0].params
    axes.scatter(compute, loss, s=9, color=colour, alpha=0.45, lw=0, zorder=3)
    means = [
        (float(compute[places].mean()), float(np.exp(np.log(loss[places]).mean())))
        for places in cells(runs).values()
    ]
    x, y = np.array(means).T
    axes.scatter(
        x, y, s=42, color=colour, edgecolor="white", lw=0.8, zorder=5, label=f"{_count(params)} parameters"
    )
    curve_G = np.geomspace(compute.min() / 1.3, compute.max() * 1.3, POINTS)
    axes.plot(
        curve_G,
        analysis.law.loss(params, analysis.cost.seen(params, curve_G)),
        color=colour,
        lw=1.4,
        alpha=0.85,
        zorder=4,
    )


def _frontier(axes: Any, analysis: Analysis, kept: Sequence[Finished]) -> None:
    """The best loss of each compute, within the runs and beyond, with its interval."""
    lowest, highest = min(run.compute for run in kept), max(run.compute for run in kept)
    theta_P, cost = analysis.law.theta_P, analysis.cost
    all_G = np.geomspace(lowest, analysis.extrapolation.compute, POINTS)
    low_G, high_G = analysis.draws[0].band(cost, all_G)
    axes.fill_between(all_G, low_G, high_G, color=PATIENT, alpha=0.16, lw=0, zorder=1, label="95 % interval")
    for span, style, words in (
        ((lowest, highest), "-", "best size at each compute"),
        ((highest, analysis.extrapolation.compute), "--", "extrapolated"),
    ):
        x_G = np.geomspace(*span, POINTS)
        axes.plot(x_G, best_loss(theta_P, cost, x_G), color=PATIENT, lw=2.2, ls=style, zorder=2, label=words)
    if analysis.compute_law is not None:
        axes.plot(
            all_G,
            analysis.compute_law.loss(all_G),
            color=INK,
            lw=1.1,
            ls=":",
            zorder=2,
            label="L(C) through the best cells",
        )


def _target(axes: Any, analysis: Analysis) -> None:
    far, found = analysis.extrapolation, analysis.extrapolation.loss
    arms = np.abs([[found.estimate - found.low], [found.high - found.estimate]])
    axes.errorbar(far.compute, found.estimate, arms, color=PATIENT, fmt="D", ms=7, capsize=4, zorder=6)
    axes.annotate(
        f"{found.estimate:.3g}\n[{found.low:.3g}, {found.high:.3g}]\nwith {_count(far.params)} parameters",
        (far.compute, found.high),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color=PATIENT,
        linespacing=1.35,
    )


def _limits(axes: Any, analysis: Analysis, kept: Sequence[Finished]) -> None:
    """All runs and the extrapolation; an endless interval or a far floor must not press them flat."""
    far = analysis.extrapolation
    losses = [run.loss for run in kept] + [far.loss.estimate, max(far.loss.low, far.loss.estimate / 1.5)]
    span = max(losses) / min(losses)
    axes.set_ylim(min(losses) / span**0.12, max(losses) * span**0.1)
    axes.set_xlim(min(run.compute for run in kept) / 1.6, far.compute * 4)


def _floor(axes: Any, analysis: Analysis) -> None:
    floor = analysis.law.coefficients["E"]
    low, high = axes.get_ylim()
    if low < floor < high:
        axes.axhline(floor, color=MUTED, ls=(0, (1, 2)), lw=1)
        axes.annotate(
            f"floor E = {floor:.3g}",
            (0.01, floor),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            color=MUTED,
        )


def _held_out(axes: Any, analysis: Analysis) -> None:
    """Predictions of the dearest cells from the others, in per cent of what came out."""
    colours = _colours(converged(analysis.runs))
    for place, p in enumerate(reversed(analysis.held_out)):
        values = (p.predicted.low, p.predicted.estimate, p.predicted.high)
        low, middle, high = (100 * (value / p.observed - 1) for value in values)
        colour = colours[p.params]
        axes.plot([low, high], [place, place], color=colour, lw=3, alpha=0.6, solid_capstyle="butt")
        axes.plot(middle, place, "o", color=colour, ms=8)
    axes.axvline(0, color=MUTED, ls="--", lw=1)
    names = [f"{_count(p.params)},\n{_power(p.compute)} FLOP" for p in reversed(analysis.held_out)]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(ylim=(-0.7, len(names) - 0.3), xlabel="predicted less observed loss (%)")
    axes.set_title("dearest cells, predicted\nfrom the cheaper ones", fontsize=9, color=INK)


def _colours(runs: Sequence[Finished]) -> dict[int, str]:
    """Params -> colour, from light to dark."""
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("sizes", list(RAMP))
    sizes = sorted({run.params for run in runs})
    return {size: to_hex(ramp(i / max(1, len(sizes) - 1))) for i, size in enumerate(sizes)}


def _ticks(axes: Any) -> None:
    """Plain numbers: in house style matplotlib's own powers would stand there as unread formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _ten_to(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    even = MaxNLocator(7, steps=[1, 2, 2.5, 5, 10])
    axes.yaxis.set_major_locator(even if high / low < 8 else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _ten_to(value: float) -> str:
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)


def _power(value: float) -> str:
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}·{_ten_to(10.0 ** int(exponent))}"


def _count(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"
