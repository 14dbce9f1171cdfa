"""A scaling study from its plan to its account: cells trained one after the other, then laws and a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data.errors import ParameterError
from data.writing import disk_told
from neuro.scaling.account import write_account
from neuro.scaling.analysis import Analysis, analyse
from neuro.scaling.figure import save_figure
from neuro.scaling.finished import Finished
from neuro.scaling.grid import Cell, ScalingPlan
from neuro.scaling.run_table import RunTable

TrainCell = Callable[[Cell], Finished]
OnCell = Callable[[Cell, int, int], None]


def scale(
    plan: ScalingPlan,
    train_cell: TrainCell,
    out: str | Path,
    *,
    setting: Mapping[str, Any] | None = None,
    on_cell: OnCell | None = None,
    resamples: int = 400,
) -> Analysis:
    """Train what is missing, then write law.json, scaling.png, scaling.svg and scaling.md.

    Called again after it was broken off, it goes on with the first cell that runs.csv lacks.

    Args:
        plan: what to train.
        train_cell: trains one cell and measures it, on the same held-out people for every cell.
        out: a folder, new, empty or of this same study.
        setting: what else decides a loss (cache identity, masking, optimiser), as JSON can hold it.
        on_cell: called before each training with the cell, how many are finished, and how many there are.
        resamples: of each bootstrap.

    Raises:
        ParameterError: the folder is in use, a cell came back with another's seed, or the finished runs are
            too few for a law, as when the budget is spent early (they are kept).
        FingerprintMismatchError: the folder is of another plan or setting.
        DiskError: the folder cannot be written.
    """
    table = RunTable(out, plan, setting or {})
    whole = len(plan.cells())
    for cell in table.missing():
        if plan.budget is not None and table.spent() >= plan.budget:
            break
        if on_cell is not None:
            on_cell(cell, len(table.finished), whole)
        table.add(cell, _own(cell, train_cell(cell)))
    analysis = analyse(list(table.finished.values()), reach=plan.reach, resamples=resamples)
    with disk_told(out):
        write_account(plan, table.finished, analysis, Path(out))
        save_figure(analysis, Path(out))
    return analysis


def _own(cell: Cell, run: Finished) -> Finished:
    if run.seed != cell.seed:
        raise ParameterError("finished run", must_be=f"that of seed {cell.seed}", got=f"seed {run.seed}")
    return run
