"""Runs joined to what is known of their people: derivatives or plain files + a table -> Cohort."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from data.cohorts.cohort_rows import Diagnosis, Excluded, joined, row, table_of, usable
from data.cohorts.participants import Participants, read_participants
from data.cohorts.person_facts import facts_by_row
from data.cohorts.run_choice import choose
from data.cohorts.run_table import runs_of
from data.cohorts.table_file import read_table_file
from data.errors import BadFileError, ParameterError
from data.scans.bids import RunFiles, find_runs

SITE_WORDS = ("session", "dataset")
Row = dict[str, object]
Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Runs with what is known of the people in them; see `from_derivatives` and `from_table`.

    Attributes:
        runs: the files of each run, in the order of `table`.
        table: one row a run. `run_id`; `participant_id`; `person` (who it is, over sessions and sites: the
            unit of every split); `session` ("" where there is none); `site` and `scanner` ("unknown");
            `label` (int, 1 positive, 0 negative); `age` (years), `updrs` (part III), `hoehn_yahr` (float, NaN
            where unknown); `sex` (F, M, O, n/a); `medication` (on, off, n/a); `space`; and the paths `bold`,
            `mask`, `confounds`.
        excluded: (what, why) for every run and subject that was found and left out.
        notes: what was merged or not understood in the tables, one sentence each.
    """

    runs: list[RunFiles]
    table: pd.DataFrame
    excluded: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def from_derivatives(
        cls,
        path: Paths,
        *,
        table: Paths | None = None,
        label: str = "group",
        positive: str = "PD",
        negative: str = "HC",
        task: str | None = None,
        space: str | None = None,
        site: str | None = None,
    ) -> Cohort:
        """Find the runs under `path` and join them to the participants table.

        With several derivatives each is a dataset of its own: its name (the part of the path that tells them
        apart) stands before its runs' names, and is the site where its table has none. Equal participant_ids
        in two of them are two people, unless a column `person` says otherwise.

        Args:
            path: a derivative of fMRIPrep or XCP-D, or several.
            table: a .tsv or .csv, or as many as there are derivatives; by default participants.tsv in `path`
                or in one of the two folders above it.
            label: the column that holds the diagnosis.
            positive: its value for label 1; letter case does not count.
            negative: its value for label 0. Subjects with any other value are left out and listed.
            task: only this task.
            space: only this space (`data.scans.bids.find_runs`); by default the most preferred one that is
                there (MNI152NLin2009cAsym first).
            site: the column of the site, or "session" or "dataset" where those are the sites.

        Raises:
            BadFileError: no runs; no table; the table lacks a column, has nobody with scans or nobody with
                these diagnoses, or contradicts itself.
            ParameterError: the numbers of derivatives and tables differ.
        """
        datasets = _datasets(path, table)
        diagnosis = Diagnosis(column=label, positive=positive, negative=negative)
        found = {name: _found(folder, name, task, space) for name, folder, _ in datasets}
        runs, excluded = choose([run for runs in found.values() for run in runs])
        runs, unusable = usable(runs)
        excluded += unusable
        kept, rows, notes = list[RunFiles](), list[Row](), list[str]()
        for name, _, place in datasets:
            people = read_participants(place, label, None if site in SITE_WORDS else site)
            diagnosis.require_some(people)
            mine, theirs, left_out = joined([run for run in runs if run.dataset == name], people, diagnosis)
            kept, rows = kept + mine, rows + theirs
            excluded += left_out + _without_scans(people, found[name])
            notes += [f"{place}: {note}" for note in people.notes]
        return cls(runs=kept, table=table_of(_sited(kept, rows, site)), excluded=excluded, notes=notes)

    @classmethod
    def from_table(
        cls,
        table: str | Path,
        *,
        label: str = "group",
        positive: str = "PD",
        negative: str = "HC",
        space: str | None = None,
        site: str | None = None,
    ) -> Cohort:
        """Take plain NIfTI files, of any tool and any names, from a table with one row a run.

        Columns: `participant_id` and `bold` (paths count from the table's folder), the diagnosis, and where
        there are any `mask`, `confounds` (fMRIPrep's columns, tab-separated), `session`, `task`, `run`,
        `space`, `tr` (seconds; it wins over the files'), and what is known of the person (`Cohort.table`).
        A run without a mask gets one that is computed when it is prepared.

        Args:
            table: a .tsv or .csv.
            label: the column that holds the diagnosis.
            positive: its value for label 1; letter case does not count.
            negative: its value for label 0.
            space: the space of every run whose row and name tell none.
            site: the column of the site, or "session".

        Raises:
            BadFileError: the table cannot be used (as in `from_derivatives`), or names files impossibly.
        """
        cells = read_table_file(Path(table), "table of runs")
        facts, notes = facts_by_row(cells, label, None if site in SITE_WORDS else site)
        listed, excluded = runs_of(cells, facts)
        diagnosis = Diagnosis(column=label, positive=positive, negative=negative)
        runs, rows = list[RunFiles](), list[Row]()
        for run, known in zip(listed, facts, strict=True):
            if run is None or known is None:
                continue
            code = diagnosis.code(known.label)
            if code is None:
                excluded.append((run.run_id, diagnosis.refusal(known.label)))
                continue
            if space is not None and run.space is None:
                run = replace(run, entities=run.entities | {"space": space})
            runs.append(run)
            rows.append(row(run, known, code) | {"space": run.space or "unknown"})
        chosen, others = choose(runs, unnamed="unknown (a column `space` can tell it)")
        names = {run.run_id for run in chosen}
        rows = [row for row in rows if row["run_id"] in names]
        return cls(
            runs=chosen,
            table=table_of(_sited(chosen, rows, site)),
            excluded=excluded + others,
            notes=[f"{table}: {note}" for note in notes],
        )

    def __len__(self) -> int:
        return len(self.runs)

    def describe(self) -> pd.DataFrame:
        """Counts of runs and people for each site and label."""
        grouped = self.table.groupby(["site", "label"], sort=True)
        counts = grouped.agg(runs=("run_id", "size"), subjects=("person", "nunique"))
        return counts.reset_index()


def _datasets(path: Paths, table: Paths | None) -> list[tuple[str, Path, Path]]:
    """Name ("" for a single one), folder and participants table of each derivative."""
    folders = [Path(path)] if isinstance(path, str | Path) else [Path(one) for one in path]
    if table is None:
        tables = [_table_near(folder) for folder in folders]
    else:
        given = [Path(table)] if isinstance(table, str | Path) else [Path(one) for one in table]
        tables = given * len(folders) if len(given) == 1 else given
    if not folders or len(tables) != len(folders):
        raise ParameterError(
            "tables",
            must_be=f"one, or one for each of the {len(folders)} derivatives",
            got=len(tables),
        )
    names = [""] if len(folders) == 1 else _names(folders)
    return list(zip(names, folders, tables, strict=True))


def _names(folders: list[Path]) -> list[str]:
    """The part of each path, from its end, that tells them apart."""
    parts = [list(reversed(folder.absolute().parts)) for folder in folders]
    for depth in range(min(map(len, parts))):
        names = [re.sub(r"[^A-Za-z0-9.+-]+", "-", part[depth]).strip(".-") for part in parts]
        if len(set(names)) == len(names) and all(names):
            return names
    raise ParameterError(
        "derivatives", must_be="different folders", got=", ".join(map(str, folders)), do="name each once"
    )


def _table_near(derivatives: Path) -> Path:
    folder = derivatives.absolute()
    candidates = [place / "participants.tsv" for place in (folder, *folder.parents[:2])]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def _found(folder: Path, name: str, task: str | None, space: str | None) -> list[RunFiles]:
    found = find_runs(folder, task=task, space=space)
    if not found:
        raise BadFileError(
            "derivatives",
            must_be="a folder with preprocessed runs" + (f" of task {task}" if task else ""),
            got="none",
            do="give fMRIPrep's output folder, and check task and space",
            path=folder,
        )
    return [replace(run, dataset=name) for run in found]


def _without_scans(people: Participants, found: list[RunFiles]) -> Excluded:
    scanned = {run.participant_id for run in found}
    return [(name, "in the participants table, but has no run") for name in people.ids if name not in scanned]


def _sited(runs: list[RunFiles], rows: list[Row], site: str | None) -> list[Row]:
    """Rows whose site is the session or the dataset, where that was asked for."""
    if site not in SITE_WORDS:
        return rows
    named = [run.session if site == "session" else run.dataset for run in runs]
    return [{**row, "site": name or "unknown"} for name, row in zip(named, rows, strict=True)]
