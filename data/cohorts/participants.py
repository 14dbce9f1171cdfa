"""The participants table -> what is known of a person at a session: diagnosis, age, sex, site, medication, …

One row a person, or one row a session where the table has a column for it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.cohorts import clinical_words
from data.cohorts.person_facts import Columns, Facts, named_columns, read_rows
from data.cohorts.table_file import TableFile, read_table_file
from data.errors import BadFileError

WHAT = "participants table"


@dataclass(frozen=True, kw_only=True)
class Participants:
    """A participants table; make one with `read_participants`.

    Attributes:
        path: the file.
        label: the column of the diagnosis.
        facts: by participant and session.
        notes: what was merged or could not be understood, one sentence each.
    """

    path: Path
    label: str
    facts: dict[tuple[str, str], Facts]
    notes: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The participants, each once, in the table's order."""
        return list(dict.fromkeys(participant for participant, _ in self.facts))

    def of(self, participant_id: str, session: str) -> Facts | None:
        """What is known of a participant at a session; None where the table has no row for the participant.

        A session without a row of its own gets what all rows of the participant agree on.
        """
        exact = self.facts.get((participant_id, _session_key(session)))
        if exact is not None:
            return exact
        rows = [facts for (participant, _), facts in self.facts.items() if participant == participant_id]
        whole = self.facts.get((participant_id, "")) or (_agreed(rows) if rows else None)
        if whole is None or whole.medication != "n/a":
            return whole
        return replace(whole, medication=clinical_words.medication(session) or "n/a")

    def absence(self, participant_id: str) -> str:
        """Why a participant has no row, with what may have been meant."""
        bare = participant_id.removeprefix("sub-")
        twins = [known for known in self.ids if _unpadded(known.removeprefix("sub-")) == _unpadded(bare)]
        hint = f"; it has {twins[0]}: were leading zeros lost?" if twins else ""
        return f"no row for {participant_id} in {self.path.name}{hint}"


def read_participants(path: str | Path, label: str, site: str | None = None) -> Participants:
    """Read a participants table (.tsv or .csv).

    Ids count with and without `sub-`, and keep their leading zeros. Rows that repeat another word for word
    are merged, with a note.

    Args:
        path: the file.
        label: the column of the diagnosis; letter case and blanks do not count.
        site: the column of the site, if it has an unusual name.

    Raises:
        BadFileError: the file is no table, lacks a column, or two rows of one person contradict each other.
    """
    return participants_of(read_table_file(Path(path), WHAT), label, site)


def participants_of(table: TableFile, label: str, site: str | None = None) -> Participants:
    """The same of a table that was read already."""
    named = named_columns(table, label, site)
    rows: dict[tuple[str, str], list[tuple[int, Facts]]] = defaultdict(list)
    each, notes = read_rows(table, named)
    for line, facts in zip(table.lines, each, strict=True):
        if facts is not None:
            rows[facts.participant_id, _session_key(facts.session)].append((line, facts))
    merged = [
        f"{key[0]} stands in lines {_listed(line for line, _ in found)} alike"
        for key, found in rows.items()
        if len(found) > 1
    ]
    facts_of = {key: _one(table, found, named) for key, found in rows.items()}
    return Participants(path=table.path, label=label, facts=facts_of, notes=(*merged, *notes))


def _one(table: TableFile, found: Sequence[tuple[int, Facts]], named: Columns) -> Facts:
    """The one statement of rows for one person and session, or an error that names where they differ."""
    first = found[0][1]
    for _, other in found[1:]:
        compared = [kind for kind in vars(first) if kind != "session"]
        differ = [kind for kind in compared if not _same(getattr(first, kind), getattr(other, kind))]
        if differ:
            words = ", ".join(str(named.get(kind) or kind) for kind in differ)
            raise BadFileError(
                table.what,
                must_be="one row a subject" + (" and session" if named["session"] else ""),
                got=f"several rows for {first.participant_id} (lines {_listed(n for n, _ in found)}) that"
                f" differ in {words}",
                do="keep one" + ("" if named["session"] else ", or add a column `session`"),
                path=table.path,
            )
    return first


def _agreed(rows: list[Facts]) -> Facts:
    """What all rows of one participant say alike; the rest unknown, and medication, which changes."""
    alike = {
        kind: value
        for kind, value in vars(rows[0]).items()
        if all(_same(value, getattr(row, kind)) for row in rows) and kind not in ("session", "medication")
    }
    return Facts(**alike)


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return str(one).casefold() == str(other).casefold()


def _session_key(session: str) -> str:
    """Letter case and leading zeros do not tell sessions apart: tables write 1 where files have ses-01."""
    return _unpadded(session.casefold()) if session else ""


def _unpadded(name: str) -> str:
    return name.lstrip("0") or "0"


def _listed(items: Any) -> str:
    return " and ".join(map(str, items))
