"""What a study's map is and how far it is to be believed, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neuro.explain.map_checks import MapChecks
from neuro.explain.methods import METHODS

ALIKE = 0.5  # rank correlation from which two maps are called alike; below, they share less than a quarter
LARGE = 0.5  # share of a map's largest relevance that random weights may reach before it is said
CAUTION = (
    "It shows what these models read, not what the disease is; and where they do not tell patients from"
    " controls, it shows nothing."
)


def method_words(method: str, refused: Mapping[str, str]) -> tuple[str, ...]:
    """How the map was made, and why not by a method that goes before.

    Args:
        method: that it was made by.
        refused: methods that could not explain the models, and why.
    """
    made = (
        f"Made by {method}: {METHODS[method].about}. Every run by the model of the first deal that had not"
        " seen the person; the map is the mean over patients less that over controls,"
        " within sites."
    )
    return (*(f"Not by {name}: {why}." for name, why in refused.items()), made)


def check_words(checks: MapChecks) -> tuple[str, ...]:
    """A sentence or two for each way of asking; correlations are of ranks of |relevance|."""
    told = (_methods(checks), _folds(checks), _peaks(checks), _random(checks), CAUTION)
    return tuple(text for text in told if text)


def _methods(checks: MapChecks) -> str:
    left_out = [f"{name} was not compared: {why}." for name, why in checks.not_compared.items()]
    if not checks.methods:
        return " ".join(left_out)
    values = ", ".join(f"{value:.2f} with {name}" for name, value in checks.methods.items())
    told = f"Rank correlation with other methods' maps, of {checks.runs} runs: {values}."
    alike = "They look at the same models: that they agree is no independent evidence."
    differ = "Which places matter depends on how one asks."
    judged = alike if min(checks.methods.values()) >= ALIKE else differ
    return " ".join([told, judged, *left_out])


def _folds(checks: MapChecks) -> str:
    if not checks.folds:
        return "No two folds have a map of their own to compare."
    mean, count = float(np.mean(checks.folds)), len(checks.folds)
    spread = f", {min(checks.folds):.2f} to {max(checks.folds):.2f}" if count > 1 else ""
    pairs = f"{count} pairs" if count > 1 else "one pair"
    told = f"Between folds, each of its own test people by its own model: {mean:.2f} ({pairs}{spread})."
    return told if mean >= ALIKE else f"{told} The order of places is not stable."


def _peaks(checks: MapChecks) -> str:
    if len(checks.peaks) < 2:
        return ""
    count, of, chance = sum(checks.peaks), len(checks.peaks), 100 * checks.peaks_by_chance
    return (
        f"The strongest place of the other folds' people is among a fold's strongest 5 % in {count} of {of}"
        f" folds, by chance in {chance:.0f} %."
    )


def _random(checks: MapChecks) -> str:
    if checks.random is None:
        return "With all weights drawn anew there is no map."
    told = (
        f"With all weights drawn anew, {checks.runs} runs: rank correlation {checks.random:.2f}, and the"
        f" largest relevance is {checks.random_size:.2g} of this map's."
    )
    if checks.random >= ALIKE:
        told += " A map that random weights give too tells how scans differ, not what was learned."
    if checks.random_size >= LARGE:
        told += " So large a map comes of weights, too, that have learned nothing."
    return told
