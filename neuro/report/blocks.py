"""What a report is made of, whether it becomes HTML or Markdown: a document of sections of blocks.

All prose stands in the sections (`neuro.report.sections`), none in the forms: so both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from data.interval import Interval

WARNING = "For research, not for diagnosis. This is not a medical device."


@dataclass(frozen=True)
class Words:
    """A paragraph.

    Attributes:
        text: of it.
        strong: what must be seen first.
    """

    kind: ClassVar[str] = "words"
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Terms and what they were in this study."""

    kind: ClassVar[str] = "terms"
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """A command, to be copied."""

    kind: ClassVar[str] = "code"
    term: str
    text: str


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it says, and in small what belongs to it."""

    text: str
    small: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        heads: of the columns.
        rows: of cells.
        words: how many columns, from the left, hold words and not figures.
        narrow: whether heads may break into several lines, where columns are many.
    """

    kind: ClassVar[str] = "table"
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: int = 1
    narrow: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without an ending.
        uri: the figure itself, as a data URI.
        alt: words for who cannot see it.
        caption: below it.
        dark: whether it is drawn on black.
    """

    kind: ClassVar[str] = "picture"
    name: str
    uri: str
    alt: str
    caption: str = ""
    dark: bool = False


@dataclass(frozen=True)
class Pair:
    """Blocks side by side, where there is room."""

    kind: ClassVar[str] = "pair"
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that are opened by who wants them."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: tuple[Block, ...]


Block = Words | Bullets | Terms | Code | Table | Picture | Pair | Folded


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading; `verdict` is the one that stands first."""

    title: str
    blocks: tuple[Block, ...]
    verdict: bool = False


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report."""

    title: str
    lead: str
    sections: tuple[Section, ...]
    warning: str = WARNING


def table(
    heads: Sequence[str], rows: Iterable[Iterable[str | Cell]], *, words: int = 1, narrow: bool = False
) -> Table:
    """A table of strings and cells."""
    filled = tuple(tuple(one if isinstance(one, Cell) else Cell(one) for one in row) for row in rows)
    return Table(heads=tuple(heads), rows=filled, words=words, narrow=narrow)


def figure_cell(value: Interval, digits: int = 3) -> Cell:
    """An estimate, and in small its interval."""
    return Cell(f"{value.estimate:.{digits}f}", f"{value.low:.2f} – {value.high:.2f}")


def pictures_in(blocks: Iterable[Block]) -> list[Picture]:
    """All figures, in the order in which they are shown."""
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Pair | Folded):
            found += pictures_in(block.blocks)
    return found
