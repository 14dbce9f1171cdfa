"""Who was found, left out, tested and not tested, and why: from how many runs to how many people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuro.protocol.predictions import Predictions
from neuro.protocol.results import Results

PERSON = re.compile(r"sub-[A-Za-z0-9]+")
DETAIL = re.compile(r"\s*\([^)]*\)|\S*(?:sub-[A-Za-z0-9]|[/\\])\S*|\d+(?:\.\d+)?")
NOT_COUNTED = "–"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A line of the flow: what it is, runs (or images), and people, as far as names tell them."""

    what: str
    runs: str
    people: str
    patients: str = NOT_COUNTED
    controls: str = NOT_COUNTED


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why some were left out.

    Attributes:
        why: in words; what differs from one to the other is an ellipsis.
        entries: runs, images or people that were left out for it.
        people: whom their names tell.
        gone: of those, people of whom nothing else is in the cohort.
    """

    why: str
    entries: int
    people: frozenset[str]
    gone: frozenset[str]


def reasons(excluded: Sequence[Sequence[str]], table: pd.DataFrame) -> list[Reason]:
    """Why anything was left out, the commonest first.

    Args:
        excluded: (what, why) of everything that was.
        table: of the cohort: `participant_id` tells who is in it all the same.
    """
    inside = set(table["participant_id"].astype(str))
    groups: dict[str, list[Sequence[str]]] = {}
    for entry in excluded:
        groups.setdefault(re.sub(r"…(?:\s*…)+", "…", DETAIL.sub("…", entry[1])), []).append(entry)
    found = []
    for general, entries in groups.items():
        people = frozenset(name for what, _ in entries for name in PERSON.findall(what)[:1])
        told = {why for _, why in entries}
        found.append(
            Reason(
                why=told.pop() if len(told) == 1 else general,
                entries=len(entries),
                people=people,
                gone=people - inside,
            )
        )
    return sorted(found, key=lambda reason: (-reason.entries, reason.why))


def flow(results: Results) -> list[Step]:
    """The lines, from what was found to what was tested."""
    table, excluded = results.table, results.facts["excluded"]
    why = reasons(excluded, table)
    gone = frozenset().union(*(reason.gone for reason in why))
    people = table["person"].nunique()
    steps = [Step(what="found", runs=str(len(table) + len(excluded)), people=str(people + len(gone)))]
    steps += [_left_out(reason) for reason in why]
    steps.append(_counted("in the cohort", table))
    ours = results.ours
    steps += _tested("tested within folds", ours.within, table)
    if ours.across is not None:
        steps += _tested("tested from site to site", ours.across, table)
    else:
        steps.append(
            Step(what=f"tested from site to site: nobody, {why_not_across(results)}", runs="0", people="0")
        )
    return steps


def why_not_across(results: Results) -> str:
    """Why sites did not test each other's models."""
    table = results.table
    sites = table.groupby("site")["label"].nunique()
    if len(sites) == 1:
        return "as there is one site only"
    if (sites < 2).any():
        names = ", ".join(str(site) for site in sites.index[sites < 2])
        return f"as there is one group only at {names}"
    asked = results.facts.get("config", {}).get("plan", {}).get("across", True)
    return "as every side of a fold must have both groups" if asked else "as it was not asked for"


def _left_out(reason: Reason) -> Step:
    people = str(len(reason.people)) if reason.people else NOT_COUNTED
    still = len(reason.people) - len(reason.gone)
    if still:
        people += f" ({still} of them in with other runs)"
    return Step(what=f"left out: {reason.why}", runs=str(reason.entries), people=people)


def _tested(what: str, predictions: Predictions, table: pd.DataFrame) -> list[Step]:
    tested = np.asarray(predictions.tested.any(axis=0))
    steps = [_counted(what, table[tested])]
    if not tested.all():
        steps.append(_counted(f"not {what}: no fold held them", table[~tested]))
    return steps


def _counted(what: str, part: pd.DataFrame) -> Step:
    people = part.drop_duplicates("person")
    patients = int((people["label"] == 1).sum())
    return Step(
        what=what,
        runs=str(len(part)),
        people=str(len(people)),
        patients=str(patients),
        controls=str(len(people) - patients),
    )
