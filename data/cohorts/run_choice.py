"""One image for each scan of a cohort, all processed alike, in one space: RunFiles -> kept, and why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from data.scans.bids import RunFiles
from data.scans.bids_names import NATIVE, PROCESSED

PREFERRED_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
Excluded = list[tuple[str, str]]


def choose(found: Sequence[RunFiles], unnamed: str = NATIVE) -> tuple[list[RunFiles], Excluded]:
    """Keep one RunFiles for each scan; every other image is listed with the reason.

    Asked in turn: not for show only (`desc-interpolated`); no single echo; no concatenation of runs that are
    there by themselves; the way of processing most wanted (`PROCESSED`), then space, then resolution, each
    one for the whole cohort, since runs that differ in these must not be mixed.

    Args:
        found: every image of every scan.
        unnamed: what the space of images whose names tell none is called.
    """
    runs, excluded = list(found), Excluded()
    rules: list[Callable[[list[RunFiles]], dict[int, str]]] = [
        _interpolated,
        _single_echoes,
        _concatenations,
        _other_processing,
        partial(_other_spaces, unnamed=unnamed),
        _other_resolutions,
        _seconds,
    ]
    for rule in rules:
        reasons = rule(runs)
        excluded += [(_name(run), reasons[i]) for i, run in enumerate(runs) if i in reasons]
        runs = [run for i, run in enumerate(runs) if i not in reasons]
    return _without_empty_twins(runs, excluded)


def _name(run: RunFiles) -> str:
    name = run.bold.name if run.bold is not None else run.run_id
    return f"{run.dataset}/{name}" if run.dataset and run.bold is not None else name


def _interpolated(runs: list[RunFiles]) -> dict[int, str]:
    return {
        i: "XCP-D writes it for looking at: high-motion frames are made up by interpolation"
        for i, run in enumerate(runs)
        if run.desc == "interpolated"
    }


def _single_echoes(runs: list[RunFiles]) -> dict[int, str]:
    combined = {run.run_id: run.bold.name for run in runs if run.bold and "echo" not in run.entities}
    return {
        i: f"echo {run.entities['echo']} by itself; "
        + (
            f"the combination of the echoes is there ({combined[run.run_id]})"
            if run.run_id in combined
            else "no combination of the echoes is there: let fMRIPrep or tedana combine them"
        )
        for i, run in enumerate(runs)
        if "echo" in run.entities
    }


def _concatenations(runs: list[RunFiles]) -> dict[int, str]:
    """XCP-D joins runs of a task end to end, beside the runs themselves."""
    parts: dict[tuple[str, frozenset[tuple[str, str]]], int] = Counter(
        (run.dataset, _without_run(run)) for run in runs if "run" in run.entities and run.denoised
    )
    return {
        i: f"joined end to end from {parts[run.dataset, _without_run(run)]} runs that are there by themselves"
        for i, run in enumerate(runs)
        if run.denoised and "run" not in run.entities and (run.dataset, _without_run(run)) in parts
    }


def _without_run(run: RunFiles) -> frozenset[tuple[str, str]]:
    return frozenset({**run.entities, "desc": run.desc}.items() - {("run", run.entities.get("run"))})


def _other_processing(runs: list[RunFiles]) -> dict[int, str]:
    there = {run.desc for run in runs if run.bold}
    chosen = next((desc for desc in PROCESSED if desc in there), None)
    return {
        i: f"desc-{run.desc}; the cohort uses desc-{chosen}"
        for i, run in enumerate(runs)
        if run.bold and run.desc != chosen
    }


def _other_spaces(runs: list[RunFiles], unnamed: str) -> dict[int, str]:
    spaces = Counter(run.space for run in runs if run.bold)
    chosen = next((space for space in PREFERRED_SPACES if space in spaces), None)
    if chosen is None and spaces:
        chosen = min(spaces, key=lambda space: (*_rank(space), -spaces[space], str(space)))
    return {
        i: f"space {run.space or unnamed}; the cohort uses {chosen or unnamed}"
        for i, run in enumerate(runs)
        if run.bold and run.space != chosen
    }


def _rank(space: str | None) -> tuple[bool, bool]:
    return not (space or "").startswith("MNI"), space is None


def _other_resolutions(runs: list[RunFiles]) -> dict[int, str]:
    counts = Counter(run.entities.get("res", "") for run in runs if run.bold)
    chosen = min(counts, key=lambda res: (-counts[res], res), default="")
    return {
        i: f"resolution {run.entities.get('res', 'unnamed')}; the cohort uses {chosen or 'the unnamed one'}"
        for i, run in enumerate(runs)
        if run.bold and run.entities.get("res", "") != chosen
    }


def _seconds(runs: list[RunFiles]) -> dict[int, str]:
    first: dict[str, int] = {}
    for i, run in enumerate(runs):
        if run.bold:
            first.setdefault(run.run_id, i)
    return {
        i: f"another image of a scan that is already in ({_name(runs[first[run.run_id]])})"
        for i, run in enumerate(runs)
        if run.bold and first[run.run_id] != i
    }


def _without_empty_twins(runs: list[RunFiles], excluded: Excluded) -> tuple[list[RunFiles], Excluded]:
    """Where an image of a scan is in, what another space of it lacks need not be told."""
    with_image = {run.run_id for run in runs if run.bold}
    kept: dict[str, list[RunFiles]] = defaultdict(list)
    for run in runs:
        if run.bold or (run.run_id not in with_image and not kept[run.run_id]):
            kept[run.run_id].append(run)
    return [run for group in kept.values() for run in group], excluded
