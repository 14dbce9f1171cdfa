"""Runs and what is known of their people -> rows of a cohort's table, and who is left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from data.cohorts.participants import Participants
from data.cohorts.person_facts import Facts
from data.cohorts.table_file import is_absent
from data.errors import BadFileError, nearest
from data.scans.bids import RunFiles
from data.scans.bids_names import NATIVE

NUMBERS = ("age", "updrs", "hoehn_yahr")
COLUMNS = (
    "run_id",
    "participant_id",
    "person",
    "session",
    "site",
    "scanner",
    "label",
    *("age", "sex", "updrs", "hoehn_yahr", "medication"),
    *("space", "bold", "mask", "confounds"),
)
WORDS = tuple(name for name in COLUMNS if name not in (*NUMBERS, "label"))
Excluded = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Which words of which column mean patient and control.

    Attributes:
        column: of the participants table.
        positive: the word for label 1; letter case does not count.
        negative: the word for label 0.
    """

    column: str
    positive: str
    negative: str

    def code(self, word: str) -> int | None:
        """1, 0, or None for any other word."""
        return {self.negative.strip().casefold(): 0, self.positive.strip().casefold(): 1}.get(word.casefold())

    def refusal(self, word: str) -> str:
        """Why a word is neither."""
        told = f"no {self.column}" if is_absent(word) else f"{self.column} is {word!r}"
        return f"{told}; wanted {self.negative} or {self.positive} (letter case does not count)"

    def require_some(self, people: Participants) -> None:
        """Raise BadFileError where nobody in the table is either: the words themselves must be wrong."""
        words = [facts.label for facts in people.facts.values()]
        if words and all(self.code(word) is None for word in words):
            there = sorted(set(words))
            hint = nearest(self.positive, there) or nearest(self.negative, there)
            raise BadFileError(
                f"column {self.column!r}",
                must_be=f"{self.positive} or {self.negative} for somebody",
                got=some([repr(word) for word in there]),
                do=f"name its words with `positive` and `negative`{'; ' + hint if hint else ''}",
                path=people.path,
            )


def usable(runs: Iterable[RunFiles]) -> tuple[list[RunFiles], Excluded]:
    """Runs with all they need, and what the others lack."""
    kept: list[RunFiles] = []
    lacking: Excluded = []
    for run in runs:
        if run.usable:
            kept.append(run)
        else:
            lacking.append((run.run_id, "; ".join(run.missing)))
    return kept, lacking


def joined(
    runs: Iterable[RunFiles], people: Participants, diagnosis: Diagnosis
) -> tuple[list[RunFiles], list[dict[str, object]], Excluded]:
    """Each run with the facts of its participant at its session.

    Raises:
        BadFileError: there are runs, and the table has a row for none of them.
    """
    runs = list(runs)
    kept: list[RunFiles] = []
    rows: list[dict[str, object]] = []
    left_out: Excluded = []
    strangers: list[str] = []
    for run in runs:
        facts = people.of(run.participant_id, run.session)
        if facts is None:
            strangers.append(run.participant_id)
            left_out.append((run.run_id, people.absence(run.participant_id)))
            continue
        label = diagnosis.code(facts.label)
        if label is None:
            left_out.append((run.run_id, diagnosis.refusal(facts.label)))
            continue
        kept.append(run)
        rows.append(row(run, facts, label))
    if runs and len(strangers) == len(runs):
        raise BadFileError(
            "participants table",
            must_be="one with a row for subjects that have scans",
            got=f"no row for {some(sorted(set(strangers)))}; its own are {some(people.ids, 3)}",
            do="give the table of these very scans, with the same participant_id",
            path=people.path,
        )
    return kept, rows, left_out


def row(run: RunFiles, facts: Facts, label: int) -> dict[str, object]:
    """A row of the cohort's table."""
    who = facts.person or (f"{run.dataset}:{run.participant_id}" if run.dataset else run.participant_id)
    return {
        "run_id": run.run_id,
        "participant_id": run.participant_id,
        "person": who,
        "session": run.session,
        "site": facts.site or run.dataset or "unknown",
        "scanner": facts.scanner or "unknown",
        "label": label,
        "age": facts.age,
        "sex": facts.sex,
        "updrs": facts.updrs,
        "hoehn_yahr": facts.hoehn_yahr,
        "medication": facts.medication,
        "space": run.space or NATIVE,
        "bold": str(run.bold),
        "mask": str(run.mask) if run.mask else "",
        "confounds": str(run.confounds) if run.confounds else "",
    }


def table_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """The table of a cohort: `COLUMNS`, `label` an int, `NUMBERS` floats, the rest words.

    Raises:
        BadFileError: one person has two diagnoses.
    """
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"label": int, **dict.fromkeys(NUMBERS, float), **dict.fromkeys(WORDS, str)}
    )
    for person, runs in table.groupby("person", sort=False):
        if runs["label"].nunique() > 1:
            raise BadFileError(
                "participants table",
                must_be="one that gives a person one diagnosis",
                got=f"two for {person} ({some(runs['run_id'].tolist(), 4)})",
                do="correct it, or leave the sessions of one diagnosis out",
            )
    return table


def some(names: Sequence[str], count: int = 10) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
