"""Runs joined to what is known of their people: derivatives + participants table -> Cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.bids import RunFiles, find_runs
from data.errors import BadFileError, nearest

# Where a derivative holds a run in several spaces, one is taken for the whole cohort, in this order.
PREFERRED_SPACES = ("MNI152NLin2009cAsym", "MNI152NLin6Asym")
ABSENT = ("", "n/a", "na", "nan", "none")
COLUMNS = ("run_id", "participant_id", "site", "label", "age", "sex", "space", "bold", "mask", "confounds")


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Runs with what is known of the people in them; make one with `Cohort.from_derivatives`.

    Attributes:
        runs: the files of each run, in the order of `table`.
        table: one row a run: `run_id`, `participant_id`, `site`, `label` (int, 1 positive, 0 negative), `age`
            (float, NaN where unknown), `sex`, `space`, and the paths `bold`, `mask`, `confounds`.
        excluded: (what, why) for every run and subject that was found and left out.
    """

    runs: list[RunFiles]
    table: pd.DataFrame
    excluded: list[tuple[str, str]]

    @classmethod
    def from_derivatives(
        cls,
        path: str | Path,
        *,
        table: str | Path | None = None,
        label: str = "group",
        positive: str = "PD",
        negative: str = "HC",
        task: str | None = None,
        space: str | None = None,
    ) -> Cohort:
        """Find the runs under `path` and join them to the participants table.

        Args:
            path: an fMRIPrep derivative.
            table: a .tsv or .csv; by default participants.tsv in `path` or in one of the two folders above
                it.
            label: the column that holds the diagnosis.
            positive: its value for label 1; letter case does not count.
            negative: its value for label 0. Subjects with any other value are left out and listed.
            task: only this task.
            space: only this space; by default the most preferred one that is there (MNI152NLin2009cAsym
                first).

        Raises:
            BadFileError: no runs; no table; the table lacks a column or a subject that has scans, or names
                one twice.
        """
        found = find_runs(path, task=task, space=space)
        if not found:
            raise BadFileError(
                "derivatives",
                must_be="a folder with preprocessed runs" + (f" of task {task}" if task else ""),
                got="none",
                do="give fMRIPrep's output folder, and check task and space",
                path=path,
            )
        people = _read_people(_find_table(Path(path), table), label)
        runs, excluded = _one_space(found)
        runs, unusable = _usable(runs)
        kept, unlabelled = _labelled(runs, people, {negative.casefold(): 0, positive.casefold(): 1})
        rows = [_row(run, people.rows[run.participant_id], value) for run, value in kept]
        return cls(
            runs=[run for run, _ in kept],
            table=pd.DataFrame(rows, columns=list(COLUMNS)).astype({"label": int, "age": float}),
            excluded=excluded + unusable + unlabelled + _without_scans(people, found),
        )

    def __len__(self) -> int:
        return len(self.runs)

    def describe(self) -> pd.DataFrame:
        """Counts of runs and subjects for each site and label."""
        grouped = self.table.groupby(["site", "label"], sort=True)
        counts = grouped.agg(runs=("run_id", "size"), subjects=("participant_id", "nunique"))
        return counts.reset_index()


@dataclass(frozen=True)
class _People:
    path: Path
    label: str
    rows: dict[str, dict[str, str]]


def _find_table(derivatives: Path, given: str | Path | None) -> Path:
    if given is not None:
        candidates = [Path(given)]
    else:
        folder = derivatives.absolute()
        candidates = [place / "participants.tsv" for place in (folder, *folder.parents[:2])]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise BadFileError(
        "participants table",
        must_be="a .tsv or .csv file",
        got="nothing there",
        do="give its path as `table`",
        path=candidates[0],
    )


def _read_people(path: Path, label: str) -> _People:
    """The table by participant, every cell a trimmed string; a byte-order mark is harmless."""
    separator = "," if path.suffix == ".csv" else "\t"
    try:
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise BadFileError(
            "participants table", must_be="a table with a header", got=str(error), do="mend it", path=path
        ) from error
    frame.columns = frame.columns.str.strip()
    for column in ("participant_id", label):
        if column not in frame.columns:
            raise BadFileError(
                "participants table",
                must_be=f"one with a column {column!r}",
                got=f"the columns {', '.join(frame.columns)}",
                do=nearest(column, frame.columns) or "name the column of the diagnosis with `label`",
                path=path,
            )
    frame = frame.apply(lambda column: column.str.strip())
    frame = frame[frame["participant_id"] != ""]
    names = "sub-" + frame["participant_id"].str.removeprefix("sub-")
    repeated = sorted(set(names[names.duplicated()]))
    if repeated:
        raise BadFileError(
            "participants table",
            must_be="one row a subject",
            got=f"several rows for {_some(repeated)}",
            do="keep one row for each",
            path=path,
        )
    rows = [{str(key): str(value) for key, value in row.items()} for row in frame.to_dict("records")]
    return _People(path, label, dict(zip(names, rows, strict=True)))


def _one_space(found: list[RunFiles]) -> tuple[list[RunFiles], list[tuple[str, str]]]:
    """One image for each scan, all in one space; the others are listed."""
    spaces = {run.space for run in found if run.bold is not None}
    chosen = next((space for space in PREFERRED_SPACES if space in spaces), None)
    if chosen is None and spaces:
        chosen = min(spaces, key=str)
    kept: dict[str, RunFiles] = {}
    excluded: list[tuple[str, str]] = []
    for run in found:
        if run.bold is not None and run.space != chosen:
            excluded.append((run.bold.name, f"space {run.space}; the cohort uses {chosen}"))
        elif run.bold is not None and run.run_id in kept and kept[run.run_id].bold is not None:
            excluded.append((run.bold.name, "another resolution or echo of a run that is already in"))
        elif run.bold is not None or run.run_id not in kept:
            kept[run.run_id] = run
    return list(kept.values()), excluded


def _usable(runs: list[RunFiles]) -> tuple[list[RunFiles], list[tuple[str, str]]]:
    lacking = [(run.run_id, "; ".join(run.missing)) for run in runs if not run.usable]
    return [run for run in runs if run.usable], lacking


def _labelled(
    runs: list[RunFiles], people: _People, codes: dict[str, int]
) -> tuple[list[tuple[RunFiles, int]], list[tuple[str, str]]]:
    unknown = sorted({run.participant_id for run in runs} - people.rows.keys())
    if unknown:
        raise BadFileError(
            "participants table",
            must_be="one with a row for every subject that has scans",
            got=f"no row for {_some(unknown)}",
            do="add the row, or move the scans away",
            path=people.path,
        )
    kept: list[tuple[RunFiles, int]] = []
    left_out: list[tuple[str, str]] = []
    for run in runs:
        value = people.rows[run.participant_id][people.label]
        if value.casefold() in codes:
            kept.append((run, codes[value.casefold()]))
        else:
            told = f"{people.label} is {value!r}" if value.casefold() not in ABSENT else f"no {people.label}"
            left_out.append((run.run_id, f"{told}; wanted {' or '.join(codes)} (letter case does not count)"))
    return kept, left_out


def _without_scans(people: _People, found: list[RunFiles]) -> list[tuple[str, str]]:
    scanned = {run.participant_id for run in found}
    return [
        (name, "in the participants table, but has no run") for name in people.rows if name not in scanned
    ]


def _row(run: RunFiles, person: dict[str, str], label: int) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "participant_id": run.participant_id,
        "site": _cell(person, "site") or "unknown",
        "label": label,
        "age": pd.to_numeric(_cell(person, "age") or "nan", errors="coerce"),
        "sex": _cell(person, "sex") or "n/a",
        "space": run.space or "native",
        "bold": str(run.bold),
        "mask": str(run.mask),
        "confounds": str(run.confounds) if run.confounds else "",
    }


def _cell(person: dict[str, str], column: str) -> str:
    """A cell by its column's name in any letter case, or "" where it is absent or not available."""
    value = next((text for key, text in person.items() if key.casefold() == column), "")
    return "" if value.casefold() in ABSENT else value


def _some(names: Sequence[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")
