"""Pictures that are sent: what is none, what is more than one, and what kills or holds its decoder."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.vision.asking import API, Serve, ids_by_name, problem
from vision.retrieval import ImageIndex, decode_pool
from vision.retrieval.decode_pool import start_decoders
from vision.server import uploads

CRASHES, HANGS = 13, 17  # of tests/vision/misbehaving.py
HERE = Path(__file__).parent


def png(width: int, height: int, *, data: bytes | None = None) -> bytes:
    """A PNG that says it has so many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (width + 1) * min(height, 99)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(kind: str, **how: Any) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (30, 20), "red").save(buffer, kind, **how)
    return buffer.getvalue()


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a page": b"<!doctype html><script>alert(1)</script>",
    "a drawing with a script": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "a script for Ghostscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "a document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "a program": b"\x7fELF" + b"\0" * 99,
    "a GIF that is a page": b"GIF89a<script>alert(1)</script>",
    "a cut PNG": saved("PNG")[:-40],
    "a cut JPEG": saved("JPEG")[:200],
    "a bomb": png(60_000, 60_000),
    "a bomb within what Pillow allows": png(12_000, 12_000),
    "a strip": png(60_000, 1),
    "a picture of no pixels": png(0, 0),
    "a PNG of rubbish": png(9, 9, data=b"rubbish"),
    "a list of paths": b"/etc/passwd\n",
    "zeroes": bytes(10_000),
}


def test_what_is_no_picture_is_refused(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drafts").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "drafts"))
    for what, data in HOSTILE.items():
        answer = client.post(f"{API}/uploads", content=data, headers={"content-type": "image/png"})
        assert answer.status_code == 422, what
        sentence = problem(answer, "unprocessable", 422)
        assert sentence.startswith("The body must be a picture, got "), what
        assert "drafts" not in sentence
        assert "chiasm-upload" not in sentence
    assert not [*(tmp_path / "drafts").iterdir()]


def test_a_picture_that_is_something_else_too_comes_back_as_a_picture(client: Any, tmp_path: Path) -> None:
    script = b"<script>alert(document.cookie)</script>"
    for data in (saved("PNG") + script, saved("GIF", comment=script), saved("JPEG", comment=script)):
        sent = client.post(f"{API}/uploads", content=data, headers={"content-type": "text/html"})
        assert sent.status_code == 201
        answer = client.get(f"{API}/uploads/{sent.json()['id']}/thumbnail")
        assert script not in answer.content
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(BytesIO(answer.content)).format == "JPEG"


@pytest.fixture
def misbehaving_client(
    serve: Serve, colour_index: ImageIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """A server whose decoders crash and hang over pictures of certain widths."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setattr(decode_pool, "_forker", None)
    start_decoders(wait=True)
    from misbehaving_upload import MisbehavingUpload  # type: ignore[import-not-found]

    monkeypatch.setattr(colour_index.backbone, "preprocess", MisbehavingUpload(), raising=False)
    monkeypatch.setattr(uploads, "DECODE_S", 3.0)
    yield serve(colour_index)
    assert decode_pool._forker is not None
    decode_pool._forker.end()


def test_a_picture_that_kills_or_holds_its_decoder_costs_one_request(misbehaving_client: Any) -> None:
    client = misbehaving_client

    def send(width: int) -> Any:
        buffer = BytesIO()
        Image.new("RGB", (width, 10), "red").save(buffer, "PNG")
        return client.post(f"{API}/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})

    by_name = ids_by_name(client)
    assert "crashes its decoder" in problem(send(CRASHES), "unprocessable", 422)
    assert send(30).status_code == 201
    with ThreadPoolExecutor(2) as threads:
        hanging = [threads.submit(send, HANGS) for _ in range(2)]
        # All else is answered meanwhile: pictures, searches, health.
        assert client.get(f"{API}/pictures/{by_name['red']}/thumbnail").status_code == 200
        assert client.get(f"{API}/pictures/{by_name['red']}/original").status_code == 200
        assert client.post(f"{API}/search", json={"terms": [{"text": "red"}]}).status_code == 200
        assert not any(one.done() for one in hanging)
        for one in hanging:
            assert "takes longer than 3 s" in problem(one.result(), "unprocessable", 422)
    assert send(31).status_code == 201
