"""How the `vision` commands print: results on standard output, bars and notes on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from vision.retrieval import Hit


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; gives the function to call with the files done and the files in all."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def note(text: str) -> Iterator[None]:
    """A line on standard error that stands while something lasts."""
    with Console(stderr=True).status(text):
        yield


def plain_table(*headings: str) -> Table:
    """A table without rules, whose last column may run over several lines and is never cut."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(headings[-1], overflow="fold")
    return table


def hits_table(hits: Sequence[Hit]) -> Table:
    """Rank, score and path of each hit; further files with the same bytes stand below theirs."""
    table = plain_table("rank", "score", "picture")
    for rank, hit in enumerate(hits, start=1):
        table.add_row(f"{rank}", f"{hit.score:.3f}", printable(hit.path))
        for copy in hit.copies:
            table.add_row("", "", Text("= ", style="dim") + printable(copy))
    return table


def print_table(table: Table) -> None:
    """Fit a terminal's width; into a pipe or a file, give each row one whole line."""
    console = Console()
    if not console.is_terminal:
        wide = console.options.update(max_width=1 << 16)
        console = Console(width=max(console.width, Measurement.get(console, wide, table).maximum))
    console.print(table)


def printable(path: Path) -> Text:
    """A path as literal text (no markup), with what would break the line written as an escape."""
    return Text("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(path)))
