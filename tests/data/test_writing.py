"""Files and folders appear whole or not at all, and nothing that holds something is written over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.errors import ParameterError
from data.writing import require_new_or_empty, whole_file, whole_folder, write_whole


class BrokenError(Exception):
    pass


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_as_before_until_all_is_written(tmp_path: Path) -> None:
    place = tmp_path / "votes.csv"
    place.write_text("old")
    with whole_file(place) as draft:
        assert draft.suffix == ".csv"
        assert draft.parent == tmp_path
        draft.write_text("new")
        assert place.read_text() == "old"
    assert contents(tmp_path) == {"votes.csv": "new"}


@pytest.mark.parametrize("there", [True, False])
def test_an_error_leaves_the_file_as_it_was(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "file.txt"
    if there:
        place.write_text("old")

    def write() -> None:
        with whole_file(place) as draft:
            draft.write_text("half")
            raise BrokenError

    with pytest.raises(BrokenError):
        write()
    assert contents(tmp_path) == ({"file.txt": "old"} if there else {})


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "file.txt"):
        pass
    assert contents(tmp_path) == {}


def test_text_is_utf8(tmp_path: Path) -> None:
    place = write_whole(tmp_path / "größe.txt", "ä\n")
    assert place == tmp_path / "größe.txt"
    assert place.read_bytes() == b"\xc3\xa4\n"
    assert len(contents(tmp_path)) == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_appears_at_the_end(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "deep" / "folder"
    if there:
        place.mkdir(parents=True)
    with whole_folder(place) as draft:
        (draft / "below").mkdir()
        (draft / "below/a.txt").write_text("a")
        assert not (place / "below").exists()
    assert [path.name for path in place.parent.iterdir()] == ["folder"]
    assert contents(place) == {"a.txt": "a"}


def test_an_error_leaves_no_folder(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "folder") as draft:
            (draft / "a.txt").write_text("half")
            raise BrokenError

    with pytest.raises(BrokenError):
        write()
    assert list(tmp_path.iterdir()) == []


def make_full(place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("mine")


@pytest.mark.parametrize(
    ("make", "found"),
    [(make_full, "which holds something"), (lambda place: place.write_text("mine"), "which is a file")],
)
def test_what_is_there_is_never_written_over(
    tmp_path: Path, make: Callable[[Path], object], found: str
) -> None:
    place = tmp_path / "place"
    make(place)
    before = contents(tmp_path)
    with pytest.raises(ParameterError, match=found):
        require_new_or_empty(place)
    with pytest.raises(ParameterError, match=found), whole_folder(place):
        pass  # pragma: no cover
    assert contents(tmp_path) == before


def test_new_and_empty_folders_are_fine(tmp_path: Path) -> None:
    require_new_or_empty(tmp_path)
    require_new_or_empty(tmp_path / "new")


@pytest.mark.parametrize("kind", [whole_file, whole_folder])
def test_a_killed_process_leaves_the_place_untouched(tmp_path: Path, kind: object) -> None:
    """What it was writing stays beside it, hidden and marked as partial."""
    place = tmp_path / "place.txt"
    child = os.fork()
    if child == 0:
        with kind(place) as draft:  # type: ignore[operator]
            (draft if kind is whole_file else draft / "a.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not place.exists()
    (left,) = tmp_path.iterdir()
    assert left.match(".*.partial*")


def test_two_threads_may_write_the_same_file(tmp_path: Path) -> None:
    place = tmp_path / "notes.json"

    def write(text: str) -> None:
        with whole_file(place) as draft:
            draft.write_text(text)
            both.wait(timeout=60)  # both drafts are there

    both = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, ["one", "two"]))
    assert contents(tmp_path) in ({"notes.json": "one"}, {"notes.json": "two"})
