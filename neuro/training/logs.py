"""What a training writes down while it runs: history.csv always, TensorBoard where asked for."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from data.errors import MissingDependencyError
from data.writing import whole_file
from neuro.training.keeping import HISTORY, TENSORBOARD
from vision.training.run_folder import Progress

COLUMNS = ("step", "epoch", "loss", "learning_rate", "validation")


def write_history(folder: Path, progress: Progress, rates: list[float], steps_an_epoch: int) -> None:
    """history.csv, a row a step; the last step of an epoch also has its validation, where there is one."""
    rows = []
    for number, loss in enumerate(progress.step_losses):
        epoch, within = divmod(number, steps_an_epoch)
        ends = within == steps_an_epoch - 1 and epoch < len(progress.epochs)
        validation = progress.epochs[epoch].get("validation") if ends else None
        rows.append((number + 1, epoch + 1, repr(loss), repr(rates[number]), _cell(validation)))
    with whole_file(folder / HISTORY) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


class Board:
    """TensorBoard's log, or nothing.

    Raises:
        MissingDependencyError: it is asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, step: int):
        self.writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "TensorBoard", must_be="installed", got="not there", do="pip install 'chiasm[logs]'"
            ) from error
        # What an interrupted run logged after its checkpoint is taken back.
        self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def tell(self, step: int, **values: float) -> None:
        """Values of a step, by name."""
        for name, value in values.items():
            if self.writer is not None:
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the rest."""
        if self.writer is not None:
            self.writer.close()
