"""The sentences of a verdict: answers and figures -> words. "Not shown" never becomes "no difference"."""

from __future__ import annotations

from collections.abc import Sequence

from data.interval import Interval

BY_PERMUTATION = "the whole pipeline on labels permuted between people, within sites; two-sided"
BY_SCORES = (
    "labels permuted between people against the scores as they are, within sites, training counted by a "
    "factor on the variance; two-sided. The pipeline was not run on permuted labels"
)
PAIRED = (
    "Other models: AUC within folds on the same people; DeLong's variance, clustered by person, of one "
    "deal, training counted by a factor; no p below that of a permutation of ranks within people; two-sided, "
    "corrected by Holm over all of them."
)


SITES_TELL = 0.05  # from 0.5, of the mean AUC of labels permuted within sites: beyond, it is told


def headline(
    model: str, chance: str, auc: Interval, comparisons: Sequence[tuple[str, str, str]], expected: float = 0.5
) -> str:
    """The verdict in one or two sentences.

    Args:
        model: ours.
        chance: answer against chance.
        auc: ours.
        comparisons: (kind, name, answer) of each.
        expected: mean AUC of labels permuted within sites.
    """
    sites = sites_in_words(expected)
    if chance == "below" and sites:
        return f"The {model} is below what sites alone would tell (AUC {auc}). {sites}"
    if chance == "below":
        return (
            f"The {model} is below chance (AUC {auc}): it tells the labels the wrong way round. Look for "
            "an error in labels or folds before anything else."
        )
    beaten = [name for _, name, answer in comparisons if answer == "below"]
    behind = f" It is below {_and(beaten)}." if beaten else ""
    if chance != "above" and sites:
        return f"The {model} is not shown to tell more than the site of a scan (AUC {auc}). {sites}{behind}"
    if chance != "above":
        return (
            f"The {model} is not shown to tell patients from controls (AUC {auc}). This is no evidence that "
            f"it cannot: anything up to an AUC of {auc.high:.2f} is compatible with these data.{behind}"
        )
    words = f"The {model} tells patients from controls above chance (AUC {auc})"
    over = {
        kind: [name for k, name, answer in comparisons if (k, answer) == (kind, "above")]
        for kind in ("confound", "baseline")
    }
    words += f", above what {_and(over['confound'])} alone would tell" if over["confound"] else ""
    words += f", and above {_and(over['baseline'])}" if over["baseline"] else ""
    open_confounds, open_baselines = (
        [name for k, name, answer in comparisons if (k, answer) == (kind, "not shown")]
        for kind in ("confound", "baseline")
    )
    words += "."
    if open_confounds:
        words += (
            f" It is not shown to be above what {_and(open_confounds)} alone would tell: it may read that "
            "instead of the disease."
        )
    if not any(kind == "confound" for kind, _, _ in comparisons):
        words += (
            " It was not compared with models of confounds alone: it may read those instead of the disease."
        )
    if open_baselines:
        words += f" It is not shown to be above {_and(open_baselines)}."
    return words + behind


def sites_in_words(expected: float) -> str:
    """What labels permuted within sites come to, where that is not 0.5; nothing where it is."""
    if abs(expected - 0.5) <= SITES_TELL:
        return ""
    return (
        f"Sites differ in how many are ill: labels permuted within them give an AUC of {expected:.2f}, and"
        " what is not beyond that may be the site alone."
    )


def chance_in_words(
    model: str, auc: Interval, p_value: float, answer: str, *, expected: float, least: float, alpha: float
) -> str:
    """Against chance, which is what permuted labels give."""
    sites = sites_in_words(expected)
    figures = f"AUC {auc}, {p_in_words(p_value)}"
    if sites and least <= alpha:
        place = "not shown to be above" if answer == "not shown" else answer
        return f"The {model} is {place} chance, which is no AUC of 0.5 here: {figures}. {sites}"
    if answer != "not shown":
        return f"The {model} is {answer} chance: {figures}."
    if least > alpha:
        return (
            f"Whether the {model} is above chance cannot be said: so few permutations can show no p below "
            f"{least:.2g} ({figures})."
        )
    return (
        f"The {model} is not shown to be above chance: {figures}. That is no evidence of chance: an AUC from "
        f"{auc.low:.2f} to {auc.high:.2f} is compatible with these data."
    )


def comparison_in_words(
    kind: str, name: str, auc: Interval, difference: Interval, p_value: float, answer: str, *, gated: bool
) -> str:
    """Against another model."""
    who = f"{name} alone" if kind == "confound" else name
    figures = f"{who} has AUC {auc}; ours less that is {_signed(difference)}, corrected {p_in_words(p_value)}"
    if answer != "not shown":
        return f"It is {answer} {who}: {figures}."
    if gated:
        return f"It is not said to be above {who}, as it is not shown to be above chance: {figures}."
    return (
        f"It is not shown to be above {who}: {figures}. That is no evidence that they are equal: "
        f"{_possible(difference)} is compatible with these data."
    )


def p_in_words(p_value: float) -> str:
    """As "p = 0.03"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def _possible(difference: Interval) -> str:
    worse, better = -difference.low, difference.high
    if worse <= 0:
        return f"anything from {-worse:.2f} to {better:.2f} better"
    if better <= 0:
        return f"anything from {-better:.2f} to {worse:.2f} worse"
    return f"anything from {worse:.2f} worse to {better:.2f} better"


def _signed(difference: Interval) -> str:
    return f"{difference.estimate:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
