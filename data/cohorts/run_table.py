"""A table of plain NIfTI files, one row a run -> RunFiles; paths count from the table's folder.

Columns: `participant_id` and `bold`, and where there are any `mask`, `confounds`, `session`, `task`, `run`,
`space` and `tr` (seconds). Letter case does not count; a cell may be empty.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from data.cohorts.person_facts import Facts, required
from data.cohorts.table_file import Row, TableFile, is_absent
from data.errors import BadFileError
from data.scans.bids import RunFiles, parse_entities
from data.scans.bids_names import NATIVE

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")  # of a participant, session, task or run: a part of a path
ENTITIES = {"session": "ses", "task": "task", "run": "run", "space": "space"}
NO_MASK = "no mask is given: one is computed from the mean of its frames (nilearn's compute_epi_mask)"
Excluded = list[tuple[str, str]]


def runs_of(table: TableFile, facts: list[Facts | None]) -> tuple[list[RunFiles | None], Excluded]:
    """The run of each row, None where there is none, and why.

    Raises:
        BadFileError: a column is missing, a word cannot be part of a file's name, or a TR is no number.
    """
    columns = {"bold": required(table, "bold")}
    for name in ("mask", "confounds", "tr", *ENTITIES):
        found = next((column for column in table.columns if column.casefold() == name), None)
        columns |= {name: found} if found else {}
    runs: list[RunFiles | None] = []
    excluded: Excluded = []
    for line, row, known in zip(table.lines, table.rows, facts, strict=True):
        if known is None:
            runs.append(None)
            excluded.append((f"line {line}", f"no participant_id in {table.path.name}"))
            continue
        run = _run(table, line, _Cells(row, columns), known)
        runs.append(run if run.usable else None)
        excluded += [(run.run_id, "; ".join(run.missing))] if not run.usable else []
    return _without_twins(table, runs, excluded)


class _Cells:
    """Cells of a row by the name that the column goes by here."""

    def __init__(self, row: Row, columns: dict[str, str]) -> None:
        self._row, self._columns = row, columns

    def word(self, name: str) -> str:
        word = self._row.get(self._columns.get(name, ""), "")
        return "" if is_absent(word) else word


def _run(table: TableFile, line: int, cells: _Cells, known: Facts) -> RunFiles:
    entities = {"sub": known.participant_id.removeprefix("sub-")}
    bold = cells.word("bold")
    stated = {key: cells.word(name).removeprefix(f"{key}-") for name, key in ENTITIES.items()}
    stated["ses"] = known.session
    named = parse_entities(Path(bold).name)[0]
    for key, word in stated.items():
        # What the table leaves open the file's own name may tell.
        word = word or (named.get(key, "") if key != "ses" else "")
        entities |= {key: word} if word and word != NATIVE else {}
    for key, word in entities.items():
        if NAME.fullmatch(word) is None:
            raise BadFileError(
                f"{key} in line {line}",
                must_be="of letters, figures, '.', '+' and '-', since files are named by it",
                got=repr(word),
                do="rename it in the table",
                path=table.path,
            )
    paths = {name: _path(table, cells.word(name)) for name in ("bold", "mask", "confounds")}
    missing = [f"{name}: {_absence(path)}" for name, path in paths.items() if path and not path.is_file()]
    missing += [] if bold else [f"bold: none in line {line} of {table.path.name}"]
    return RunFiles(
        entities=entities,
        bold=None if missing else paths["bold"],
        mask=paths["mask"],
        confounds=paths["confounds"],
        missing=tuple(missing),
        notes=() if paths["mask"] else (NO_MASK,),
        tr=_seconds(table, line, cells.word("tr")),
        computed_mask=paths["mask"] is None,
    )


def _path(table: TableFile, word: str) -> Path | None:
    return table.path.parent / word if word else None


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"{path} is a link to content that is not here; fetch it (`datalad get`)"
    return f"{path} is no file"


def _seconds(table: TableFile, line: int, word: str) -> float | None:
    if not word:
        return None
    try:
        return float(word)
    except ValueError as error:
        raise BadFileError(
            f"tr in line {line}", must_be="a number of seconds", got=repr(word), path=table.path
        ) from error


def _without_twins(
    table: TableFile, runs: list[RunFiles | None], excluded: Excluded
) -> tuple[list[RunFiles | None], Excluded]:
    """Runs of one name are all left out: which of them is meant is not for us to guess."""
    counts = Counter(run.run_id for run in runs if run is not None)
    kept: list[RunFiles | None] = []
    for line, run in zip(table.lines, runs, strict=True):
        if run is None or counts[run.run_id] == 1:
            kept.append(run)
            continue
        kept.append(None)
        excluded.append(
            (
                run.run_id,
                f"{counts[run.run_id]} rows of one name (this is line {line}: {run.bold}); tell them apart in"
                " a column `session` or `run`, or keep one",
            )
        )
    return kept, excluded
