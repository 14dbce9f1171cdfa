"""Pairs from every layout that is read, and what is said of each that cannot be."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.captions import CaptionColumns, captions_by_path, read_pairs
from data.errors import BadFileError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of pairs into a folder that holds a.jpg, b.jpg and sub/c.jpg."""
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (tmp_path / name).touch()

    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return written


def plain(path: Path, columns: CaptionColumns | None = None) -> list[tuple[str, str]]:
    root = (columns.folder if columns else None) or path.parent
    return [(pair.image.relative_to(root).as_posix(), pair.caption) for pair in read_pairs(path, columns)]


EXPECTED = [("a.jpg", "A cat, asleep"), ("a.jpg", "One cat"), ("sub/c.jpg", "Ein Hund läuft")]
LAYOUTS = {
    "pairs.csv": 'image,caption\na.jpg,"A cat, asleep"\na.jpg,One cat\nsub/c.jpg,Ein Hund läuft\n',
    "bom.csv": '\ufeffFilePath,id,Title\r\na.jpg,1,"A cat, asleep"\r\na.jpg,2,One cat\r\n'
    "sub/c.jpg,3,Ein  Hund läuft\r\n\r\n",
    "flickr30k.csv": "image_name| comment_number| comment\na.jpg| 0| A cat, asleep\na.jpg| 1| One cat\n"
    "sub/c.jpg| 0| Ein Hund läuft\n",
    "pairs.tsv": "path\ttext\na.jpg\tA cat, asleep\na.jpg\tOne cat\nsub/c.jpg\tEin Hund läuft\n",
    "captions.txt": 'image,caption\na.jpg,"A cat, asleep"\na.jpg,One cat\nsub/c.jpg,Ein Hund läuft',
    "pairs.jsonl": '{"file": "a.jpg", "caption": ["A cat, asleep", "One cat"]}\n\n'
    '{"file": "sub/c.jpg", "caption": "Ein Hund läuft"}\n',
    "pairs.json": json.dumps([{"filename": name, "description": caption} for name, caption in EXPECTED]),
    "mapping.json": '{"a.jpg": ["A cat, asleep", "One cat"], "sub/c.jpg": "Ein Hund läuft"}',
    "coco.json": json.dumps(
        {
            "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "sub/c.jpg"}],
            "annotations": [
                {"image_id": 7, "caption": "A cat, asleep"},
                {"image_id": 7, "caption": "One cat\n"},
                {"image_id": 9, "caption": "Ein Hund läuft"},
            ],
        }
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_pairs(write: Write, name: str) -> None:
    assert plain(write(name, LAYOUTS[name])) == EXPECTED


def test_columns_and_folder_by_name(write: Write, tmp_path: Path) -> None:
    path = write("odd.csv", "image,photo,words\nx,c.jpg,hello\n")
    columns = CaptionColumns(image="Photo", caption="words", folder=tmp_path / "sub")
    assert plain(path, columns) == [("c.jpg", "hello")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "image,caption\na.jpg,fine\nb.jpg,\n", "line 3: caption must be some text, got nothing"),
        ("x.csv", "image,caption\n,fine\n", "line 2: picture's path must be text"),
        ("x.csv", "image,caption\na.jpg,a cat, asleep\n", "line 2: row must be of 2 cells, got 3"),
        ("x.csv", 'image,caption\na.jpg,"two\nlines"\nb.jpg\n', "line 4: row must be of 2 cells, got 1"),
        ("x.csv", 'image,caption\na.jpg,"never closed\nb.jpg,x\n', "line 2: row must be well-formed"),
        ("x.csv", "picture,caption\na.jpg,fine\n", "line 1: columns must be with one of image, path"),
        ("x.csv", "", "line 1: columns must be"),
        ("x.csv", "image,caption\n", "at least one pair"),
        ("x.jsonl", '{"image": "a.jpg", "text": "x"}\n{"image": \n', "line 2: content must be JSON"),
        ("x.jsonl", '{"image": "a.jpg"}\n', "line 1: columns must be with one of caption"),
        ("x.jsonl", "[1]\n", "line 1: pair must be an object"),
        ("x.json", '[\n{"image": "a.jpg", "text": "x"},\n oops]', "line 3: content must be JSON"),
        ("x.json", '[{"image": "a.jpg", "text": 5}]', "item 1: caption must be some text, got 5"),
        ("x.json", "3", "content must be a list or an object"),
        ("x.json", '{"images": [{"id": 1}], "annotations": []}', "id and file_name"),
        ("x.json", '{"images": [], "annotations": [{"image_id": 1}]}', "annotation 1: image_id must be one"),
        ("x.xlsx", "", "must be .csv, .tsv"),
    ],
)
def test_errors_name_file_and_line(write: Write, name: str, text: str, said: str) -> None:
    path = write(name, text)
    with pytest.raises(BadFileError) as caught:
        read_pairs(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_column_that_is_not_there_offers_the_nearest(write: Write) -> None:
    path = write("x.csv", "image,caption\na.jpg,x\n")
    with pytest.raises(BadFileError, match="did you mean caption"):
        read_pairs(path, CaptionColumns(caption="captoin"))


def test_missing_pictures_are_counted_and_named_with_their_lines(write: Write) -> None:
    rows = "".join(f"gone{n}.jpg,x\n" for n in range(7))
    path = write("x.csv", f"image,caption\na.jpg,x\n{rows}gone0.jpg,again\n")
    with pytest.raises(BadFileError) as caught:
        read_pairs(path)
    said = str(caught.value)
    assert "7 of 8 missing" in said
    assert "gone0.jpg (line 3)" in said
    assert "gone4.jpg (line 7) and 2 more" in said
    assert "gone5.jpg" not in said


@pytest.mark.parametrize("place", ["none.csv", "."])
def test_unreadable_files(tmp_path: Path, place: str) -> None:
    with pytest.raises(BadFileError):
        read_pairs(tmp_path / place)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("image,caption\na.jpg,läuft\n".encode("latin-1"))
    with pytest.raises(BadFileError, match="UTF-8"):
        read_pairs(path)


def test_captions_by_path_joins_and_needs_no_pictures(write: Write, tmp_path: Path) -> None:
    path = write("x.csv", "image,caption\na.jpg,one\ngone.jpg,two\na.jpg,three\na.jpg,one\nb.jpg,\n")
    assert captions_by_path(path) == {tmp_path / "a.jpg": "one\nthree", tmp_path / "gone.jpg": "two"}


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(
    str.strip
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(captions=st.lists(words, min_size=1, max_size=5))
def test_any_caption_survives_every_layout(tmp_path: Path, captions: list[str]) -> None:
    """Whatever csv and json write, quotes and delimiters and all, comes back with its spaces made single."""
    (tmp_path / "a.jpg").touch()
    table, lines = tmp_path / "t.csv", tmp_path / "l.jsonl"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *(("a.jpg", caption) for caption in captions)])
    records = (json.dumps({"image": "a.jpg", "caption": caption}) for caption in captions)
    lines.write_text("\n".join(records), encoding="utf-8")
    expected = [("a.jpg", " ".join(caption.split())) for caption in captions]
    assert plain(table) == expected
    assert plain(lines) == expected
