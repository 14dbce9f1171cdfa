"""Tables as spreadsheets and editors leave them."""

from __future__ import annotations

import re

import pytest

from data.cohorts.table_file import is_absent, read_table_file
from data.errors import BadFileError


def read(tmp_path, content: str | bytes, name: str = "people.tsv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_table_file(path, "participants table")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "id\tgroup\n1\tPD\n2\tHC\n"),
        ("a.tsv", "\ufeffid \tgroup\t\n 1\t PD \t\t\n\n\t\t\n2\tHC"),
        ("a.tsv", "id\tgroup\r\n1\tPD\r\n2\tHC\r\n"),
        ("a.csv", "id,group\n1,PD\n2,HC\n"),
        ("a.csv", 'id,group,\n"1","PD",\n2,HC,\n'),
        ("a.csv", "id;group\n1;PD\n2;HC\n"),
        ("a.csv", "id\tgroup\n1\tPD\n2\tHC\n"),
        ("a.tsv", "id,group\n1,PD\n2,HC\n"),
        ("a.txt", "id\tgroup\n1\tPD\n2\tHC\n"),
    ],
)
def test_what_spreadsheets_leave_is_read_alike(tmp_path, name, content):
    table = read(tmp_path, content, name)
    assert table.columns == ("id", "group")
    assert table.rows == [{"id": "1", "group": "PD"}, {"id": "2", "group": "HC"}]


def test_lines_are_those_of_the_file_and_short_rows_are_filled(tmp_path):
    table = read(tmp_path, 'id\tgroup\tnote\n1\tPD\n\n\n2\tHC\t"two\nlines"\n3\n')
    assert table.lines == [2, 6, 7]
    assert [row["note"] for row in table.rows] == ["", "twolines", ""]
    assert table.rows[2] == {"id": "3", "group": "", "note": ""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a table with a header, got an empty file"),
        ("\n\n", "got an empty file"),
        ("id\tgroup\tgroup\n1\t2\t3\n", "must be one with every column once, got several columns 'group'"),
        ("id\tgroup\n1\tPD\textra\n", "must be a table of 2 columns, got 3 words in line 2"),
        ("id\tgroup\n1\tPD\n".encode("utf-16"), "must be text in UTF-8"),
        ("id\tgroup\nMüller\tPD\n".encode("cp1252"), "must be text in UTF-8"),
        (b"PK\x03\x04" + bytes(range(256)), "must be text in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(BadFileError, match=r"people.tsv: participants table " + ".*" + re.escape(message)):
        read(tmp_path, content)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadFileError, match=r"gone.tsv: participants table must be .* got nothing there"):
        read_table_file(tmp_path / "gone.tsv", "participants table")
    with pytest.raises(BadFileError, match=r"got Is a directory"):
        read_table_file(tmp_path, "participants table")


def test_words_for_nothing():
    assert all(map(is_absent, ["", "n/a", "N/A", "NaN", "None"]))
    assert not any(map(is_absent, ["0", "no", "unknown"]))
