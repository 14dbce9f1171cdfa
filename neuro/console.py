"""What a person sees in the terminal: progress on standard error, results on standard output."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from neuro.evaluate import Evaluation
from neuro.report import verdict


def progress_bars() -> Progress:
    """Bars that count what is done and show the time it took."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def show_results(evaluation: Evaluation, console: Console) -> None:
    """Print the results as a table, and the verdict in words."""
    table = Table(title="Told apart from controls, by person, out of fold")
    table.add_column("model")
    for name in ("AUC", "95 % interval", "balanced accuracy"):
        table.add_column(name, justify="right")
    for outcome in evaluation.outcomes:
        auc = outcome.auc
        table.add_row(
            outcome.name,
            f"{auc.estimate:.3f}",
            f"{auc.low:.3f} to {auc.high:.3f}",
            f"{outcome.balanced_accuracy:.3f}",
        )
    console.print(table)
    for line in verdict(evaluation):
        console.print(line)
