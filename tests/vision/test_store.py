"""The vector store against a dictionary and a matrix product, and the folder around it against accidents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import BadFileError
from vision.retrieval import ImageIndex, edge_store
from vision.retrieval.edge_store import EdgeStore
from vision.retrieval.store import VectorStore
from vision.retrieval.store_folder import CollectionModel, StoreFolder

DIM = 24


def ids(count: int) -> list[str]:
    return [str(uuid.UUID(int=number)) for number in range(count)]


def payloads(count: int) -> list[dict[str, Any]]:
    return [
        {"number": number, "files": [{"path": f"/a/{number}", "mtime_ns": 2**60 + number}, {"path": "/b"}]}
        for number in range(count)
    ]


def vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=(count, DIM)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = EdgeStore.create(tmp_path / "store", DIM, keyword_fields=["files[].path"])
    yield store
    store.close()


def test_it_keeps_the_protocol(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(3), vectors(rng, 3), payloads(3))
    assert store.count() == 3


def test_search_is_exact_and_pages_join(store: EdgeStore, rng: np.random.Generator) -> None:
    rows, query = vectors(rng, 500), vectors(rng, 1)[0]
    store.upsert(ids(500), rows, payloads(500))
    cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosines)
    found = store.search(query, 40)
    assert [row.payload["number"] for row in found] == order[:40].tolist()
    np.testing.assert_allclose([row.score for row in found], cosines[order[:40]], atol=1e-6)
    pages = [row for start in range(0, 40, 8) for row in store.search(query, 8, offset=start)]
    assert pages == found
    assert store.search(query, 10, offset=500) == []


def test_rows_come_back_as_they_were_put(store: EdgeStore, rng: np.random.Generator) -> None:
    store.upsert(ids(4), vectors(rng, 4), payloads(4))
    back = store.get([ids(4)[2], str(uuid.uuid4())])
    assert [(row.id, dict(row.payload)) for row in back] == [(ids(4)[2], payloads(4)[2])]
    store.replace_payload(ids(4)[2], {"new": True})
    assert [dict(row.payload) for row in store.get(ids(4)[2:3])] == [{"new": True}]
    store.delete([*ids(2), str(uuid.uuid4())])
    assert sorted(row.id for row in store.scan()) == ids(4)[2:]


def test_find_reaches_into_lists(store: EdgeStore, rng: np.random.Generator) -> None:
    store.upsert(ids(30), vectors(rng, 30), payloads(30))
    found = store.find("files[].path", ["/a/3", "/a/7", "/a/"])
    assert sorted(row.payload["number"] for row in found) == [3, 7]
    assert len(store.find("files[].path", ["/b"])) == 30


def test_scan_pages_while_rows_change(
    store: EdgeStore, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_store, "PAGE", 7)
    store.upsert(ids(50), vectors(rng, 50), payloads(50))
    seen = []
    for row in store.scan():
        seen.append(row.id)
        store.delete([row.id])
    assert sorted(seen) == ids(50)
    assert store.count() == 0


def test_threads_may_read_at_once(store: EdgeStore, rng: np.random.Generator) -> None:
    store.upsert(ids(50), vectors(rng, 50), payloads(50))
    found: list[int] = []

    def read() -> None:
        found.extend(len(store.get(ids(50))) for _ in range(50))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [50] * 200


def test_it_opens_again_with_all_it_held(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = vectors(rng, 100)
    first = EdgeStore.create(tmp_path / "store", DIM, keyword_fields=["files[].path"])
    first.upsert(ids(100), rows, payloads(100))
    expected = first.search(rows[5], 10)
    first.close()
    first.close()
    with pytest.raises(ValueError, match="closed"):
        first.count()
    second = EdgeStore.open(tmp_path / "store")
    assert second.search(rows[5], 10) == expected
    assert len(second.find("files[].path", ["/a/9"])) == 1
    second.close()


def test_the_wrong_length_and_a_second_holder_are_refused(store: EdgeStore, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="expected dim: 24, got 3"):
        store.upsert(ids(1), np.ones((1, 3), np.float32), [{}])
    with pytest.raises(BadFileError, match="another process holds"):
        EdgeStore.open(tmp_path / "store")


@pytest.mark.parametrize("damage", ["edge_config.json", "segments/*/segment.json", "wal/first-index"])
def test_a_damaged_store_says_so(tmp_path: Path, rng: np.random.Generator, damage: str) -> None:
    store = EdgeStore.create(tmp_path / "store", DIM)
    store.upsert(ids(9), vectors(rng, 9), payloads(9))
    store.close()
    (place,) = (tmp_path / "store").glob(damage)
    place.write_bytes(place.read_bytes()[:5])
    with pytest.raises(BadFileError, match="vectors of the store must be readable"):
        EdgeStore.open(tmp_path / "store")


# The folder around it


def refusal(path: Path, opening: Any = StoreFolder.open) -> str:
    with pytest.raises(BadFileError) as refused:
        opening(path, wait_s=0.1)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_what_is_no_store_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    (tmp_path / "file").touch()
    assert "got nothing there; make it with `vision index" in refusal(tmp_path / "missing")
    assert "got a folder without one" in refusal(tmp_path / "photos")
    assert "got a file" in refusal(tmp_path / "file")
    assert "got one with other things in it ('a.jpg'" in refusal(tmp_path / "photos", StoreFolder.create)
    assert "writable folder, got File exists" in refusal(tmp_path / "file", StoreFolder.create)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jpg", "file", "photos"]


def test_a_later_format_and_a_damaged_marker_are_refused(tmp_path: Path) -> None:
    StoreFolder.create(tmp_path / "s").close()
    marker = tmp_path / "s/chiasm-index.json"
    marker.write_text(json.dumps({"format": 9, "current": None}))
    assert "must be of format 1, got format 9" in refusal(tmp_path / "s")
    for text in ("{", "[]", "\xff"):
        marker.write_bytes(text.encode("latin-1"))
        assert "must be readable JSON" in refusal(tmp_path / "s")


def test_one_holder_at_a_time_in_one_process(tmp_path: Path) -> None:
    folder = StoreFolder.create(tmp_path / "s")
    assert "in use by process" in refusal(tmp_path / "s")
    folder.close()
    StoreFolder.open(tmp_path / "s").close()


def test_another_process_is_named_and_its_death_frees_the_store(tmp_path: Path) -> None:
    script = (
        "import sys; from vision.retrieval.store_folder import StoreFolder;"
        "folder = StoreFolder.create(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert f"in use by process {holder.pid}; wait for it to end" in refusal(tmp_path / "s")
        holder.kill()
        holder.wait()
        StoreFolder.open(tmp_path / "s").close()


def test_a_waiting_process_gets_the_store_when_it_is_free(tmp_path: Path) -> None:
    folder = StoreFolder.create(tmp_path / "s")
    timer = threading.Timer(0.2, folder.close)
    timer.start()
    StoreFolder.open(tmp_path / "s", wait_s=20).close()
    timer.join()


def test_making_that_was_interrupted_starts_over(tmp_path: Path, colours: Any) -> None:
    folder = StoreFolder.create(tmp_path / "s")
    model = CollectionModel(name=colours.name, fingerprint=colours.fingerprint, dim=3)
    folder.begin(model).close()
    (rubbish,) = (tmp_path / "s").glob("collections/*/vectors")
    shutil.rmtree(rubbish)
    rubbish.mkdir()
    (rubbish / "half").touch()
    folder.close()
    with pytest.raises(BadFileError, match="index must be finished, got one begun only"):
        ImageIndex.open(tmp_path / "s")
    ImageIndex.create(tmp_path / "s", colours).close()
    ImageIndex.open(tmp_path / "s", colours).close()
    assert not (rubbish / "half").exists()


def test_a_model_record_that_lacks_a_field_is_refused(tmp_path: Path, colours: Any) -> None:
    ImageIndex.create(tmp_path / "s", colours).close()
    (record,) = (tmp_path / "s").glob("collections/*/model.json")
    record.write_text('{"name": "x"}')
    with pytest.raises(BadFileError, match="record of the store"):
        ImageIndex.open(tmp_path / "s")
