"""A scaling study in words and numbers: analysis -> scaling.md for people, law.json for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.interval import Interval
from data.writing import write_whole
from neuro.scaling.analysis import Analysis
from neuro.scaling.finished import Finished, cells
from neuro.scaling.grid import Cell, ScalingPlan
from neuro.scaling.interval import Draws, Method
from neuro.scaling.power_sum import HIGHEST_EXPONENT, LOWEST_EXPONENT

LAW_FILE, ACCOUNT_FILE = "law.json", "scaling.md"
METHOD_WORDS: dict[Method, str] = {
    "residuals": "residuals of the fit, sizes and data as planned",
    "seeds": "seeds within each cell: the noise of training alone",
    "cells": "whole cells: also where the law does not fit",
}


def write_account(
    plan: ScalingPlan, finished: Mapping[Cell, Finished], analysis: Analysis, out: Path
) -> None:
    """Write law.json and scaling.md into a folder.

    Raises:
        OSError: the place cannot be written.
    """
    write_whole(out / LAW_FILE, json.dumps(_facts(plan, analysis), indent=1) + "\n")
    write_whole(out / ACCOUNT_FILE, account(plan, finished, analysis))


def account(plan: ScalingPlan, finished: Mapping[Cell, Finished], analysis: Analysis) -> str:
    """The whole study as Markdown."""
    parts = [
        "# Scaling\n",
        _summary(plan, finished, analysis),
        "![Loss against compute](scaling.svg)\n",
        "## Law of loss\n",
        _law(analysis),
        "## Exponents\n",
        _exponents(analysis),
        "## Held-out check\n",
        _check(analysis),
        "## Runs\n",
        _runs(finished),
    ]
    return "\n".join(parts)


def _summary(plan: ScalingPlan, finished: Mapping[Cell, Finished], analysis: Analysis) -> str:
    whole, far = len(plan.cells()), analysis.extrapolation
    lines = [f"{len(finished)} of {whole} runs of the plan are finished."]
    if len(finished) < whole:
        lines.append(f"The budget of {plan.budget:.3g} FLOP is spent; the rest was not begun.")
    diverged = [cell.name for cell, run in finished.items() if run.diverged]
    if diverged:
        lines.append(f"Diverged, and not fitted: {', '.join(diverged)}.")
    lines.append(
        f"With {far.compute:.3g} FLOP, {plan.reach:g} times the dearest run, the law expects a loss of "
        f"**{_words(far.loss)}** from {far.params:.3g} parameters that see {far.seen:.3g}."
    )
    largest = max(run.params for run in analysis.runs)
    if far.params > largest:
        lines.append(f"That is {far.params / largest:.3g} times the largest model that was trained.")
    if analysis.law.undetermined:
        names = " and ".join(analysis.law.undetermined)
        lines.append(f"**The runs do not determine {names}**: it ended at a bound. Extrapolate with care.")
    return "\n".join(lines) + "\n"


def _law(analysis: Analysis) -> str:
    numbers, cost = analysis.law.coefficients, analysis.cost
    lines = [
        "L(N, D) = E + A / N^alpha + B / D^beta, with N parameters of the encoder without embeddings and",
        "D what training went through (Hoffmann et al. 2022, arXiv 2203.15556).\n",
        _table(("coefficient", "value"), ((name, f"{value:.4g}") for name, value in numbers.items())),
        f"Huber loss on log L with delta {analysis.law.delta:.3g}. Training costs",
        f"{math.exp(cost.log_k):.3g} x N^{cost.power:.3f} x D FLOP, within {cost.worst:.1%}.\n",
    ]
    law = analysis.compute_law
    if law is None:
        lines.append("Too few cells are best at their compute for a law L(C) of their own.\n")
    else:
        found = law.coefficients
        lines.append(
            f"Along the {len(law.best)} cells that are best at their compute, "
            f"L(C) = {found['E']:.4g} + {found['A']:.4g} C^-{found['gamma']:.4g}"
            + (" (the exponent ended at a bound).\n" if law.undetermined else ".\n")
        )
    return "\n".join(lines)


def _exponents(analysis: Analysis) -> str:
    rows = []
    for draws in analysis.draws:
        found = _intervals(draws, analysis)
        rows.append((METHOD_WORDS[draws.method], *map(_words, found.values())))
    table = _table(("drawn", *_intervals(analysis.draws[0], analysis)), rows)
    notes = [f"Not drawn: {method}. {reason}\n" for method, reason in analysis.not_drawn.items()]
    words = (
        "95 % intervals. gamma = alpha beta / (alpha + p beta), with p the exponent of N in the cost, is the "
        "exponent of loss by compute that the law of loss implies; the last column is the extrapolated loss. "
        f"{LOWEST_EXPONENT:g} and {HIGHEST_EXPONENT:g} are bounds of the fit: the runs leave those open."
    )
    return "\n".join([table, words + "\n", *notes])


def _intervals(draws: Draws, analysis: Analysis) -> dict[str, Interval]:
    at_reach = draws.best_loss(analysis.cost, analysis.extrapolation.compute)
    return {"E": draws.floor(), **draws.exponents(analysis.cost), "loss": at_reach}


def _check(analysis: Analysis) -> str:
    if not analysis.held_out:
        return "None: the law could not have been fitted without the dearest cell.\n"
    rows = [
        (
            f"{p.params:,}",
            f"{p.seen:.4g}",
            f"{p.compute:.3g}",
            str(p.seeds),
            f"{p.observed:.4g}",
            _words(p.predicted),
            f"{p.error:+.2%}",
            "yes" if p.inside else "**no**",
        )
        for p in analysis.held_out
    ]
    inside = sum(p.inside for p in analysis.held_out)
    worst = max(abs(p.error) for p in analysis.held_out)
    names = ("params", "seen", "FLOP", "seeds", "loss", "predicted, 95 % for as many runs", "error", "inside")
    words = (
        f"The law was fitted without the {len(rows)} dearest cells, and predicted them: {inside} of "
        f"{len(rows)} are inside their intervals, and the largest error is {worst:.2%}.\n"
    )
    return f"{words}\n{_table(names, rows)}"


def _runs(finished: Mapping[Cell, Finished]) -> str:
    size_of = {run.cell: cell for cell, run in finished.items()}
    runs = list(finished.values())
    rows = []
    for cell, places in cells(runs).items():
        losses = [f"{runs[i].loss:.4g}" for i in places]
        plan = size_of[cell]
        rows.append(
            (
                str(plan.size),
                f"{plan.share:g}",
                f"{cell[0]:,}",
                f"{cell[1]:.4g}",
                f"{runs[places[0]].compute:.3g}",
                ", ".join(losses),
            )
        )
    return _table(("width x depth", "share of people", "params", "seen", "FLOP", "loss of each seed"), rows)


def _facts(plan: ScalingPlan, analysis: Analysis) -> dict[str, Any]:
    law, cost, by_compute = analysis.law, analysis.cost, analysis.compute_law
    return {
        "plan": asdict(plan),
        "plan_identity": plan.identity,
        "runs": len(analysis.runs),
        "law": {**law.coefficients, "delta": law.delta, "undetermined": list(law.undetermined)},
        "cost": asdict(cost),
        "compute_law": None if by_compute is None else by_compute.coefficients,
        "intervals": {
            draws.method: {name: asdict(found) for name, found in _intervals(draws, analysis).items()}
            for draws in analysis.draws
        },
        "not_drawn": dict(analysis.not_drawn),
        "extrapolation": asdict(analysis.extrapolation),
        "held_out": [
            {**asdict(prediction), "error": prediction.error, "inside": prediction.inside}
            for prediction in analysis.held_out
        ],
    }


def _words(found: Interval) -> str:
    return f"{found.estimate:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
