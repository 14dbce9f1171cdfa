"""What a reader must know before anything else: differences and results by group -> sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from neuro.fairness.by_group import EVERYONE, FEWEST
from neuro.fairness.groups import NOT_KNOWN, in_words
from neuro.fairness.partialled import Partialled

UNSURE = 0.05  # uncorrected p below which a difference is told, though correction does not bear it out
NAMES = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
ABOUT = {"motion": "head motion", "medication": "medication", "age": "age", "sex": "sex", "site": "site"}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A sentence for the first screen of a report.

    Attributes:
        kind: "differs" (groups differ, after correction: a warning), "unsure" (they may, before correction),
            "untested" (nothing could be compared), "small" (groups some of whose figures say little).
        grouping: what it is about.
        words: the sentence.
    """

    kind: Literal["differs", "unsure", "untested", "small"]
    grouping: str
    words: str


def warnings(table: pd.DataFrame, differences: pd.DataFrame) -> list[Notice]:
    """What must be said of groups, the surest first.

    Args:
        table: from `by_group`.
        differences: from `largest_differences`.
    """
    tested = differences[differences["p"].notna()]
    shown = [_differs(row) for row in tested[tested["shown"]].to_dict("records")]
    maybe = tested[~tested["shown"] & (tested["p"] < UNSURE)]
    unsure = [_unsure(row) for row in maybe.to_dict("records")]
    groupings = [name for name in dict.fromkeys(table["grouping"]) if name != EVERYONE]
    untested = [_untested(table, name) for name in groupings if name not in set(tested["grouping"])]
    small = [
        notice for name in groupings if name in set(tested["grouping"]) for notice in _small(table, name)
    ]
    return [*shown, *unsure, *untested, *small]


def beyond_in_words(found: Partialled) -> str:
    """What partialling out says, for the first screen too."""
    if not found.taken_out:
        return "Whether the prediction is more than age, sex, motion and site was not tested: none is known."
    without = _listed(found.taken_out)
    missed = (
        f" {_listed(found.not_taken_out).capitalize()} could not be taken out." if found.not_taken_out else ""
    )
    if found.separated:
        return (
            f"By {without} alone every label is told: whether the scan adds anything cannot be known.{missed}"
        )
    figures = f"p = {_p(found.p)}; AUC {found.auc.estimate:.2f} before, {found.residual_auc} after"
    if found.holds:
        return f"The prediction still holds with {without} taken out ({figures}).{missed}"
    return (
        f"That the prediction is more than {without} is not shown ({figures}). That is no proof that it is"
        f" nothing more.{missed}"
    )


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _told(row: dict[Any, Any]) -> str:
    grouping = str(row["grouping"])
    return (
        f"{NAMES[row['metric']]} is {row['lowest_value']:.2f} for {in_words(grouping, row['lowest'])}"
        f" and {row['highest_value']:.2f} for {in_words(grouping, row['highest'])}"
        f" (difference {row['difference']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    )


def _differs(row: dict[Any, Any]) -> Notice:
    words = f"{_told(row)}, p = {_p(row['p_corrected'])} corrected)."
    return Notice(kind="differs", grouping=str(row["grouping"]), words=words)


def _unsure(row: dict[Any, Any]) -> Notice:
    words = (
        f"It may be that groups differ: {_told(row)}, p = {_p(row['p'])}, {_p(row['p_corrected'])} corrected"
        " for everything that was compared). Larger groups would have to tell."
    )
    return Notice(kind="unsure", grouping=str(row["grouping"]), words=words)


def _untested(table: pd.DataFrame, grouping: str) -> Notice:
    rows = table[table["grouping"] == grouping]
    about = ABOUT.get(grouping, grouping)
    if set(rows["group"]) == {NOT_KNOWN}:
        why = f"{about} is known of nobody"
    elif (rows["group"] != NOT_KNOWN).sum() == 1:
        only = rows.loc[rows["group"] != NOT_KNOWN, "group"].iloc[0]
        why = f"there is one group alone, {in_words(grouping, only)}"
    else:
        why = f"no two groups have {FEWEST} people of a label each"
    words = f"Whether results differ by {about} was not tested: {why}."
    return Notice(kind="untested", grouping=grouping, words=words)


def _small(table: pd.DataFrame, grouping: str) -> list[Notice]:
    rows = table[(table["grouping"] == grouping) & table["small"] & (table["group"] != NOT_KNOWN)]
    if rows.empty:
        return []
    parts = [
        f"{in_words(grouping, row['group'])} ({_count(row['patients'], 'patient')},"
        f" {_count(row['controls'], 'control')})"
        for row in rows.to_dict("records")
    ]
    words = f"Too few people for some figures by {ABOUT.get(grouping, grouping)}: {'; '.join(parts)}."
    return [Notice(kind="small", grouping=grouping, words=words)]


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _p(p: float) -> str:
    return f"{p:.4f}" if p < 0.01 else f"{p:.2f}"
