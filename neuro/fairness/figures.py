"""Pictures of results by group, each a data URI: table -> figure."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from neuro.fairness.by_group import EVERYONE, FEWEST, NEEDS
from neuro.fairness.notices import NAMES
from neuro.picture import CONTROL, INK, MUTED, PATIENT, house_style, themed_uri

PANELS = ("auc", "sensitivity", "specificity")
HEIGHT = 0.26  # inches a line


def group_forest(table: pd.DataFrame, differing: frozenset[tuple[str, str]] = frozenset()) -> str:
    """AUC, sensitivity and specificity of every group with 95 % intervals, beside everyone's.

    Groups of which a figure needs more people are hollow and grey: drawn, not hidden. A grouping that differs
    in a figure is drawn in the colour of patients there.

    Args:
        table: from `neuro.fairness.by_group.by_group`.
        differing: (grouping, metric) of differences that are shown, see `differing_in`.
    """
    from matplotlib.figure import Figure

    lines = _lines(table)
    with house_style():
        figure = Figure(figsize=(9.4, HEIGHT * len(lines) + 0.9))
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for axes, metric in zip(panels, PANELS, strict=True):
            _panel(axes, lines, metric, differing)
        panels[0].set_yticks(range(len(lines)), [_name(line) for line in lines])
        for label, line in zip(panels[0].get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if isinstance(line, str) else "normal")
            label.set_color(MUTED if not isinstance(line, str) and line["small"] else INK)
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        figure.subplots_adjust(wspace=0.08)
        return themed_uri(figure)


def differing_in(differences: pd.DataFrame) -> frozenset[tuple[str, str]]:
    """(grouping, metric) of the differences that are shown after correction."""
    shown = differences[differences["shown"]]
    return frozenset(zip(shown["grouping"].astype(str), shown["metric"].astype(str), strict=True))


def _lines(table: pd.DataFrame) -> list[Any]:
    """A heading for each grouping, and a row for each group."""
    lines: list[Any] = []
    for grouping, rows in table.groupby("grouping", sort=False):
        if grouping != EVERYONE:
            lines.append(str(grouping))
        lines += rows.to_dict("records")
    return lines


def _name(line: Any) -> str:
    if isinstance(line, str):
        return line
    if line["group"] == EVERYONE:
        return f"{EVERYONE}  ({line['patients']} patients + {line['controls']} controls)"
    return f"{line['group']}  ({line['patients']} + {line['controls']})"


def _panel(axes: Any, lines: list[Any], metric: str, differing: frozenset[tuple[str, str]]) -> None:
    everyone = lines[0][metric]
    if not math.isnan(everyone):
        axes.axvline(everyone, color=MUTED, ls="--", lw=1)
    for place, line in enumerate(lines):
        if isinstance(line, str):
            continue
        if math.isnan(line[metric]):
            axes.text(0, place, "nobody to tell by", color=MUTED, fontsize=8, va="center")
            continue
        small = _too_few(line, metric)
        colour = PATIENT if (line["grouping"], metric) in differing else CONTROL
        colour = MUTED if small else INK if place == 0 else colour
        ends = [line[f"{metric}_low"], line[f"{metric}_high"]]
        axes.plot(ends, [place, place], color=colour, lw=1.5 if small else 3, alpha=0.6)
        axes.plot(line[metric], place, "o", color=colour, ms=6, mfc="none" if small else colour)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(-0.03, 1.03), xlabel=f"{NAMES[metric]}, 95 % interval", xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xticklabels(["0", "", "0.5", "", "1"])


def _too_few(line: dict[str, Any], metric: str) -> bool:
    """Whether this figure, not only another one of the group, lacks people."""
    needs = zip(("patients", "controls"), NEEDS[metric], strict=True)
    return any(needed and line[label] < FEWEST for label, needed in needs)
