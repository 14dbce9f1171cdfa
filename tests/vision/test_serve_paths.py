"""Which bytes get out: those of the index, whatever is asked, and whatever its paths have come to lead to."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.vision.asking import API, ids_by_name, problem
from tests.vision.conftest import ColourEmbedder
from tests.vision.serve_process import Served, served
from vision.retrieval import ImageIndex

SECRET = b"TOP-SECRET-0123456789-and-quite-some-more-of-it"
ROOT = Path(__file__).parents[2]


def disguises(path: str) -> Iterator[bytes]:
    """A path to a file, and ways to lead to it, as they are written where checks are to be slipped past."""
    for climb in ("../" * 12 + path.lstrip("/"), path):
        plain = climb.encode()
        yield plain
        yield climb.replace("../", "..%2f").replace("/", "%2F").encode()
        yield climb.replace(".", "%2e").replace("/", "%2f").encode()
        yield climb.replace(".", "%252e").replace("/", "%252f").encode()
        yield climb.replace(".", "%c0%ae").replace("/", "%c0%af").encode()
        yield climb.replace("/", "\\").encode()
        yield climb.replace("/", "%5c").encode()
        yield climb.replace("../", "....//").encode()
        yield plain + b"%00"
        yield plain + b"%00.js"
        yield b"%00" + plain
        yield plain + b"?x"
        yield b"main.js/" + plain
        yield climb.replace("/", ";/").encode()
        yield b"file://" + plain


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path, str]]:
    """A real server, a file beside its pictures that is none of its business, and a picture's identifier."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "album").mkdir()
    Image.new("RGB", (20, 10), "red").save(folder / "album/red.png")
    (folder / "secret.txt").write_bytes(SECRET)
    with ImageIndex.create(folder / "store", ColourEmbedder()) as index:
        index.add_folder([folder / "album"])
        (id,) = (id for id, _ in index.browse())
    with served(folder / "store", folder / "cache", "--rate", "0") as server:
        yield server, folder / "secret.txt", id


@pytest.mark.slow
def test_no_way_of_writing_a_path_leads_to_a_file(process: tuple[Served, Path, str]) -> None:
    server, secret, id = process
    bases = [
        "/",
        "/page/",
        f"{API}/",
        f"{API}/pictures/",
        f"{API}/pictures/{id}/",
        f"{API}/uploads/",
        f"{API}/collections/",
        f"{API}/jobs/",
        f"{API}/search?cursor=",
        f"{API}/search?where=",
        f"{API}/pictures/{id}/thumbnail?side=",
        f"{API}/pictures/{id}/similar?cursor=",
    ]
    targets = {
        base.encode() + way
        for base in bases
        for path in (str(secret), "/etc/passwd")
        for way in disguises(path)
    }
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(server.get, sorted(targets)))
    assert len(answers) > 500
    for target, (status, answer) in zip(sorted(targets), answers, strict=True):
        assert status in (400, 404, 422), (target, answer[:200])
        assert SECRET not in answer
        assert b"root:" not in answer
        assert b"Traceback" not in answer
    assert server.get(f"{API}/pictures/{id}/original".encode())[0] == 200


def test_requests_that_are_none_do_no_harm(process: tuple[Served, Path, str]) -> None:
    server, _, _ = process
    host = f"host: 127.0.0.1:{server.port}\r\n".encode()
    close = host + b"connection: close\r\n"
    post = b"POST /api/v1/search HTTP/1.1\r\ncontent-type: application/json\r\n" + close
    long = b"a" * 100_000
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00",  # somebody speaks TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no name at all
        b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"GET /" + long + b" HTTP/1.1\r\n" + close + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + long + b"\r\n" + close + b"\r\n",
        b"GET / HTTP/1.1\r\n" + close + b"x\x00y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + close + b"origin: http://[\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n" + close + b"\r\n\r\n",
        post + b"content-length: -1\r\n\r\n",
        post + b"content-length: \xb2\r\n\r\n",
        post + b"content-length: " + b"9" * 5000 + b"\r\n\r\n",
        post + b"content-length: 99999999999\r\n\r\n",
        post + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        post + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        post + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        post + b"transfer-encoding: chunked\r\n\r\n" + b"ffffffffffffffff\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while more := connection.recv(1 << 16):
                answer += more
        assert b" 500 " not in answer.split(b"\r\n")[0], (request[:80], answer[:300])
        assert b"Traceback" not in answer
    status, answer = server.get(b"/")
    assert status == 200
    assert b"\r\nserver:" not in answer.lower()


def replace_by(kind: str, path: Path, secret: Path) -> None:
    path.unlink()
    if kind == "a link":
        path.symlink_to(secret)
    elif kind == "a hard link":
        path.hardlink_to(secret)
    elif kind == "a link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to itself":
        path.symlink_to(path)
    elif kind == "another file":
        path.write_bytes(secret.read_bytes())
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a linked folder":
        path.parent.rename(path.parent.with_name("away"))
        (secret.parent / "elsewhere").mkdir()
        shutil.copy(secret, secret.parent / "elsewhere" / path.name)
        path.parent.symlink_to(secret.parent / "elsewhere")
    elif kind == "a locked socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(path))


@pytest.mark.parametrize("secret_is", ["words", "a picture"])
@pytest.mark.parametrize(
    "kind",
    [
        "a link",
        "a hard link",
        "a link to a device",
        "a link to itself",
        "another file",
        "a folder",
        "a pipe",
        "a linked folder",
        "a locked socket",
    ],
)
def test_a_file_that_became_another_does_not_get_out(
    client: Any, album: Path, tmp_path: Path, kind: str, secret_is: str
) -> None:
    secret = tmp_path / "secret"
    if secret_is == "words":
        secret.write_bytes(SECRET)
    else:
        Image.new("RGB", (24, 10), "black").save(secret, "PNG")  # of the very size, even
    path = album / "below/white.png"
    id = ids_by_name(client)["white"]
    replace_by(kind, path, secret)
    for part in ("thumbnail", "thumbnail?side=160", "original"):
        answer = client.get(f"{API}/pictures/{id}/{part}")
        problem(answer, "gone", 410)
        assert secret.read_bytes() not in answer.content
    problem(client.post(f"{API}/explain", json={"id": id, "terms": [{"text": "red"}]}), "gone", 410)
    assert client.get(f"{API}/health").status_code == 200


def test_a_thumbnail_shows_what_was_indexed_whatever_became_of_it(
    client: Any, album: Path, tmp_path: Path
) -> None:
    id = ids_by_name(client)["red"]
    before = client.get(f"{API}/pictures/{id}/thumbnail").content
    Image.new("RGB", (20, 10), "black").save(tmp_path / "secret.png")
    replace_by("a link", album / "red.png", tmp_path / "secret.png")
    assert client.get(f"{API}/pictures/{id}/thumbnail").content == before
    problem(client.get(f"{API}/pictures/{id}/thumbnail?side=160"), "gone", 410)


def test_no_words_of_a_caller_open_a_file(tmp_path: Path) -> None:
    """In a process of its own: who listens to what is opened cannot stop again."""
    command = [sys.executable, "-m", "tests.vision.opened_by_words", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    opened = json.loads(done.stdout)
    assert opened  # the index' own notes, for one
    assert not [path for path in opened if "secret" in path]
