"""Tables that people keep, .tsv or .csv -> columns and rows of trimmed words, with the line of each row."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from data.errors import BadFileError

ABSENT = ("", "n/a", "na", "nan", "none", "null", "#n/a", ".")  # folded words that say that there is nothing
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
Row = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A table as it was read.

    Attributes:
        path: the file.
        what: what it is to messages ("participants table").
        columns: trimmed names, as they are written.
        rows: a word for every column, trimmed; rows without any word are left out.
        lines: the line in the file of each row.
    """

    path: Path
    what: str
    columns: tuple[str, ...]
    rows: list[Row]
    lines: list[int]


def read_table_file(path: Path, what: str) -> TableFile:
    """Read a table; a byte-order mark, blanks around words and empty lines are harmless.

    The separator is that of the file's ending (.csv comma, .tsv tab) where the header has it, or else the
    most frequent of tab, comma and semicolon there, since spreadsheets write what their language prefers.

    Raises:
        BadFileError: the file is absent, no text in UTF-8, has no header, names a column twice, or a row has
            more words than the header.
    """
    lines = _text(path, what).splitlines()
    header = next((line for line in lines if line.strip()), "")
    separator = _separator(header, path.suffix.lower())
    records = csv.reader(lines, delimiter=separator)
    try:
        table = [(records.line_num, [word.strip() for word in record]) for record in records]
    except csv.Error as error:
        raise _unreadable(path, what, str(error)) from error
    table = [(line, words) for line, words in table if any(words)]
    if not table:
        raise _unreadable(path, what, "an empty file")
    columns = _columns(table[0][1], path, what)
    rows: list[Row] = []
    for line, words in table[1:]:
        if any(words[len(columns) :]):
            raise BadFileError(
                what,
                must_be=f"a table of {len(columns)} columns",
                got=f"{len(words)} words in line {line}",
                do="a word that holds the separator must stand in quotes",
                path=path,
            )
        padded = words + [""] * (len(columns) - len(words))
        rows.append({name: word for name, word in zip(columns, padded, strict=False) if name})
    return TableFile(
        path=path,
        what=what,
        columns=tuple(name for name in columns if name),
        rows=rows,
        lines=[line for line, _ in table[1:]],
    )


def is_absent(word: str) -> bool:
    """Whether a cell says that there is nothing."""
    return word.casefold() in ABSENT


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFileError(
            what,
            must_be="text in UTF-8",
            got="another encoding or no text",
            do="save it as .tsv or .csv in UTF-8",
            path=path,
        ) from error
    except FileNotFoundError as error:
        raise BadFileError(
            what, must_be="a .tsv or .csv file", got="nothing there", do="give its path", path=path
        ) from error
    except OSError as error:
        raise _unreadable(path, what, str(error.strerror)) from error


def _separator(header: str, ending: str) -> str:
    usual = SEPARATORS.get(ending, "\t")
    if usual in header:
        return usual
    return max("\t,;", key=header.count) if any(mark in header for mark in "\t,;") else usual


def _columns(words: list[str], path: Path, what: str) -> list[str]:
    """The header's names without what stands empty at its end."""
    while words and not words[-1]:
        words = words[:-1]
    repeated = sorted({name for name in words if name and words.count(name) > 1})
    if repeated:
        raise BadFileError(
            what,
            must_be="one with every column once",
            got=f"several columns {repeated[0]!r}",
            do="rename or remove one",
            path=path,
        )
    return words


def _unreadable(path: Path, what: str, found: str) -> BadFileError:
    return BadFileError(what, must_be="a table with a header", got=found, do="mend it", path=path)
