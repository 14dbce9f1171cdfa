"""The contact sheet: even, complete, and unmoved by odd names and missing files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from data.errors import BadFileError, ParameterError
from vision.retrieval import Hit
from vision.retrieval.picture import Picture
from vision.retrieval.sheet import PANEL, SheetLayout, _elided, _wrapped, contact_sheet, save_sheet

LAYOUT = SheetLayout()


def hit(path: Path, score: float = 0.25) -> Hit:
    picture = Picture(content="0" * 64, size=1, width=1, height=1, format="PNG", places=())
    return Hit(id=picture.id, path=path, score=score, picture=picture)


def pictures(folder: Path, count: int, size: tuple[int, int] = (300, 300)) -> list[Hit]:
    hits = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("RGB", size, (255, 0, number)).save(path)
        hits.append(hit(path, 1 - number / 10))
    return hits


def runs(line: np.ndarray) -> list[tuple[int, int]]:
    """Start and length of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(start), int(stop - start)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 5, 1), (10, 5, 2), (12, 5, 3)]
)
def test_thumbnails_stand_in_an_even_grid(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    page = np.asarray(contact_sheet("red things", pictures(tmp_path, count)))
    red = (page[..., 0] == 255) & (page[..., 1] == 0)
    across, down = runs(red.any(axis=0)), runs(red.any(axis=1))
    assert (len(across), len(down)) == (columns, rows)
    assert {length for _, length in across + down} == {LAYOUT.thumbnail}
    assert {b - a for (a, _), (b, _) in itertools.pairwise(across)} <= {LAYOUT.thumbnail + LAYOUT.gap}
    assert len({b - a for (a, _), (b, _) in itertools.pairwise(down)}) <= 1
    assert across[0][0] == LAYOUT.margin
    if count >= 3:
        assert page.shape[1] - sum(across[-1]) == LAYOUT.margin


def test_the_order_is_that_of_the_hits(tmp_path: Path) -> None:
    page = contact_sheet("red things", pictures(tmp_path, 7))
    array = np.asarray(page)
    red = (array[..., 0] == 255) & (array[..., 1] == 0)
    down, across = runs(red.any(axis=1)), runs(red.any(axis=0))
    centres = [(x + 120, y + 120) for y, _ in down for x, _ in across][:7]
    assert [page.getpixel(centre) for centre in centres] == [(255, 0, number) for number in range(7)]


def test_proportions_are_kept_and_small_pictures_are_not_blown_up(tmp_path: Path) -> None:
    for size, drawn in [((1000, 500), (240, 120)), ((100, 400), (60, 240)), ((30, 20), (30, 20))]:
        page = np.asarray(contact_sheet("x", pictures(tmp_path, 1, size)))
        red = (page[..., 0] > 200) & (page[..., 1] < 50)
        assert (runs(red.any(axis=0))[0][1], runs(red.any(axis=1))[0][1]) == drawn


def test_captions_and_title_leave_ink(tmp_path: Path) -> None:
    hits = pictures(tmp_path, 1)
    plain = np.asarray(contact_sheet("", hits))
    titled = np.asarray(contact_sheet("a title", hits))
    assert (titled != 255).sum() > (plain != 255).sum() > 240 * 240
    other = np.asarray(contact_sheet("a title", [hit(hits[0].path, 0.9)]))
    assert (other != titled).any()


def test_missing_and_broken_files_keep_their_place(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no")
    page = contact_sheet("x", [hit(tmp_path / "gone.jpg"), hit(tmp_path / "broken.jpg")])
    for column in range(2):
        corner = (LAYOUT.margin + column * (LAYOUT.thumbnail + LAYOUT.gap) + 3, page.height - 200)
        assert "#{:02x}{:02x}{:02x}".format(*page.getpixel(corner)) == PANEL


def test_no_hits_and_odd_words_make_a_sheet_all_the_same(tmp_path: Path) -> None:
    contact_sheet("nothing", [])
    contact_sheet("", [])
    odd = ["кошка на окне", "日本の写真", "שלום", "🙂🙂", "a\nb\tc\x00", os.fsdecode(b"caf\xe9"), "w" * 900]
    for text in odd:
        contact_sheet(text, [hit(tmp_path / f"{text[:90]}.jpg".replace("\x00", ""))])


def test_letters_that_the_first_font_lacks_are_drawn_by_another(tmp_path: Path) -> None:
    def ink(name: str) -> np.ndarray:
        return np.asarray(contact_sheet("x", [hit(tmp_path / name)]))

    assert (ink("кот.jpg") != ink("док.jpg")).any()  # boxes for missing letters would look alike


@given(text=st.text(max_size=80), width=st.integers(0, 400))
def test_elided_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    font = ImageFont.load_default(15)
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = _elided(line, font, width)
    assert font.getlength(shown) <= width or shown == "…"
    if shown not in (line, "…"):
        before, _, after = shown.rpartition("…") if "…" not in line else (line[:0], "", line[-1:])
        assert line.startswith(before)
        assert line.endswith(after)


def test_long_titles_wrap_to_three_lines_at_most() -> None:
    font = ImageFont.load_default(30)
    lines = list(_wrapped("many words " * 50 + "at last", font, 500))
    assert len(lines) == 3
    assert all(font.getlength(line) <= 500 for line in lines)
    assert lines[0].startswith("many words")
    assert lines[-1].endswith("last")
    assert list(_wrapped("two words", font, 500)) == ["two words"]


@pytest.mark.parametrize("ending", [".jpg", ".JPEG", ".png", ".webp"])
def test_it_is_saved_whole_with_folders_made(tmp_path: Path, ending: str) -> None:
    page = contact_sheet("x", [])
    path = save_sheet(page, tmp_path / "new" / f"sheet{ending}")
    with Image.open(path) as saved:
        assert saved.size == page.size
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    page = contact_sheet("x", [])
    with pytest.raises(ParameterError, match=r"a \.jpg, \.jpeg, \.png, \.webp file, got .*sheet\.bmp"):
        save_sheet(page, tmp_path / "sheet.bmp")
    (tmp_path / "file").touch()
    with pytest.raises(BadFileError, match="contact sheet must be writable"):
        save_sheet(page, tmp_path / "file/sheet.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(BadFileError, match="contact sheet must be writable"):
        save_sheet(page, tmp_path / "folder.jpg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.jpg"]
