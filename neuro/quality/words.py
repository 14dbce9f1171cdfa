"""What the figures of quality mean, in sentences: quality table and group tests -> words."""

from __future__ import annotations

import pandas as pd

from data.quality.group_differences import GroupTest
from data.quality.limits import LIMITS, WORST_FIRST

MOTION = "fd_mean"
TESTED = (MOTION, "fd_max", "censored_share", "dvars", "tsnr", "template_dice", "cover_lowest")
NAMES = {
    **{limit.measure: limit.says for limit in LIMITS},
    "cover_lowest": "deep region that is covered least",
}


def verdict_counts(table: pd.DataFrame) -> str:
    """How many runs there are, and what is said of them."""
    counts = table["verdict"].value_counts()
    told = {
        "leave out": "better left out",
        "look at it": "worth a look",
        "not measured": "not measured",
        "ok": "within all limits",
    }
    parts = [f"{counts[verdict]} {told[verdict]}" for verdict in reversed(WORST_FIRST) if verdict in counts]
    return f"{len(table)} run{'s' * (len(table) != 1)}: {', '.join(parts)}. Nothing was removed."


def motion_in_words(test: GroupTest | None) -> list[str]:
    """What the test of motion says, and what follows for a classifier."""
    if test is None:
        return [
            "Motion was not compared: no site has displacement of both patients and controls."
            " A classifier could read motion instead of the disease, and this cohort cannot tell."
        ]
    interval = f"95 % interval {test.low:.2f} to {test.high:.2f}"
    figures = f"AUC {test.auc:.2f}, {interval}, p {p_in_words(test.p, sign=True)}"
    if test.shown:
        more, less = ("Patients", "controls") if test.auc > 0.5 else ("Controls", "patients")
        share = max(test.auc, 1 - test.auc)
        return [
            f"{more} moved more than {less}: in {100 * share:.0f} % of the pairs of a patient and a control"
            f" of one site ({figures}).",
            "A classifier could read motion instead of the disease: mean displacement alone, and nothing of"
            f" the brain, tells the groups apart with AUC {share:.2f}. Say so beside every result, clean with"
            " more confounds or censoring, and repeat the analysis in a part of the cohort that is matched"
            " for motion.",
        ]
    widest = max(test.high, 1 - test.low)
    return [
        f"No difference in motion between patients and controls is shown ({figures}).",
        f"That is no proof that there is none: with {test.patients} patients and {test.controls} controls a"
        f" difference of up to AUC {widest:.2f} fits the figures, and so much a classifier could draw from"
        " motion instead of the disease.",
    ]


def others_in_words(tests: list[GroupTest]) -> str:
    """Which of the other measures differ after correction."""
    rest = [test for test in tests if test.measure != MOTION]
    apart = [NAMES[test.measure] for test in rest if test.p_corrected < 0.05]
    if not rest:
        return ""
    if not apart:
        return "In no other measure of quality is a difference between the groups shown."
    return (
        f"The groups also differ in {', '.join(apart)} (p < 0.05 after correction for all measures): each is"
        " something that a classifier could read instead of the disease."
    )


def p_in_words(p: float, sign: bool = False) -> str:
    """A p value as text, never 0; with its sign of equality if that is asked for."""
    if p < 0.001:
        return "< 0.001"
    return f"{'= ' * sign}{p:.3f}" if p < 0.1 else f"{'= ' * sign}{p:.2f}"
