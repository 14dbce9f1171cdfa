"""Rows of a table -> Facts of a person: words under their usual columns, with notes on what is doubtful."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.cohorts import clinical_words
from data.cohorts.clinical_words import COLUMNS, UNKNOWN, find_column
from data.cohorts.table_file import Row, TableFile, is_absent
from data.errors import BadFileError, nearest

Columns = dict[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a table says of a person at a session.

    Attributes:
        participant_id: `sub-XX`.
        session: label without `ses-`, or "" where the row holds for every session.
        label: the diagnosis, as it is written.
        person: who it is; the participant where the table has no column for it.
        site: "" where unknown.
        scanner: "" where unknown.
        age: years, NaN where unknown.
        sex: F, M, O or n/a.
        updrs: part III of the (MDS-)UPDRS, NaN where unknown.
        hoehn_yahr: stage, NaN where unknown.
        medication: on, off or n/a.
    """

    participant_id: str
    session: str = ""
    label: str = ""
    person: str = ""
    site: str = ""
    scanner: str = ""
    age: float = UNKNOWN
    sex: str = "n/a"
    updrs: float = UNKNOWN
    hoehn_yahr: float = UNKNOWN
    medication: str = "n/a"


def facts_by_row(
    table: TableFile, label: str, site: str | None = None
) -> tuple[list[Facts | None], tuple[str, ...]]:
    """What each row says, None where it names nobody; and notes. For tables of one row a run.

    Raises:
        BadFileError: a column is missing.
    """
    return read_rows(table, named_columns(table, label, site))


def named_columns(table: TableFile, label: str, site: str | None) -> Columns:
    """The column of each kind."""
    named = {kind: find_column(table.columns, kind) for kind in COLUMNS}
    named["participant_id"] = named["participant_id"] or required(table, "participant_id")
    named["label"] = required(table, label)
    named["site"] = required(table, site) if site else named["site"]
    return named


def read_rows(table: TableFile, named: Columns) -> tuple[list[Facts | None], tuple[str, ...]]:
    """What each row says by columns that are known already, and notes."""
    reader = _Reader(named, _levels(table.path, named["sex"]))
    facts = [reader.facts(row) for row in table.rows]
    return facts, (*reader.notes(), *_remarks(named))


def required(table: TableFile, column: str) -> str:
    """The column of this name, whatever its letter case.

    Raises:
        BadFileError: there is none.
    """
    wanted = column.strip().casefold()
    for name in table.columns:
        if name.casefold() == wanted:
            return name
    raise BadFileError(
        table.what,
        must_be=f"one with a column {column!r}",
        got=f"the columns {', '.join(table.columns)}",
        do=nearest(column, table.columns) or "name the column of the diagnosis with `label`",
        path=table.path,
    )


class _Reader:
    """Rows to facts, remembering words that mean nothing certain."""

    def __init__(self, named: Columns, levels: dict[str, str]) -> None:
        self._named, self._levels = named, levels
        self._sites: dict[str, str] = {}
        self._doubtful: dict[str, Counter[str]] = defaultdict(Counter)

    def facts(self, row: Row) -> Facts | None:
        participant = self._word(row, "participant_id").removeprefix("sub-")
        if not participant:
            return None
        session = self._word(row, "session").removeprefix("ses-")
        site = self._word(row, "site")
        return Facts(
            participant_id=f"sub-{participant}",
            session=session,
            label=self._word(row, "label"),
            person=self._word(row, "person"),
            site=self._sites.setdefault(site.casefold(), site),
            scanner=self._word(row, "scanner"),
            age=self._certain(row, "age", clinical_words.number, clinical_words.OLDEST),
            sex=self._certain(row, "sex", clinical_words.sex, self._levels, otherwise="n/a"),
            updrs=self._certain(row, "updrs", clinical_words.number, clinical_words.HIGHEST_UPDRS),
            hoehn_yahr=self._certain(row, "hoehn_yahr", clinical_words.stage),
            medication=self._medication(row, session),
        )

    def notes(self) -> list[str]:
        return [
            f"{self._named[kind]}: {', '.join(repr(word) for word in words)} in {words.total()}"
            f" row{'s' * (words.total() > 1)} could not be understood and counts as unknown"
            + ("; say what codes mean under Levels in participants.json" if kind == "sex" else "")
            for kind, words in self._doubtful.items()
        ]

    def _word(self, row: Row, kind: str) -> str:
        column = self._named[kind]
        word = row[column] if column is not None else ""
        return "" if is_absent(word) else word

    def _certain(self, row: Row, kind: str, read: Any, *more: Any, otherwise: Any = UNKNOWN) -> Any:
        word = self._word(row, kind)
        value = read(word, *more)
        if value is None:
            self._doubtful[kind][word] += 1
            return otherwise
        return value

    def _medication(self, row: Row, session: str) -> str:
        state: str = self._certain(row, "medication", clinical_words.medication, otherwise="n/a")
        # Studies of both states often name the sessions after them: ses-on, ses-off.
        return state if state != "n/a" else clinical_words.medication(session) or "n/a"


def _remarks(named: Columns) -> list[str]:
    if named["updrs"] is not None and clinical_words.plain(named["updrs"]) == "updrs":
        return [f"{named['updrs']}: taken for part III; its name does not say"]
    return []


def _levels(path: Path, column: str | None) -> dict[str, str]:
    """What codes of a column mean, by the JSON beside the table, where there is one."""
    try:
        described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8-sig"))
        levels = described[column]["Levels"]
        # BIDS allows a level to be words, or an object with a description.
        return {
            str(key): str(value.get("Description", "") if isinstance(value, dict) else value)
            for key, value in levels.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
