"""Qdrant Edge as a `VectorStore`: in this process, in one folder, with a write-ahead log.

Shape legend: N rows, E components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from data.errors import BadFileError
from vision.store.edge_graph import build_graph
from vision.store.fields import CAPTION, FIELDS, PLACE
from vision.store.filters import to_filter
from vision.store.vector_store import Payload, Row, StoreFacts, Vectors
from vision.store.where import Condition

PAGE = 1000
# Candidates that a search through a graph of GRAPH_ROWS keeps: more find more, and take longer.
GRAPH_EF = 128
GRAPH_ROWS = 200_000

_GRAPH = edge.HnswIndexConfig(m=16, ef_construct=128, full_scan_threshold=10_000)
# One segment, so one graph; `optimize` is asked for, and then always builds it.
_OPTIMIZER = edge.EdgeOptimizersConfig(
    default_segment_number=1, max_segment_size=1_000_000_000, indexing_threshold=1
)
_CAPTIONS = edge.TextIndexParams(
    tokenizer=edge.TokenizerType.Word,
    lowercase=True,
    ascii_folding=True,
    stopwords=edge.Language.English,
    stemmer=edge.SnowballParams(edge.SnowballLanguage.English),
    scoring=True,
)
_SCHEMAS: dict[str, Any] = {
    "text": edge.PayloadSchemaType.Keyword,
    "word": edge.PayloadSchemaType.Keyword,
    "number": edge.PayloadSchemaType.Float,
    "time": edge.PayloadSchemaType.Datetime,
    "words": _CAPTIONS,
}


class EdgeStore:
    """A shard of Qdrant Edge in `folder`; only one process may hold it at a time.

    Qdrant's log reaches the operating system before `upsert` returns, so that a killed process loses nothing
    that was acknowledged; a power cut may take what was not yet written to the disk (`close` writes it out).
    """

    def __init__(self, shard: edge.EdgeShard, folder: Path):
        self._shard: edge.EdgeShard | None = shard
        self._folder = folder
        self._graph_ef = _graph_ef(shard)

    @classmethod
    def create(cls, folder: Path, dim: int) -> EdgeStore:
        """An empty shard for vectors of `dim` components, with a look-up table for each column of `FIELDS`.

        Raises:
            BadFileError: the folder cannot be written, or holds a shard already.
        """
        with _telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            vectors = edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine)
            config = edge.EdgeConfig(
                vectors=vectors, hnsw_config=_GRAPH, optimizers=_OPTIMIZER, wal_enabled=True
            )
            shard = edge.EdgeShard.create(str(folder), config)
            _add_tables(shard)
        return cls(shard, folder)

    @classmethod
    def open(cls, folder: Path) -> EdgeStore:
        """The shard that `create` made; what its log holds beyond the last flush is replayed.

        Look-up tables that an earlier version did not make are added.

        Raises:
            BadFileError: there is no shard, it is damaged, or another process holds it.
        """
        with _telling(folder):
            shard = edge.EdgeShard.load(str(folder))
            _add_tables(shard)
            return cls(shard, folder)

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
        return [_row(record) for record in self._scroll(edge.Filter(must=[condition]))]

    def scan(self, where: Condition | None = None, *, after: str | None = None) -> Iterator[Row]:
        """Every row (that fits) in the order of the ids, in pages; behind the id `after` where one is given.

        Rows already seen may be changed or deleted on the way.
        """
        rows = map(_row, self._scroll(to_filter(where, edge), start=after))
        return (row for row in rows if row.id != after)

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """Unit vectors (E,) of the rows that are there, by id."""
        with self._open_shard() as shard:
            records = shard.retrieve(list(ids), False, True)
        return {str(record.id): np.array(record.vector, dtype=np.float32) for record in records}

    def scan_vectors(self, page: int = 1000) -> Iterator[tuple[list[str], Vectors]]:
        """All ids and unit vectors (N, E) in pages, in the order of the ids.

        Ids are halves of content hashes: the first pages are a random sample of the pictures.
        """
        for records in self._pages(None, page, with_payload=False, with_vector=True):
            yield [str(record.id) for record in records], np.array([r.vector for r in records], np.float32)

    def search(
        self,
        vector_E: Vectors,
        k: int,
        *,
        offset: int = 0,
        where: Condition | None = None,
        exact: bool = False,
    ) -> list[Row]:
        """The rows of highest cosine that fit `where`, best first, from rank `offset` on.

        Through the graph where `optimize` has built one; `exact` looks at every row all the same.
        """
        request = edge.SearchRequest(
            edge.Query.Nearest(vector_E.tolist()),
            k,
            offset=offset,
            filter=to_filter(where, edge),
            params=edge.SearchParams(exact=exact, hnsw_ef=max(self._graph_ef, 2 * (offset + k))),
            with_payload=True,
        )
        with self._open_shard() as shard:
            return [_row(point, score=point.score) for point in shard.search(request)]

    def search_words(self, text: str, k: int, *, where: Condition | None = None) -> list[Row]:
        """The rows whose caption holds words of the text, by BM25, best first.

        English endings do not matter, and words such as "the" are passed over.
        """
        request = edge.QueryRequest(
            limit=k, query=edge.TextQuery(CAPTION, text), filter=to_filter(where, edge), with_payload=True
        )
        with self._open_shard() as shard:
            return [_row(point, score=point.score) for point in shard.query(request)]

    def count(self, where: Condition | None = None) -> int:
        """How many rows there are (that fit)."""
        # Without a filter the engine's own tally is right, and the exact count a walk over all rows.
        request = edge.CountRequest(filter=to_filter(where, edge), exact=where is not None)
        with self._open_shard() as shard:
            return shard.count(request)

    def values(self, key: str, most: int) -> list[tuple[str, int]]:
        """The most frequent texts under a key of the payload (`[]` reaches into lists), and their rows.

        Frequent ones first. A look-up table for the key is added where there is none.
        """
        with self._open_shard() as shard:
            if key not in shard.info().payload_schema:
                shard.update(edge.UpdateOperation.create_field_index(key, edge.PayloadSchemaType.Keyword))
            found = shard.facet(edge.FacetRequest(key, most, exact=True))
        return [(str(hit.value), hit.count) for hit in found.hits]

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the graph over all rows; `progress` is called with rows done and rows in all.

        The engine tells nothing before the end: until then `progress` hears of 0 rows, about twice a second.
        Meanwhile the store is closed to other threads.
        """
        total = self.count()
        report = progress or (lambda done, rows: None)
        self.close()
        try:
            with _telling(self._folder):
                build_graph(self._folder, lambda: report(0, total))
        finally:
            with _telling(self._folder):
                self._shard = edge.EdgeShard.load(str(self._folder))
        self._graph_ef = _graph_ef(self._shard)
        report(total, total)

    def facts(self) -> StoreFacts:
        """Size, and how much of it the graph covers."""
        with self._open_shard() as shard:
            info = shard.info()
        disk_bytes = sum(path.stat().st_blocks * 512 for path in self._folder.rglob("*") if path.is_file())
        return StoreFacts(rows=self.count(), graph_rows=info.indexed_vectors_count, disk_bytes=disk_bytes)

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

    def _scroll(self, condition: edge.Filter | None, start: str | None = None) -> Iterator[edge.Record]:
        for records in self._pages(condition, PAGE, with_payload=True, with_vector=False, start=start):
            yield from records

    def _pages(
        self,
        condition: edge.Filter | None,
        page: int,
        *,
        with_payload: bool,
        with_vector: bool,
        start: edge.PointId | None = None,
    ) -> Iterator[list[edge.Record]]:
        while True:
            request = edge.ScrollRequest(start, page, condition, with_payload, with_vector)
            with self._open_shard() as shard:
                records, start = shard.scroll(request)
            if records:
                yield records
            if start is None:
                return

    @contextmanager
    def _open_shard(self) -> Iterator[edge.EdgeShard]:
        if self._shard is None:
            raise ValueError(f"{self._folder}: the store is closed")
        with _telling(self._folder):
            yield self._shard


def _add_tables(shard: edge.EdgeShard) -> None:
    """Look-up tables over the payload, as far as they are missing."""
    wanted = {field.key: _SCHEMAS[field.kind] for field in FIELDS.values()}
    wanted[PLACE] = edge.PayloadSchemaType.Geo
    there = shard.info().payload_schema
    for key, schema in wanted.items():
        if key not in there:
            shard.update(edge.UpdateOperation.create_field_index(key, schema))


def _graph_ef(shard: edge.EdgeShard) -> int:
    """In a larger graph as many candidates find less: with a cube root, recall@10 at a million was 0.976."""
    return round(GRAPH_EF * math.pow(max(1.0, shard.info().points_count / GRAPH_ROWS), 2 / 3))


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
