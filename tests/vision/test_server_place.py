"""An index on a server, by way of the client's own in-memory mode: pushed, opened, extended, turned over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from vision.retrieval import ImageIndex
from vision.retrieval.reindex import Reindexing
from vision.store.addresses import stored_model
from vision.store.server_place import ServerPlace

ADDRESS = "qdrant://example:6333/photos"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[QdrantClient]:
    """Every address leads to one in-memory server, which outlives its connections."""
    client = QdrantClient(":memory:")

    def connected(address: str) -> ServerPlace:
        return ServerPlace(client, address.rpartition("/")[2], address, stemming=False)

    monkeypatch.setattr(ServerPlace, "connected", connected)
    monkeypatch.setattr(ServerPlace, "close", lambda self: None)
    yield client
    client.close()


@pytest.fixture
def store(album: Path, tmp_path: Path, colours: Any) -> Path:
    with ImageIndex.create(tmp_path / "s", colours) as index:
        index.add_folder([album])
        index.set_captions({album / "red.png": "a tomato"})
    return tmp_path / "s"


def test_a_pushed_index_answers_as_the_folder_does(
    server: QdrantClient, store: Path, album: Path, colours: Any
) -> None:
    with ImageIndex.open(store, colours) as index:
        assert index.push(ADDRESS) == 5
        here = [(hit.path, round(hit.score, 5)) for hit in index.search("red", where="width > 20")]
    with ImageIndex.open(ADDRESS, colours) as index:
        assert [(hit.path, round(hit.score, 5)) for hit in index.search("red", where="width > 20")] == here
        assert index.notes.captions
        assert index.search("tomato red", k=1)[0].by_caption
        (album / "red.png").rename(album / "tomato.png")
        assert index.add_folder([album]).moved == 1
        assert index.model == stored_model(ADDRESS)


def test_pushing_again_brings_the_copy_up_to_date(
    server: QdrantClient, store: Path, album: Path, colours: Any
) -> None:
    with ImageIndex.open(store, colours) as index:
        index.push(ADDRESS)
        (album / "red.png").unlink()
        index.add_folder([album], prune=True)
        assert index.push(ADDRESS) == 0
    with ImageIndex.open(ADDRESS, colours) as copy:
        assert len(copy) == 4


def test_another_model_is_refused_and_can_take_over(
    server: QdrantClient, store: Path, album: Path, colours: Any, other_model: Any
) -> None:
    with ImageIndex.open(store, colours) as index:
        index.push(ADDRESS)
    with pytest.raises(FingerprintMismatchError, match="fake:others"):
        ImageIndex.open(ADDRESS, other_model)
    other = ImageIndex.create(store.with_name("o"), other_model)
    with other, pytest.raises(FingerprintMismatchError):
        other.push(ADDRESS)
    with Reindexing.open(ADDRESS) as work:
        assert work.run(other_model, "exact").added == 5
    with ImageIndex.open(ADDRESS, other_model) as index:
        assert len(index) == 5
    assert len(server.get_collections().collections) == 1


def test_an_index_can_begin_on_a_server(server: QdrantClient, album: Path, colours: Any) -> None:
    assert stored_model(ADDRESS) is None
    with pytest.raises(BadFileError, match="index must be finished"):
        ImageIndex.open(ADDRESS)
    with ImageIndex.create(ADDRESS, colours) as index:
        assert index.add_folder([album]).added == 5
    with ImageIndex.create(ADDRESS, colours) as index:
        assert index.search("blue", k=1)[0].path.name == "blue.png"


def test_a_bad_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="store must be qdrant://HOST:PORT/NAME"):
        ImageIndex.open("qdrant://example")


def test_a_server_that_does_not_answer_is_one_error(colours: Any) -> None:
    with pytest.raises(BadFileError, match="reachable and willing, got no answer"):
        ImageIndex.open("qdrant://127.0.0.1:9/photos", colours)
