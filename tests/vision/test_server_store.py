"""Stores on a server: addresses, records, and what is said when the server does not play along."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from data.errors import BadFileError, MissingDependencyError, ParameterError
from vision.store import server_store
from vision.store.server_store import ServerAddress, ServerStore, connect, server_address

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning"
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("qdrant://host:6333/name", "http://host:6333"),
        ("qdrant://host/name/", "http://host:6333"),
        ("qdrants://db.example.org:443/name", "https://db.example.org:443"),
        ("qdrant://[::1]:7000/name", "http://[::1]:7000"),
    ],
)
def test_an_address_is_read(text: str, url: str) -> None:
    assert server_address(text) == ServerAddress(url=url, name="name")


@pytest.mark.parametrize(
    "text",
    ["qdrant://host", "qdrant:///name", "qdrant://host:x/name", "http://host/name", "qdrant://h/a/b", "name"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="store must be qdrant://HOST:PORT/NAME"):
        server_address(text)


def test_a_key_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ParameterError, match="QDRANT_API_KEY") as refused:
        server_address("qdrant://user:secret@host/name")
    assert "secret" not in str(refused.value)


def test_a_record_lives_with_its_collection() -> None:
    from qdrant_client import QdrantClient

    client = QdrantClient(":memory:")
    store = ServerStore.create(client, "pictures", 3, stemming=False)
    assert store.describe() == {}
    store.write_description({"name": "clip:x", "dim": 3, "roots": ["/a"]})
    store.write_description({"roots": ["/b"], "finished": True})
    record = {"name": "clip:x", "dim": 3, "roots": ["/b"], "finished": True}
    assert ServerStore.open(client, "pictures").describe() == record
    with pytest.raises(BadFileError, match="must be new, got 'pictures', which is there already"):
        ServerStore.create(client, "pictures", 3)
    store.remove()
    with pytest.raises(BadFileError, match="on the server, got no 'pictures' there"):
        ServerStore.open(client, "pictures")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'chiasm\[qdrant\]'"):
        ServerStore.open("http://localhost:1", "pictures")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(
        BadFileError, match=r"Qdrant server of 'pictures' .* got no answer .*check the address"
    ):
        ServerStore.open("http://127.0.0.1:9", "pictures")


Answer = Callable[[str, str, Any], tuple[int, Any]]


@contextmanager
def listening(answer: Answer, keys: list[str | None]) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """A server on this machine that answers as told, and notes method, path, body and key of each request."""
    seen: list[tuple[str, str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            keys.append(self.headers.get("api-key"))
            seen.append((self.command, self.path, json.loads(body) if body else None))
            status, result = answer(*seen[-1])
            text = json.dumps(result).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (403, "forbidden", "got a refusal; set QDRANT_API_KEY"),
        (500, "disk is full", "got 500, disk is full; look at the server's log"),
    ],
)
def test_what_a_server_refuses_is_told(status: int, error: str, said: str) -> None:
    with listening(lambda *request: (status, {"status": {"error": error}}), []) as (url, _):
        store = ServerStore(connect(url), "pictures", owns_client=True)
        with pytest.raises(BadFileError) as refused:
            store.count()
        assert said in str(refused.value)
        store.close()


def test_the_graph_waits_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real server is told; how far it is comes from its own count."""
    monkeypatch.setattr(server_store, "POLL_S", 0.01)
    indexed = iter([0, 40, 100])

    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        result: Any = True
        if path.endswith("/exists"):
            result = {"exists": False}
        elif path.endswith("/points/count"):
            result = {"count": 100}
        elif method == "GET":
            result = {**COLLECTION, "indexed_vectors_count": next(indexed)}
        elif "/index" in path:
            result = {"operation_id": 1, "status": "completed"}
        return 200, {"result": result, "status": "ok", "time": 0.0}

    with listening(answer, []) as (url, seen):
        store = ServerStore.create(url, "pictures", 8)
        (made,) = [body for method, path, body in seen if (method, path) == ("PUT", "/collections/pictures")]
        assert made["optimizers_config"]["indexing_threshold"] == 0
        tables = {body["field_name"]: body["field_schema"] for _, path, body in seen if "/index" in path}
        assert tables["width"] == "float"
        assert tables["gps"] == "geo"
        assert tables["caption"]["scoring"] is True
        assert tables["caption"]["stemmer"]["language"] == "english"
        told: list[tuple[int, int]] = []
        store.optimize(lambda done, total: told.append((done, total)))
        assert told == [(0, 100), (40, 100), (100, 100)]
        (changed,) = [body for method, _, body in seen if method == "PATCH"]
        assert changed == {"optimizers_config": {"indexing_threshold": 1}}
        store.close()


def test_a_collection_is_made_whole_or_not_at_all() -> None:
    def answer(method: str, path: str, body: Any) -> tuple[int, Any]:
        if "/index" in path and body["field_name"] == "caption":
            return 500, {"status": {"error": "no room"}}
        result = {"exists": False} if path.endswith("/exists") else True
        done = {"operation_id": 1, "status": "completed"}
        return 200, {"result": done if "/index" in path else result, "status": "ok", "time": 0.0}

    with listening(answer, []) as (url, seen), pytest.raises(BadFileError, match="no room"):
        ServerStore.create(url, "pictures", 8)
    assert seen[-1][:2] == ("DELETE", "/collections/pictures")


COLLECTION = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "points_count": 100,
    "payload_schema": {},
    "config": {
        "params": {"vectors": {"size": 8, "distance": "Cosine"}},
        "hnsw_config": {"m": 16, "ef_construct": 128, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
    },
}


def test_rows_go_out_in_parcels_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_store, "SENT", 4)
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    result = {"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.0}
    keys: list[str | None] = []
    with listening(lambda *request: (200, result), keys) as (url, seen):
        with pytest.warns(UserWarning, match="insecure connection"):
            store = ServerStore(connect(url), "pictures", owns_client=True)
        store.upsert([str(at) for at in range(10)], np.ones((10, 8), np.float32), [{"width": 1}] * 10)
        store.close()
    assert [len(body["points"]) for _, _, body in seen] == [4, 4, 2]
    assert all("wait=true" in path for _, path, _ in seen)
    assert keys == ["secret"] * 3
