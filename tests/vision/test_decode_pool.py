"""Decoding ahead, in processes that crash, hang and are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import BadFileError
from vision.backbones.preprocess import Preprocess
from vision.retrieval import decode_pool
from vision.retrieval.decode_pool import DecodePool, Reading, start_decoders
from vision.retrieval.picture_reader import PictureReader

CRASHES, HANGS, SLEEPS, FAILS = 13, 17, 19, 23  # of tests/vision/misbehaving.py
HERE = Path(__file__).parent


def painted(folder: Path, *widths: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, width in enumerate(widths):
        paths.append(folder / f"{number:03}.png")
        Image.new("RGB", (width, 10), (number, 2 * number % 256, 9)).save(paths[-1])
    return paths


def always(file: object) -> bool:
    return True


def outcome(future: Future[Reading]) -> str:
    try:
        decoded = future.result(timeout=60).decoded
    except BadFileError as error:
        return str(error.got)
    return "unwanted" if decoded is None else f"{decoded[0].width}"


@pytest.fixture(scope="module")
def processes() -> Iterator[None]:
    """Processes that find this folder, which those of other tests do not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        patch.setattr(decode_pool, "_forker", None)
        start_decoders(wait=True)
        yield


@pytest.fixture
def misbehaving(processes: None) -> PictureReader:
    from misbehaving import Misbehaving  # type: ignore[import-not-found]

    return PictureReader(preprocess=Misbehaving())


READER = PictureReader(preprocess=Preprocess(size=(8, 8), resize_to=(8, 8)))


def test_processes_give_what_the_reader_gives_and_in_order(processes: None, tmp_path: Path) -> None:
    paths = painted(tmp_path / "p", *range(30, 70))
    with DecodePool(READER, workers=2) as pool:
        readings = [future.result() for future in [pool.submit(path, always) for path in paths]]
        assert len(pool._hired) == 2
    for path, reading in zip(paths, readings, strict=True):
        picture, pixels_CHW = READER.read(path)
        assert reading.decoded is not None
        assert reading.decoded[0] == picture
        assert np.array_equal(reading.decoded[1], pixels_CHW)
        assert (reading.file.data, reading.file.size) == (b"", path.stat().st_size)


@pytest.mark.parametrize("in_processes", [True, False])
def test_what_is_not_wanted_is_not_decoded(
    in_processes: bool, processes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_processes:
        monkeypatch.setattr(decode_pool, "_forker", None)
    paths = painted(tmp_path / "p", 30, 31, 32)
    with DecodePool(READER, workers=2) as pool:
        futures = [pool.submit(path, lambda file: file.path.name != "001.png") for path in paths]
        assert [outcome(future) for future in futures] == ["30", "unwanted", "32"]
        assert bool(pool._hired) is in_processes


def test_processes_are_started_once_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(decode_pool, "_forker", None)
    monkeypatch.setattr(decode_pool, "start_decoders", lambda: started.append(1))
    paths = painted(tmp_path / "p", *range(30, 30 + decode_pool.IN_THREADS))
    with DecodePool(READER, workers=2) as pool:
        futures = [pool.submit(path, always) for path in paths]
        assert not started
        futures.append(pool.submit(paths[0], always))
        assert started == [1]
        assert [outcome(future) for future in futures][-2:] == [f"{29 + decode_pool.IN_THREADS}", "30"]


def test_hostile_files_are_told_through_a_process(processes: None, tmp_path: Path) -> None:
    good, empty, text, fifo, cut = (tmp_path / name for name in ("good.png", "empty", "text", "fifo", "cut"))
    Image.new("RGB", (20, 20)).save(good)
    empty.touch()
    text.write_text("no picture")
    os.mkfifo(fifo)
    cut.write_bytes(good.read_bytes()[:-20])
    with DecodePool(READER, workers=2) as pool:
        files = [empty, text, fifo, cut, tmp_path / "nothing", good]
        told = [outcome(future) for future in [pool.submit(path, always) for path in files]]
    assert told[:3] == [
        "an empty file (0 bytes)",
        "no picture in a format that is read here",
        "no regular file",
    ]
    assert told[3].startswith("a damaged picture")
    assert told[4:] == ["No such file or directory", "20"]


def test_a_crash_and_a_hang_cost_one_file_each(misbehaving: PictureReader, tmp_path: Path) -> None:
    paths = painted(tmp_path / "p", 30, CRASHES, 31, HANGS, 32, SLEEPS, 33, 34)
    with DecodePool(misbehaving, workers=2, seconds=2) as pool:
        told = [outcome(future) for future in [pool.submit(path, always) for path in paths]]
    slow = "one that takes longer than 2 s to decode"
    assert told == ["30", "one that crashes its decoder", "31", slow, "32", slow, "33", "34"]


def test_a_process_killed_from_outside_costs_nothing(processes: None, tmp_path: Path) -> None:
    paths = painted(tmp_path / "p", 30, 31)
    with DecodePool(READER, workers=1) as pool:
        assert outcome(pool.submit(paths[0], always)) == "30"
        (worker,) = pool._hired
        worker.hang_up()
        assert outcome(pool.submit(paths[1], always)) == "31"


def test_a_bug_is_not_taken_for_a_bad_file(misbehaving: PictureReader, tmp_path: Path) -> None:
    (path,) = painted(tmp_path / "p", FAILS)
    with DecodePool(misbehaving, workers=1) as pool, pytest.raises(RuntimeError, match="a bug"):
        pool.submit(path, always).result(timeout=60)


def test_closing_does_not_wait_for_a_hang(misbehaving: PictureReader, tmp_path: Path) -> None:
    paths = painted(tmp_path / "p", HANGS, SLEEPS, 30)
    with DecodePool(misbehaving, workers=2) as pool:
        futures = [pool.submit(path, always) for path in paths]
        while not all(future.running() for future in futures[:2]):
            time.sleep(0.01)
    assert all(future.done() for future in futures)


def test_processes_that_cannot_start_are_made_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_forker", None)
    monkeypatch.setattr(decode_pool, "START", "")
    start_decoders(wait=True)
    paths = painted(tmp_path / "p", 30, 31)
    with DecodePool(READER, workers=1) as pool, pytest.warns(RuntimeWarning, match="could not be started"):
        assert [outcome(pool.submit(path, always)) for path in paths] == ["30", "31"]


# No process outlives the one that it works for


SCRIPT = """
import sys
from pathlib import Path
from vision.retrieval.decode_pool import DecodePool, start_decoders
from vision.retrieval.picture_reader import PictureReader
from misbehaving import Misbehaving

start_decoders(wait=True)
pool = DecodePool(PictureReader(preprocess=Misbehaving()), workers=3)
futures = [pool.submit(Path(path), lambda file: True) for path in sys.argv[1:]]
futures[-1].result()
print("busy", flush=True)
with pool:
    futures[0].result()
"""


def descendants(pid: int) -> set[int]:
    """Processes that come from `pid`, itself left out; Linux."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, left = set[int](), [pid]
    while left:
        left += (new := children.get(left.pop(), []))
        found.update(new)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux shows them")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_when_the_first_is_killed(blow: signal.Signals, tmp_path: Path) -> None:
    paths = painted(tmp_path / "p", HANGS, SLEEPS, 30)
    first = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    with first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"busy\n"
        others = descendants(first.pid)
        assert len(others) == 4  # the one that forks, and three workers
        first.send_signal(blow)
        first.wait(timeout=30)
    patience = time.monotonic() + 20
    while any(map(is_alive, others)) and time.monotonic() < patience:
        time.sleep(0.02)
    assert not [pid for pid in others if is_alive(pid)]
