"""How the `vision` commands print: results on standard output, bars and notes on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from data.errors import ParameterError

if TYPE_CHECKING:
    from vision.retrieval import Hit

# A terminal tells its width in characters: most are at least this many pixels wide.
CELL_PIXELS = 8
THUMBNAIL = 150


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
    """Rank, relevance (where it is known), score and path; files with the same bytes stand below theirs."""
    known = any(hit.relevance is not None for hit in hits)
    table = plain_table("rank", *(["relevant"] if known else []), "score", "picture")
    for rank, hit in enumerate(hits, start=1):
        chance = [f"{hit.relevance or 0:.0%}"] if known else []
        caption = Text("  by its caption", style="dim") if hit.by_caption else Text()
        table.add_row(f"{rank}", *chance, f"{hit.score:.3f}", printable(hit.path) + caption)
        for copy in hit.copies:
            table.add_row("", *([""] if known else []), "", Text("= ", style="dim") + printable(copy))
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


def preview_protocol(wanted: str) -> str | None:
    """How to show pictures in this terminal: as asked, or for "auto" as it can; None for not at all.

    Raises:
        ParameterError: something else was asked for.
    """
    from vision.preview import SEQUENCES, terminal_protocol

    if wanted == "auto":
        return terminal_protocol(os.environ) if sys.stdout.isatty() else None
    if wanted != "none" and wanted not in SEQUENCES:
        must_be = f"one of auto, {', '.join(SEQUENCES)}, none"
        raise ParameterError("preview", must_be=must_be, got=repr(wanted))
    return None if wanted == "none" else wanted


def show_pictures(title: str, hits: Sequence[Hit], protocol: str) -> None:
    """A small contact sheet inside the terminal, as wide as fits."""
    from vision.preview import SEQUENCES
    from vision.retrieval.sheet import SheetLayout, contact_sheet

    columns = max(1, min(len(hits), Console().width * CELL_PIXELS // THUMBNAIL - 1))
    layout = SheetLayout(thumbnail=THUMBNAIL, columns=columns, gap=10, margin=10, title=16, caption=12)
    sys.stdout.write(SEQUENCES[protocol](contact_sheet(title, hits, layout)) + "\n")
