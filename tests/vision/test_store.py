"""Stores of vectors against a dictionary and a matrix product, and a store's folder against accidents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import BadFileError
from vision.retrieval import ImageIndex
from vision.store import edge_graph, edge_store, server_store
from vision.store.edge_store import EdgeStore
from vision.store.fields import FIELDS, PATH, column_key
from vision.store.place import CollectionModel
from vision.store.server_store import ServerStore
from vision.store.store_folder import StoreFolder
from vision.store.vector_store import VectorStore
from vision.store.where import Compare

DIM = 24
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]


def ids(count: int) -> list[str]:
    return [str(uuid.UUID(int=number)) for number in range(count)]


def payloads(count: int) -> list[dict[str, Any]]:
    return [
        {"number": number, "files": [{"path": f"/a/{number}", "mtime_ns": 2**60 + number}, {"path": "/b"}]}
        for number in range(count)
    ]


def vectors(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal(size=(count, DIM)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def memory_store(dim: int = DIM) -> ServerStore:
    from qdrant_client import QdrantClient

    return ServerStore.create(QdrantClient(":memory:"), "pictures", dim, stemming=False)


@pytest.fixture(params=["edge", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    """Each engine in turn: what holds for one holds for the other."""
    store = EdgeStore.create(tmp_path / "store", DIM) if request.param == "edge" else memory_store()
    yield store
    store.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_store, "PAGE", 7)
    monkeypatch.setattr(server_store, "PAGE", 7)
    monkeypatch.setattr(server_store, "SENT", 7)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_graph, "TICK_S", 0.05)
    monkeypatch.setattr(server_store, "POLL_S", 0.01)
    monkeypatch.setattr(server_store, "PATIENCE_S", 0.02)


def test_search_is_exact_and_pages_join(store: VectorStore, rng: np.random.Generator) -> None:
    rows, query = vectors(rng, 500), vectors(rng, 1)[0]
    store.upsert(ids(500), rows, payloads(500))
    cosines = unit(rows) @ unit(query)
    order = np.argsort(-cosines)
    found = store.search(query, 40)
    assert [row.payload["number"] for row in found] == order[:40].tolist()
    np.testing.assert_allclose([row.score for row in found], cosines[order[:40]], atol=1e-6)
    pages = [row for start in range(0, 40, 8) for row in store.search(query, 8, offset=start)]
    assert [row.id for row in pages] == [row.id for row in found]
    assert store.search(query, 10, offset=500) == []


def test_search_heeds_a_filter(store: VectorStore, rng: np.random.Generator) -> None:
    rows, query = vectors(rng, 200), vectors(rng, 1)[0]
    store.upsert(ids(200), rows, [{"width": number % 10} for number in range(200)])
    narrow = Compare(field=FIELDS["width"], operator="<", value=2)
    order = [at for at in np.argsort(-unit(rows) @ unit(query)) if at % 10 < 2]
    for exact in (False, True):
        found = store.search(query, 15, where=narrow, exact=exact)
        assert [uuid.UUID(row.id).int for row in found] == order[:15]
    assert store.count(narrow) == 40
    assert sorted(uuid.UUID(row.id).int for row in store.scan(narrow)) == sorted(order)
    assert store.count() == 200


def test_the_tally_of_rows_is_right_whatever_was_done(store: VectorStore, rng: np.random.Generator) -> None:
    everything = Compare(field=FIELDS["width"], operator=">=", value=0)
    held = dict.fromkeys(ids(300), 1)
    store.upsert(ids(300), vectors(rng, 300), [{"width": 1}] * 300)
    for turn in range(12):
        some = [ids(400)[at] for at in rng.choice(400, 60, replace=False)]
        if turn % 3 == 2:
            store.delete(some)
            held = {id: 1 for id in held if id not in some}
        else:
            store.upsert(some, vectors(rng, 60), [{"width": turn}] * 60)
            held |= dict.fromkeys(some, 1)
        if turn in (4, 7):
            store.optimize()
        assert store.count() == store.count(everything) == store.facts().rows == len(held)


def test_values_are_counted_row_by_row(store: VectorStore, rng: np.random.Generator) -> None:
    rows: list[dict[str, Any]] = [
        {"format": "PNG", "files": [{"tags": ["sea", "sea"]}, {"tags": ["sea", "holiday"]}]},
        {"format": "PNG", "files": [{"tags": ["sea"]}], "columns": {"kind": "food", "odd name": "x"}},
        {"format": "JPEG", "columns": {"kind": "food", "sure": 0.5}},
        {},
    ]
    store.upsert(ids(4), vectors(rng, 4), rows)
    assert store.values("format", 10) == [("PNG", 2), ("JPEG", 1)]
    assert store.values("format", 1) == [("PNG", 2)]
    assert store.values("files[].tags", 10) == [("sea", 2), ("holiday", 1)]
    assert store.values(column_key("kind"), 10) == [("food", 2)]
    assert store.values(column_key("odd name"), 10) == [("x", 1)]
    assert store.values(column_key("sure"), 10) == store.values(column_key("nobody"), 10) == []
    store.replace_payload(ids(4)[3], {"columns": {"kind": "animal"}})
    assert store.values(column_key("kind"), 10) == [("food", 2), ("animal", 1)]


def test_rows_come_back_as_they_were_put(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(4), vectors(rng, 4), payloads(4))
    back = store.get([ids(4)[2], str(uuid.uuid4())])
    assert [(row.id, dict(row.payload)) for row in back] == [(ids(4)[2], payloads(4)[2])]
    store.replace_payload(ids(4)[2], {"new": True})
    assert [dict(row.payload) for row in store.get(ids(4)[2:3])] == [{"new": True}]
    store.delete([*ids(2), str(uuid.uuid4())])
    assert sorted(row.id for row in store.scan()) == ids(4)[2:]


def test_nothing_asked_is_nothing_done(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert([], vectors(rng, 0), [])
    store.delete([])
    assert store.get([]) == []
    assert store.vectors([]) == {}
    assert store.find(PATH, []) == []
    assert list(store.scan()) == []
    assert list(store.scan_vectors()) == []
    assert store.search(vectors(rng, 1)[0], 3) == []
    assert store.count() == store.facts().rows == 0
    store.optimize()


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(["upsert", "replace", "delete"]), st.sets(st.integers(0, 9), min_size=1)),
        max_size=8,
    ),
    seed=st.integers(0, 99),
)
def test_it_holds_what_a_dictionary_would(
    store: VectorStore, changes: list[tuple[str, set[int]]], seed: int
) -> None:
    rng, held = np.random.default_rng(seed), {}
    store.delete(ids(10))
    for turn, (kind, numbers) in enumerate(changes):
        some = [ids(10)[number] for number in sorted(numbers)]
        if kind == "upsert":
            rows = vectors(rng, len(some))
            store.upsert(some, rows, [{"turn": turn}] * len(some))
            held |= {id: (turn, row) for id, row in zip(some, unit(rows), strict=True)}
        elif kind == "delete":
            store.delete(some)
            held = {id: kept for id, kept in held.items() if id not in some}
        elif some[0] in held:
            store.replace_payload(some[0], {"turn": turn})
            held[some[0]] = (turn, held[some[0]][1])
    assert {row.id: row.payload["turn"] for row in store.scan()} == {id: held[id][0] for id in held}
    found = store.vectors(ids(10))
    assert found.keys() == held.keys()
    for id, vector in found.items():
        np.testing.assert_allclose(vector, held[id][1], atol=1e-6)
    assert store.count() == len(held)


@pytest.mark.usefixtures("small_pages")
def test_vectors_come_in_the_order_of_ids(store: VectorStore, rng: np.random.Generator) -> None:
    rows = vectors(rng, 50)
    store.upsert(ids(50)[::-1], rows[::-1], payloads(50))
    pages = list(store.scan_vectors(8))
    assert [len(page_ids) for page_ids, _ in pages] == [8] * 6 + [2]
    assert [id for page_ids, _ in pages for id in page_ids] == ids(50)
    joined = np.concatenate([page for _, page in pages])
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, unit(rows), atol=1e-6)
    (one,) = store.vectors([ids(50)[3], str(uuid.uuid4())]).values()
    np.testing.assert_allclose(one, unit(rows)[3], atol=1e-6)


def test_find_reaches_into_lists(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(30), vectors(rng, 30), payloads(30))
    found = store.find(PATH, ["/a/3", "/a/7", "/a/"])
    assert sorted(row.payload["number"] for row in found) == [3, 7]
    assert len(store.find(PATH, ["/b"])) == 30


@pytest.mark.usefixtures("small_pages")
def test_a_scan_goes_on_behind_an_id(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(30), vectors(rng, 30), payloads(30))
    assert [row.id for row in store.scan()] == ids(30)
    for after in (0, 6, 7, 28, 29):
        assert [row.id for row in store.scan(after=ids(30)[after])] == ids(30)[after + 1 :]
    store.delete([ids(30)[5]])  # what the last page ended with may have gone since
    assert [row.id for row in store.scan(after=ids(30)[5])] == ids(30)[6:]


@pytest.mark.usefixtures("small_pages")
def test_scan_pages_while_rows_change(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(50), vectors(rng, 50), payloads(50))
    seen = []
    for row in store.scan():
        seen.append(row.id)
        store.delete([row.id])
    assert sorted(seen) == ids(50)
    assert store.count() == 0


def test_captions_are_ranked_by_their_words(store: VectorStore, rng: np.random.Generator) -> None:
    captions = ["a dog on a beach", "dog dog dog", "a cat", "Dog, BEACH and sea: all of it far away", None]
    store.upsert(
        ids(5), vectors(rng, 5), [{"caption": text, "width": at} for at, text in enumerate(captions)]
    )

    def found(text: str, **options: Any) -> list[int]:
        return [row.payload["width"] for row in store.search_words(text, 10, **options)]

    assert set(found("beach dog")) == {0, 1, 3}
    assert found("beach dog")[0] == 0
    assert found("cat") == [2]
    assert found("zebra") == []
    scores = [row.score for row in store.search_words("beach dog", 10)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert found("dog", where=Compare(field=FIELDS["width"], operator=">", value=1)) == [3]
    assert len(store.search_words("dog", 2)) == 2
    store.replace_payload(ids(5)[2], {"caption": "a dog", "width": 2})
    assert found("cat") == []
    assert 2 in found("dog")


def test_threads_may_read_at_once(store: VectorStore, rng: np.random.Generator) -> None:
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


def test_optimizing_tells_how_far_it_is(store: VectorStore, rng: np.random.Generator) -> None:
    store.upsert(ids(300), vectors(rng, 300), payloads(300))
    told: list[tuple[int, int]] = []
    store.optimize(lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {300}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert store.facts().rows == 300


# Of Qdrant Edge alone


@pytest.fixture
def edge_shard(tmp_path: Path) -> Iterator[EdgeStore]:
    store = EdgeStore.create(tmp_path / "store", DIM)
    yield store
    store.close()


def test_a_graph_is_built_when_asked_for_and_no_sooner(
    edge_shard: EdgeStore, rng: np.random.Generator
) -> None:
    rows = vectors(rng, 3000)
    edge_shard.upsert(ids(3000), rows, payloads(3000))
    assert edge_shard.facts().graph_rows == 0
    edge_shard.optimize()
    facts = edge_shard.facts()
    assert facts.graph_rows == facts.rows == 3000
    assert facts.disk_bytes is not None
    assert facts.disk_bytes > rows.nbytes
    more = vectors(rng, 5)
    edge_shard.upsert(ids(3005)[3000:], more, [{"new": True}] * 5)
    assert edge_shard.search(more[2], 1)[0].id == ids(3005)[3002]
    truth = np.argsort(-unit(rows) @ unit(rows[7]))[:10]
    found = edge_shard.search(rows[7], 10, exact=True)
    assert len({uuid.UUID(row.id).int for row in found} & set(truth.tolist())) == 10


def test_building_can_be_broken_off(edge_shard: EdgeStore, rng: np.random.Generator, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if len(calls) == 3:
            raise KeyboardInterrupt

    rows, calls = vectors(rng, 6000), list[tuple[int, int]]()
    edge_shard.upsert(ids(6000), rows, [{}] * 6000)
    with pytest.raises(KeyboardInterrupt):
        edge_shard.optimize(stop)
    assert calls == [(0, 6000)] * 3
    assert edge_shard.facts().graph_rows == 0
    assert edge_shard.search(rows[7], 1)[0].id == ids(6000)[7]
    assert not list((tmp_path / "store/temp_segments").glob("*"))


def test_a_builder_that_fails_is_told(edge_shard: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_graph, "_BUILD", "raise SystemExit('no space left')")
    with pytest.raises(BadFileError, match="no space left"):
        edge_shard.optimize()
    assert edge_shard.count() == 0


def test_captions_match_without_their_english_endings(
    edge_shard: EdgeStore, rng: np.random.Generator
) -> None:
    captions = ["Two dogs are running on the beaches", "A cat", "Café"]
    edge_shard.upsert(ids(3), vectors(rng, 3), [{"caption": text} for text in captions])
    assert [row.id for row in edge_shard.search_words("the dog runs on a beach", 5)] == [ids(3)[0]]
    assert [row.id for row in edge_shard.search_words("cafe", 5)] == [ids(3)[2]]
    assert edge_shard.search_words("the", 5) == []


def test_it_opens_again_with_all_it_held(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = vectors(rng, 100)
    first = EdgeStore.create(tmp_path / "store", DIM)
    first.upsert(ids(100), rows, payloads(100))
    expected = first.search(rows[5], 10)
    first.close()
    first.close()
    with pytest.raises(ValueError, match="closed"):
        first.count()
    second = EdgeStore.open(tmp_path / "store")
    assert second.search(rows[5], 10) == expected
    assert len(second.find(PATH, ["/a/9"])) == 1
    second.close()


def test_a_store_of_an_earlier_version_gets_the_missing_tables(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    import qdrant_edge as edge

    params = edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine)
    (tmp_path / "old").mkdir()
    old = edge.EdgeShard.create(str(tmp_path / "old"), edge.EdgeConfig(vectors=params, wal_enabled=True))
    payload = {"caption": "a dog", "files": [{"path": "/a"}]}
    point = edge.Point(ids(1)[0], vectors(rng, 1)[0].tolist(), payload)
    old.update(edge.UpdateOperation.upsert_points([point]))
    old.close()
    store = EdgeStore.open(tmp_path / "old")
    assert [row.id for row in store.search_words("dogs", 5)] == ids(1)
    assert len(store.find(PATH, ["/a"])) == 1
    store.optimize()
    store.close()


def test_the_wrong_length_and_a_second_holder_are_refused(edge_shard: EdgeStore, tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="expected dim: 24, got 3"):
        edge_shard.upsert(ids(1), np.ones((1, 3), np.float32), [{}])
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
        "import sys; from vision.store.store_folder import StoreFolder;"
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
