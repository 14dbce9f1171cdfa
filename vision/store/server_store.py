"""A collection on a Qdrant server or cluster as a `VectorStore`, for what a laptop no longer holds.

`--store qdrant://host:6333/name`, `qdrants://` over TLS; an API key is read from QDRANT_API_KEY.

Shape legend: N rows, E components.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from data.errors import BadFileError, MissingDependencyError, ParameterError
from vision.store.fields import CAPTION, FIELDS, PLACE
from vision.store.filters import to_filter
from vision.store.vector_store import Payload, Row, StoreFacts, Vectors
from vision.store.where import Condition

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

PAGE = 1000
SENT = 250  # rows in one request: 512 components as JSON are about 10 kB
GRAPH_M, GRAPH_EF_CONSTRUCT, GRAPH_EF = 16, 128, 200
GRAPH_FROM_KB = 1  # what `optimize` sets: from then on the server keeps the graph up to date itself
NO_GRAPH = 0  # to the server: never build one
POLL_S, PATIENCE_S = 0.5, 10.0
_SCHEMES = {"qdrant": "http", "qdrants": "https"}
_SCHEMAS = {"text": "keyword", "word": "keyword", "number": "float", "time": "datetime"}


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server is, and the name of what to keep there."""

    url: str
    name: str


def server_address(text: str) -> ServerAddress:
    """'qdrant://host:6333/name' (or qdrants) -> what a client connects to.

    Raises:
        ParameterError: not written so.
    """
    must_be = "qdrant://HOST:PORT/NAME, or qdrants:// over TLS"
    try:
        parts = urlsplit(text)
        port = parts.port or 6333
    except ValueError as error:
        raise ParameterError("store", must_be=must_be, got=text) from error
    name = parts.path.strip("/")
    if parts.scheme not in _SCHEMES or not parts.hostname or not name or "/" in name:
        raise ParameterError("store", must_be=must_be, got=text)
    if parts.username or parts.password or parts.query or parts.fragment:
        do = "a key goes into the environment, as QDRANT_API_KEY"
        raise ParameterError("store", must_be=must_be, got="one with more in it", do=do)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return ServerAddress(url=f"{_SCHEMES[parts.scheme]}://{host}:{port}", name=name)


def connect(url: str, *, timeout_s: int = 60) -> QdrantClient:
    """A client of the server at `url` ("http://host:6333"); whether it answers shows at the first request.

    Raises:
        MissingDependencyError: qdrant-client is not installed.
    """
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        do = "pip install 'chiasm[qdrant]'"
        raise MissingDependencyError("qdrant-client", must_be="installed", got=str(error), do=do) from error
    key = os.environ.get("QDRANT_API_KEY") or None
    return QdrantClient(url=url, api_key=key, timeout=timeout_s, check_compatibility=False)


class ServerStore:
    """One collection on a server. Open it with `create` or `open`.

    The server's own optimizer is held back until `optimize`: until then every search is exact.
    """

    def __init__(self, client: QdrantClient, name: str, *, owns_client: bool = False):
        self._client, self._name, self._owns_client = client, name, owns_client

    @classmethod
    def create(cls, client: QdrantClient | str, name: str, dim: int, *, stemming: bool = True) -> ServerStore:
        """A new, empty collection for vectors of `dim` components, with a look-up table for each column.

        Args:
            client: a `QdrantClient`, or the URL to connect to.
            stemming: whether captions are matched without their English endings and words such as "the"
                (the client's in-memory mode cannot).

        Raises:
            BadFileError: there is one of that name, or the server cannot be reached or says no.
        """
        from qdrant_client import models

        store = cls._connected(client, name)
        with store.telling():
            if store._client.collection_exists(name):
                raise BadFileError("collection", must_be="new", got=f"{name!r}, which is there already")
            store._client.create_collection(
                name,
                vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE),
                hnsw_config=models.HnswConfigDiff(m=GRAPH_M, ef_construct=GRAPH_EF_CONSTRUCT),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=NO_GRAPH),
            )
            try:
                for key, schema in _tables(stemming).items():
                    store._client.create_payload_index(name, key, field_schema=schema, wait=True)
            except BaseException:
                store._client.delete_collection(name)
                raise
        return store

    @classmethod
    def open(cls, client: QdrantClient | str, name: str) -> ServerStore:
        """The collection that `create` made.

        Raises:
            BadFileError: there is none, or the server cannot be reached or says no.
        """
        store = cls._connected(client, name)
        with store.telling():
            if not store._client.collection_exists(name):
                do = "make it with `vision index DIR --store …`, or with `vision push`"
                raise BadFileError("collection", must_be="on the server", got=f"no {name!r} there", do=do)
        return store

    @classmethod
    def _connected(cls, client: QdrantClient | str, name: str) -> ServerStore:
        if isinstance(client, str):
            return cls(connect(client), name, owns_client=True)
        return cls(client, name)

    def describe(self) -> dict[str, Any]:
        """What `write_description` kept with the collection; empty for a new one."""
        with self.telling():
            return dict(self._client.get_collection(self._name).config.metadata or {})

    def write_description(self, record: Mapping[str, Any]) -> None:
        """Keep a record (JSON) with the collection; a key already there is replaced, None removes it."""
        with self.telling():
            self._client.update_collection(self._name, metadata=dict(record))

    def remove(self) -> None:
        """Delete the collection, rows and all."""
        with self.telling():
            self._client.delete_collection(self._name)

    def upsert(self, ids: Sequence[str], vectors_NE: Vectors, payloads: Sequence[Payload]) -> None:
        """Add rows, or replace those whose id is already there."""
        from qdrant_client import models

        rows = zip(ids, vectors_NE.tolist(), payloads, strict=True)
        points = [
            models.PointStruct(id=id, vector=vector, payload=dict(payload)) for id, vector, payload in rows
        ]
        with self.telling():
            for start in range(0, len(points), SENT):
                self._client.upsert(self._name, points[start : start + SENT], wait=True)

    def replace_payload(self, id: str, payload: Payload) -> None:
        """Put `payload` in the place of all that the row held."""
        with self.telling():
            self._client.overwrite_payload(self._name, dict(payload), points=[id], wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there are passed over."""
        if not ids:
            return  # to the server, a request about nothing is an error
        with self.telling():
            self._client.delete(self._name, points_selector=list(ids), wait=True)

    def get(self, ids: Sequence[str]) -> list[Row]:
        """The rows that are there, in no set order."""
        with self.telling():
            return [_row(record) for record in self._client.retrieve(self._name, list(ids))]

    def find(self, field: str, values: Sequence[str]) -> list[Row]:
        """All rows in which the text field (`files[].path` reaches into lists) equals one of the values."""
        from qdrant_client import models

        condition = models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        pages = self._pages(models.Filter(must=[condition]), PAGE, with_payload=True)
        return [_row(record) for records in pages for record in records]

    def scan(self, where: Condition | None = None, *, after: str | None = None) -> Iterator[Row]:
        """Every row (that fits) in the order of the ids, in pages; behind the id `after` where one is given.

        Rows already seen may be changed or deleted on the way.
        """
        kept = to_filter(where, _dialect())
        for records in self._pages(kept, PAGE, with_payload=True, start=after):
            yield from (row for row in map(_row, records) if row.id != after)

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """Unit vectors (E,) of the rows that are there, by id."""
        with self.telling():
            records = self._client.retrieve(self._name, list(ids), with_payload=False, with_vectors=True)
        return {str(record.id): _unit(record.vector) for record in records}

    def scan_vectors(self, page: int = 1000) -> Iterator[tuple[list[str], Vectors]]:
        """All ids and unit vectors (N, E) in pages, in the order of the ids.

        Ids are halves of content hashes: the first pages are a random sample of the pictures.
        """
        for records in self._pages(None, page, with_vectors=True):
            yield [str(record.id) for record in records], _unit([record.vector for record in records])

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
        from qdrant_client import models

        params = models.SearchParams(exact=exact, hnsw_ef=max(GRAPH_EF, 2 * (offset + k)))
        return self._query(vector_E.tolist(), where, limit=k, offset=offset, search_params=params)

    def search_words(self, text: str, k: int, *, where: Condition | None = None) -> list[Row]:
        """The rows whose caption holds words of the text, by BM25, best first."""
        from qdrant_client import models

        return self._query(models.TextQuery(text=text), where, limit=k, using=CAPTION)

    def count(self, where: Condition | None = None) -> int:
        """How many rows there are (that fit)."""
        with self.telling():
            kept = to_filter(where, _dialect())
            return self._client.count(self._name, count_filter=kept, exact=True).count

    def values(self, key: str, most: int) -> list[tuple[str, int]]:
        """The most frequent texts under a key of the payload (`[]` reaches into lists), and their rows.

        Frequent ones first. A look-up table for the key is added where there is none.
        """
        from qdrant_client import models

        with self.telling():
            if key not in self._client.get_collection(self._name).payload_schema:
                keyword = models.PayloadSchemaType.KEYWORD
                self._client.create_payload_index(self._name, key, field_schema=keyword, wait=True)
            found = self._client.facet(self._name, key, limit=most, exact=True)
        return sorted(((str(hit.value), hit.count) for hit in found.hits), key=lambda one: -one[1])

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Let the server build the graph over all rows; `progress` gets the rows done and rows in all."""
        from qdrant_client import models

        with self.telling():
            threshold = models.OptimizersConfigDiff(indexing_threshold=GRAPH_FROM_KB)
            self._client.update_collection(self._name, optimizers_config=threshold)
            total, before, waited_s = self.count(), -1, 0.0
            while True:
                info = self._client.get_collection(self._name)
                done = min(total, info.indexed_vectors_count or 0)
                if progress is not None:
                    progress(done, total)
                # The optimizer starts a moment later, and passes over segments of a handful of rows.
                waited_s = waited_s + POLL_S if done == before else 0.0
                if done >= total or (waited_s >= PATIENCE_S and info.status == models.CollectionStatus.GREEN):
                    return
                before = done
                time.sleep(POLL_S)

    def facts(self) -> StoreFacts:
        """Size, and how much of it the graph covers."""
        rows = self.count()
        with self.telling():
            indexed = self._client.get_collection(self._name).indexed_vectors_count or 0
        return StoreFacts(rows=rows, graph_rows=min(rows, indexed), disk_bytes=None)

    def close(self) -> None:
        """Let go of a connection that this store made; a second call does nothing."""
        if self._owns_client:
            self._client.close()

    def _query(self, query: Any, where: Condition | None, **options: Any) -> list[Row]:
        with self.telling():
            found = self._client.query_points(
                self._name, query, query_filter=to_filter(where, _dialect()), **options
            )
        return [_row(point, score=point.score) for point in found.points]

    def _pages(
        self,
        kept: Any,
        page: int,
        *,
        with_payload: bool = False,
        with_vectors: bool = False,
        start: Any = None,
    ) -> Iterator[list[Any]]:
        while True:
            with self.telling():
                records, start = self._client.scroll(
                    self._name,
                    scroll_filter=kept,
                    limit=page,
                    offset=start,
                    with_payload=with_payload,
                    with_vectors=with_vectors,
                )
            if records:
                yield records
            if start is None:
                return

    @contextmanager
    def telling(self) -> Iterator[None]:
        """The client's errors, with the name of the collection and what can be done."""
        from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except ResponseHandlingException as error:
            do = "start it, or check the address"
            raise self._trouble(f"no answer ({error})", do) from error
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                raise self._trouble(
                    "a refusal", "set QDRANT_API_KEY to a key that may write there"
                ) from error
            raise self._trouble(f"{error.status_code}, {_said(error)}", "look at the server's log") from error
        except ApiException as error:
            raise self._trouble(str(error), "look at the server's log") from error

    def _trouble(self, got: str, do: str) -> BadFileError:
        return BadFileError(
            f"Qdrant server of {self._name!r}", must_be="reachable and willing", got=got, do=do
        )


def _tables(stemming: bool) -> dict[str, Any]:
    from qdrant_client import models

    captions = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True)
    if stemming:
        captions.ascii_folding = True
        captions.stopwords = models.Language.ENGLISH
        captions.stemmer = models.SnowballParams(
            type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH
        )
    kinds: dict[str, Any] = {**_SCHEMAS, "words": captions}
    return {PLACE: "geo"} | {field.key: kinds[field.kind] for field in FIELDS.values()}


def _dialect() -> SimpleNamespace:
    """Filters as the client writes them."""
    from qdrant_client import models

    return SimpleNamespace(
        Filter=models.Filter,
        FieldCondition=models.FieldCondition,
        MatchValue=models.MatchValue,
        MatchText=models.MatchText,
        MatchSubstring=models.MatchSubstring,
        RangeFloat=models.Range,
        RangeDateTime=models.DatetimeRange,
        GeoRadius=models.GeoRadius,
        GeoPoint=models.GeoPoint,
    )


def _row(record: Any, score: float = 0.0) -> Row:
    return Row(id=str(record.id), payload=record.payload or {}, score=score)


def _unit(vectors: Any) -> Vectors:
    """Lists (..., E) -> unit vectors (..., E)."""
    given = np.asarray(vectors, dtype=np.float32)
    unit: Vectors = given / np.maximum(np.linalg.norm(given, axis=-1, keepdims=True), 1e-12)
    return unit


def _said(error: Any) -> str:
    """What the server gave as its reason."""
    try:
        return str(error.structured()["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason_phrase)
