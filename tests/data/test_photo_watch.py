"""Watching real folders; every wait has an end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data import photo_watch
from data.errors import BadFileError, ParameterError
from data.photo_watch import PhotoChanges, watch_photos

Next = Callable[[], PhotoChanges]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/old.jpg").write_bytes(b"x")
    return tmp_path / "root"


@pytest.fixture
def watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Next]:
    """Gives the next batch of `root`, without raw/ and the first batch; fails after 20 s without one."""
    monkeypatch.setattr(photo_watch, "QUIET_MS", 100)
    monkeypatch.setattr(photo_watch, "TURN_MS", 200)
    stop, batches = threading.Event(), queue.Queue[PhotoChanges]()

    def listen() -> None:
        for batch in watch_photos([root], exclude=["raw/"], stop_event=stop):
            batches.put(batch)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert batches.get(timeout=20) == PhotoChanges(
            present=frozenset([root / "old.jpg"]), gone=frozenset()
        )
        yield lambda: batches.get(timeout=20)
    finally:
        stop.set()
        thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_new_a_changed_and_a_deleted_file(root: Path, watched: Next) -> None:
    (root / "new.PNG").write_bytes(b"x")
    (root / "words.txt").write_bytes(b"x")
    (root / ".hidden.jpg").write_bytes(b"x")
    assert watched() == PhotoChanges(present=frozenset([root / "new.PNG"]), gone=frozenset())
    (root / "old.jpg").write_bytes(b"y")
    assert watched().present == {root / "old.jpg"}
    (root / "old.jpg").unlink()
    assert watched() == PhotoChanges(present=frozenset(), gone=frozenset([root / "old.jpg"]))


def test_a_folder_that_is_moved_in_and_out(root: Path, watched: Next, tmp_path: Path) -> None:
    (tmp_path / "trip/raw").mkdir(parents=True)
    (tmp_path / "trip/two\nlines Ж.jpg").write_bytes(b"x")
    (tmp_path / "trip/raw/a.jpg").write_bytes(b"x")
    (tmp_path / "trip").rename(root / "trip")
    assert watched() == PhotoChanges(present=frozenset([root / "trip/two\nlines Ж.jpg"]), gone=frozenset())
    (root / "trip").rename(tmp_path / "away")
    batch = watched()
    assert not batch.present
    assert root / "trip" in batch.gone


def test_a_file_in_a_folder_made_since_and_an_excluded_one(root: Path, watched: Next) -> None:
    (root / "deep/er").mkdir(parents=True)
    (root / "raw").mkdir()
    (root / "raw/a.jpg").write_bytes(b"x")
    (root / "deep/er/b.jpg").write_bytes(b"x")
    assert watched().present == {root / "deep/er/b.jpg"}
    (root / "deep/er/c.jpg").write_bytes(b"x")
    assert watched().present == {root / "deep/er/c.jpg"}


def test_after_a_burst_everything_is_looked_at(
    root: Path, watched: Next, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_watch, "BURST", 3)
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(b"x")
    assert root / "old.jpg" in watched().present


def test_roots_and_patterns_are_checked_before_anything_is_watched(root: Path) -> None:
    with pytest.raises(BadFileError, match="nothing there"):
        watch_photos([root / "nowhere"])
    with pytest.raises(ParameterError, match="pattern must be"):
        watch_photos([root], exclude=[""])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_folder_is_passed_over(root: Path) -> None:
    (root / "closed").mkdir(mode=0)
    stop = threading.Event()
    batches = watch_photos([root], stop_event=stop)
    assert next(batches).present == {root / "old.jpg"}
    stop.set()
    assert list(batches) == []
    (root / "closed").chmod(0o755)
