"""`vision serve` as a process: how it begins, what it says, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.vision.asking import API
from tests.vision.conftest import COLOURS, ColourEmbedder
from tests.vision.serve_process import ROOT, Served, command, environment, served
from vision.retrieval import ImageIndex

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "album").mkdir()
    for name, rgb in COLOURS.items():
        Image.new("RGB", (20, 10), rgb).save(folder / f"album/{name}.png")
    with ImageIndex.create(folder / "store", ColourEmbedder()) as index:
        index.add_folder([folder / "album"])
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """A store of its own for each test, which no other process holds."""
    return Path(shutil.copytree(made / "store", tmp_path / "store"))


def ask(server: Served, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, url, data, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def descendants(pid: int) -> set[int]:
    """Processes that come from `pid`, itself left out; Linux."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = {
        int(child) for task in children.parents[1].glob("*/children") for child in task.read_text().split()
    }
    return found.union(*(descendants(child) for child in found))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(happens: Any, seconds: float = 60) -> bool:
    """Whether it comes to be in that time."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# Real processes


@pytest.fixture(scope="module")
def held(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(made / "store", tmp_path_factory.mktemp("held") / "store"))


@pytest.fixture(scope="module")
def running(held: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(held, tmp_path_factory.mktemp("cache"), CHIASM_TOKEN=TOKEN) as server:
        yield server


def test_it_says_where_it_is_and_answers_there(running: Served) -> None:
    assert running.said == f"5 pictures at http://127.0.0.1:{running.port}/ (Ctrl-C ends it)\n"
    assert running.port not in (0, 8765)
    bearer = {"authorization": f"Bearer {TOKEN}"}
    status, health = ask(running, "GET", f"{API}/health", **bearer)
    assert (status, json.loads(health)["pictures"]) == (200, 5)
    status, page = ask(running, "GET", "/", **bearer)
    assert (status, page[:15].lower()) == (200, b"<!doctype html>")
    status, answer = ask(running, "POST", f"{API}/search", {"k": 3}, **bearer)
    assert (status, len(json.loads(answer)["pictures"])) == (200, 3)


def test_the_token_comes_from_the_environment_and_stays_there(running: Served) -> None:
    assert ask(running, "GET", f"{API}/health")[0] == 401
    assert ask(running, "GET", f"{API}/health", authorization="Bearer wrong")[0] == 401
    assert TOKEN not in running.said
    assert TOKEN.encode() not in Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in ask(running, "GET", f"{API}/metrics", authorization=f"Bearer {TOKEN}")[1]


def test_only_loopback_is_listened_at(running: Served) -> None:
    other = next(
        (line for line in socket.gethostbyname_ex(socket.gethostname())[2] if not line.startswith("127.")),
        None,
    )
    if other is None:
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((other, running.port), timeout=10).close()


@pytest.mark.slow
def test_a_store_that_is_served_is_held(running: Served, held: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(held),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=environment(tmp_path),
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"in use by process {running.process.pid}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
@pytest.mark.parametrize(("blow", "codes"), [(signal.SIGINT, {0, 130}), (signal.SIGTERM, {0, 143, -15})])
def test_it_ends_when_it_is_told_and_leaves_nothing(
    made: Path, store: Path, tmp_path: Path, blow: signal.Signals, codes: set[int]
) -> None:
    """With a stream of events open, and the processes that decode at work."""
    Image.new("RGB", (8, 8), "orange").save(made / f"album/{blow.name}.png")
    before = {*Path("/tmp").glob("chiasm-upload-*")}
    with served(store, tmp_path / "cache") as server:
        assert until(lambda: descendants(server.process.pid))
        others = descendants(server.process.pid)
        status, said = ask(server, "POST", f"{API}/jobs", {})
        assert status == 202
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
            events = f"GET {API}/jobs/{json.loads(said)['id']}/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
            stream.sendall(events.encode())
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
            server.process.send_signal(blow)
            out, err = server.process.communicate(timeout=60)
            took = time.monotonic() - began
        assert server.process.returncode in codes, err
        assert took < 50  # it may be importing torch, which cannot be broken off
        assert "Traceback" not in err, err
        assert out == ""
        assert until(lambda: not any(map(is_alive, others))), others
    with ImageIndex.open(store, ColourEmbedder()) as index:  # which nobody holds any more
        assert len(index) >= 5
    assert {*Path("/tmp").glob("chiasm-upload-*")} == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=10).close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
def test_no_process_outlives_one_that_is_killed(store: Path, tmp_path: Path) -> None:
    with served(store, tmp_path / "cache") as server:
        assert until(lambda: descendants(server.process.pid))
        others = descendants(server.process.pid)
        server.process.kill()
        server.process.wait(60)
        assert until(lambda: not any(map(is_alive, others))), others
    with ImageIndex.open(store, ColourEmbedder()) as index:
        assert len(index) >= 5


# Starts that fail, in this process


@pytest.fixture
def refused(run_vision: Callable[..., Any]) -> Callable[..., str]:
    """What `vision serve` with these options says when it does not start."""

    def start(*options: object) -> str:
        outcome = run_vision("serve", "--no-open", *options)
        assert (outcome.code, outcome.out) == (2, "")
        return str(outcome.err)

    return start


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CHIASM_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "token must be given beyond loopback"),
        (["--host", "::"], "token must be given beyond loopback"),
        (["--host", "0.0.0.0", "--token", "short"], "token must be at least 16 characters, got 5"),
        (["--token", "ä" * 20], "token must be letters, digits and signs of ASCII"),
        (["--port", "70000"], "port must be from 0 to 65535"),
        (["--rate", "-1"], "rate must be"),
        (["--timeout", "0"], "timeout must be"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    store: Path, refused: Callable[..., str], options: list[str], message: str
) -> None:
    said = refused("--store", store, *options)
    assert f"error: {message}" in said
    assert len(said.strip().splitlines()) == 1
    assert "short" not in said
    assert "ä" not in said


def test_a_port_that_is_taken_is_told(store: Path, refused: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--store", store, "--port", port)
    assert re.search(rf"error: address must be free .*127\.0\.0\.1:{port}.*--port", said)
    with ImageIndex.open(store, ColourEmbedder()) as index:  # it was not even opened
        assert len(index) >= 5


def test_a_store_that_is_none_is_told(tmp_path: Path, refused: Callable[..., str]) -> None:
    for store in (tmp_path / "nothing", tmp_path):
        assert "store must be a folder with an index" in refused("--store", store, "--port", 0)
    assert not (tmp_path / "nothing").exists()


def test_it_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['vision', 'serve', '--help']\n"
        "from vision.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'numpy', 'fastapi', 'uvicorn', 'qdrant_edge'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    assert done.stdout.endswith("heavy: []\n")
    assert "Ctrl-C" in done.stdout
