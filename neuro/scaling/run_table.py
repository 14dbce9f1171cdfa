"""The folder of a scaling study while it trains: plan.json says what, runs.csv what is finished.

runs.csv is written anew after each training, whole or not at all, so that a study that was broken off goes on
where it stopped. A folder belongs to one plan on one set of data: losses of another would not compare.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data.cohorts.table_file import read_table_file
from data.errors import BadFileError, FingerprintMismatchError
from data.writing import disk_told, require_new_or_empty, write_whole
from neuro.scaling.finished import Finished
from neuro.scaling.grid import Cell, ScalingPlan

PLAN_FILE, RUNS_FILE = "plan.json", "runs.csv"
COLUMNS = ("cell", "width", "depth", "share", "passes", "seed", "params", "seen", "compute", "loss")


class RunTable:
    """What a study has finished, in memory and on disk.

    Args:
        folder: new, empty, or of the same plan and setting.
        plan: what is to be trained.
        setting: what else decides a loss (cache, recipe, masking, optimiser), as JSON can hold it.

    Attributes:
        finished: cell -> its run, in the order of the plan.

    Raises:
        ParameterError: the folder holds something that is no scaling study.
        FingerprintMismatchError: it is one of another plan or setting.
        BadFileError: plan.json or runs.csv cannot be read.
        DiskError: the place cannot be written.
    """

    def __init__(self, folder: str | Path, plan: ScalingPlan, setting: Mapping[str, Any]):
        self.folder, self.plan = Path(folder), plan
        self._cells = {cell.name: cell for cell in plan.cells()}
        facts = json.loads(json.dumps({"identity": plan.identity, "setting": dict(setting)}))
        if (self.folder / PLAN_FILE).exists():
            _require_same(self.folder / PLAN_FILE, facts)
        else:
            require_new_or_empty(self.folder)
        with disk_told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.folder / PLAN_FILE, json.dumps({**facts, "plan": asdict(plan)}, indent=1) + "\n")
        self.finished = self._read()

    def missing(self) -> list[Cell]:
        """Cells that are not finished, in the order of the plan."""
        return [cell for cell in self._cells.values() if cell not in self.finished]

    def spent(self) -> float:
        """FLOP of all finished runs."""
        return sum(run.compute for run in self.finished.values())

    def add(self, cell: Cell, run: Finished) -> None:
        """Keep a finished run, on disk before this returns.

        Raises:
            DiskError: it cannot be written.
        """
        finished = self.finished | {cell: run}
        ordered = {known: finished[known] for known in self._cells.values() if known in finished}
        with disk_told(self.folder):
            write_whole(self.folder / RUNS_FILE, _text(ordered))
        self.finished = ordered

    def _read(self) -> dict[Cell, Finished]:
        path = self.folder / RUNS_FILE
        if not path.exists():
            return {}
        table = read_table_file(path, "finished runs")
        try:
            runs = {self._cells[row["cell"]]: _run(row) for row in table.rows}
        except (KeyError, ValueError) as error:
            raise BadFileError(
                "finished runs",
                must_be="what `neuro scaling` wrote for this plan",
                got=f"{type(error).__name__}: {error}",
                do="mend or remove the row: its cell is then trained again",
                path=path,
            ) from error
        return {cell: runs[cell] for cell in self._cells.values() if cell in runs}


def _require_same(path: Path, facts: dict[str, Any]) -> None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in facts if known[key] != facts[key]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            "plan",
            must_be="what `neuro scaling` wrote",
            got=f"{type(error).__name__}: {error}",
            do="choose another folder",
            path=path,
        ) from error
    if differing:
        raise FingerprintMismatchError(
            "folder of the study",
            must_be="new, or of the same plan, data and training",
            got=f"one whose {' and '.join(differing)} differs ({_short(known)} there, {_short(facts)} here)",
            do="choose another folder",
            path=path,
        )


def _short(facts: Mapping[str, Any]) -> str:
    return f"plan {facts['identity']}, setting {json.dumps(facts['setting'])[:200]}"


def _text(finished: Mapping[Cell, Finished]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell, run in finished.items():
        planned = (cell.size.width, cell.size.depth, _exact(cell.share), _exact(cell.passes), cell.seed)
        measured = (run.params, *map(_exact, (run.seen, run.compute, run.loss)))
        writer.writerow((cell.name, *planned, *measured))
    return buffer.getvalue()


def _exact(value: float) -> str:
    """All digits; also of a numpy number, which would tell its type as well."""
    return repr(float(value))


def _run(row: Mapping[str, str]) -> Finished:
    return Finished(
        params=int(row["params"]),
        seen=float(row["seen"]),
        compute=float(row["compute"]),
        loss=float(row["loss"]),
        seed=int(row["seed"]),
    )
