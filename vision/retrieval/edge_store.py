"""Qdrant Edge as a `VectorStore`: in this process, in one folder, with a write-ahead log.

Shape legend: N rows, E components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge as edge

from data.errors import BadFileError
from vision.retrieval.store import Payload, Row, Vectors

PAGE = 1000


class EdgeStore:
    """A shard of Qdrant Edge in `folder`; only one process may hold it at a time.

    Qdrant's log reaches the operating system before `upsert` returns, so that a killed process loses nothing
    that was acknowledged; a power cut may take what was not yet written to the disk (`close` writes it out).
    """

    def __init__(self, shard: edge.EdgeShard, folder: Path):
        self._shard: edge.EdgeShard | None = shard
        self._folder = folder

    @classmethod
    def create(cls, folder: Path, dim: int, *, keyword_fields: Sequence[str] = ()) -> EdgeStore:
        """An empty shard for vectors of `dim` components, with a look-up table for each of `keyword_fields`.

        Raises:
            BadFileError: the folder cannot be written, or holds a shard already.
        """
        with _telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            vectors = edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine)
            shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors=vectors, wal_enabled=True))
            for field in keyword_fields:
                shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
        return cls(shard, folder)

    @classmethod
    def open(cls, folder: Path) -> EdgeStore:
        """The shard that `create` made; what its log holds beyond the last flush is replayed.

        Raises:
            BadFileError: there is no shard, it is damaged, or another process holds it.
        """
        with _telling(folder):
            return cls(edge.EdgeShard.load(str(folder)), folder)

    def upsert(self, ids: Sequence[str], vectors_NE: Vectors, payloads: Sequence[Payload]) -> None:
        """Add rows, or replace those whose id is already there."""
        rows = zip(ids, vectors_NE.tolist(), payloads, strict=True)
        points = [edge.Point(id, vector, dict(payload)) for id, vector, payload in rows]
        self._update(edge.UpdateOperation.upsert_points(points))

    def replace_payload(self, id: str, payload: Payload) -> None:
        """Put `payload` in the place of all that the row held."""
        self._update(edge.UpdateOperation.overwrite_payload([id], dict(payload)))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there are passed over."""
        self._update(edge.UpdateOperation.delete_points(list(ids)))

    def get(self, ids: Sequence[str]) -> list[Row]:
        """The rows that are there, in no set order."""
        with self._open_shard() as shard:
            return [_row(record) for record in shard.retrieve(list(ids), True, False)]

    def find(self, field: str, values: Sequence[str]) -> list[Row]:
        """All rows in which the text field (`files[].path` reaches into lists) equals one of the values."""
        condition = edge.FieldCondition(key=field, match=edge.MatchAny(list(values)))
        return list(self._scroll(edge.Filter(must=[condition])))

    def scan(self) -> Iterator[Row]:
        """Every row, in pages; rows already seen may be changed or deleted on the way."""
        return self._scroll(None)

    def search(self, vector_E: Vectors, k: int, *, offset: int = 0) -> list[Row]:
        """The rows of highest cosine, best first, from rank `offset` on: an exact scan."""
        request = edge.SearchRequest(
            edge.Query.Nearest(vector_E.tolist()),
            k,
            offset=offset,
            params=edge.SearchParams(exact=True),
            with_payload=True,
        )
        with self._open_shard() as shard:
            return [_row(point, score=point.score) for point in shard.search(request)]

    def count(self) -> int:
        """How many rows there are."""
        with self._open_shard() as shard:
            return shard.count(edge.CountRequest(exact=True))

    def close(self) -> None:
        """Write everything out and let go of the files; a second call does nothing."""
        if self._shard is None:
            return
        with self._open_shard() as shard:
            shard.flush()
            shard.close()
        self._shard = None

    def _update(self, operation: edge.UpdateOperation) -> None:
        with self._open_shard() as shard:
            shard.update(operation)

    def _scroll(self, condition: edge.Filter | None) -> Iterator[Row]:
        start: edge.PointId | None = None
        while True:
            request = edge.ScrollRequest(offset=start, limit=PAGE, filter=condition, with_payload=True)
            with self._open_shard() as shard:
                records, start = shard.scroll(request)
            yield from map(_row, records)
            if start is None:
                return

    @contextmanager
    def _open_shard(self) -> Iterator[edge.EdgeShard]:
        if self._shard is None:
            raise ValueError(f"{self._folder}: the store is closed")
        with _telling(self._folder):
            yield self._shard


def _row(record: edge.Record | edge.ScoredPoint, score: float = 0.0) -> Row:
    return Row(id=str(record.id), payload=record.payload or {}, score=score)


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Qdrant Edge raises bare `Exception`s: say which folder, and what can be done."""
    try:
        yield
    except BaseException as error:
        if type(error) is Exception or isinstance(error, OSError) or type(error).__name__ == "PanicException":
            raise _trouble(folder, str(error)) from error
        raise


def _trouble(folder: Path, said: str) -> BadFileError:
    if "WouldBlock" in said:
        found, do = "one that another process holds", "wait for it to end"
    else:
        found, do = f"trouble ({said})", "check the disk's free space; if it stays, index into a new folder"
    return BadFileError(
        "vectors of the store", must_be="readable and writable", got=found, do=do, path=folder
    )
