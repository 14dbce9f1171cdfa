"""What a person sees in the terminal: progress on standard error, results on standard output."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from data.caches.plan import Plan
from neuro.report.reading import Reading


def progress_bars() -> Progress:
    """Bars that count what is done and show the time it took."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))


def show_results(reading: Reading, console: Console) -> None:
    """Print the results as a table, and the verdict in words."""
    table = Table(title="Told apart from controls, by person, out of fold")
    table.add_column("model")
    for name in ("AUC", "95 % interval", "balanced accuracy"):
        table.add_column(name, justify="right")
    for model in reading.results.models:
        auc, accuracy = model.figures["auc"], model.figures["balanced_accuracy"]
        table.add_row(
            model.name,
            f"{auc.estimate:.3f}",
            f"{auc.low:.3f} to {auc.high:.3f}",
            f"{accuracy.estimate:.3f}",
        )
    console.print(table)
    for line in (reading.findings.verdict.headline, *reading.first_screen):
        console.print(line, highlight=False)


def show_plan(plan: Plan, console: Console) -> None:
    """Print what would be used, what would be left out and why, notes, and the whole in one sentence."""
    used, spaces = plan.used, sorted(set(plan.used["space"]))
    table = Table(title=f"Would be used, in {' and '.join(spaces)}", title_justify="left")
    columns = ("run", "site", "label", "frames", "TR s", "mm", "notes")
    for name in columns:
        table.add_column(name, justify="right" if name in columns[3:6] else "left", overflow="fold")
    for row in used.to_dict("records"):
        whole, kept = int(row["frames"]), int(row["kept"])
        frames = f"{whole}" if whole == kept else f"{kept} of {whole}"
        cells = (
            row["what"],
            row["site"],
            row["label"],
            frames,
            f"{row['tr']:g}",
            row["voxel_mm"],
            row["notes"],
        )
        table.add_row(*(escape(str(cell)) for cell in cells))
    left_out = Table(title="Would be left out", title_justify="left")
    for name in ("what", "why"):
        left_out.add_column(name, overflow="fold")
    for row in plan.left_out.to_dict("records"):
        left_out.add_row(escape(str(row["what"])), escape(str(row["why"])))
    for shown in (table, left_out):
        if shown.row_count:
            console.print(shown)
    for note in plan.notes:
        console.print(f"note: {escape(note)}", highlight=False)
    console.print(plan.summary(), highlight=False)
