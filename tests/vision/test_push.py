"""Copying stores: all of it arrives, again and again is the same as once, and a break is made good."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vision.store import push as pushing
from vision.store.edge_store import EdgeStore
from vision.store.push import push
from vision.store.server_store import ServerStore
from vision.store.vector_store import VectorStore

DIM = 6
IDS = [str(uuid.UUID(int=number)) for number in range(25)]
pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning"
)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Iterator[EdgeStore]:
    store = EdgeStore.create(tmp_path / "source", DIM)
    rows = rng.normal(size=(len(IDS), DIM)).astype(np.float32)
    store.upsert(IDS, rows, [{"width": at, "files": [{"path": f"/{at}"}]} for at in range(len(IDS))])
    yield store
    store.close()


@pytest.fixture
def target() -> ServerStore:
    from qdrant_client import QdrantClient

    return ServerStore.create(QdrantClient(":memory:"), "copy", DIM, stemming=False)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PAGE", 10)


def content(store: VectorStore) -> dict[str, tuple[Any, list[float]]]:
    vectors = store.vectors(IDS)
    return {row.id: (dict(row.payload), vectors[row.id].round(5).tolist()) for row in store.scan()}


def test_a_copy_is_the_same_both_ways(source: EdgeStore, target: ServerStore, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    assert push(source, target, progress=lambda done, total: told.append((done, total))) == 25
    assert told == [(0, 25), (10, 25), (20, 25), (25, 25)]
    assert content(target) == content(source)
    back = EdgeStore.create(tmp_path / "back", DIM)
    assert push(target, back) == 25
    assert content(back) == content(source)
    back.close()


def test_only_what_differs_is_written_again(source: EdgeStore, target: ServerStore) -> None:
    push(source, target)
    assert push(source, target) == 0
    source.replace_payload(IDS[3], {"width": -1})
    target.delete(IDS[5:7])
    assert push(source, target) == 3
    assert content(target) == content(source)


def test_a_break_is_made_good(source: EdgeStore, target: ServerStore) -> None:
    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(source, target, progress=stop)
    assert target.count() == 20
    assert push(source, target) == 5
    assert content(target) == content(source)


def test_nothing_is_removed_unless_asked(source: EdgeStore, target: ServerStore) -> None:
    push(source, target)
    source.delete(IDS[:15])
    assert push(source, target) == 0
    assert target.count() == 25
    assert push(source, target, prune=True) == 0
    assert content(target) == content(source)
