"""What a store of vectors must be able to do. Small on purpose: each engine is one thin class.

Shape legend: N rows, E components of the joint picture-and-text space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vision.store.where import Condition

Vectors = npt.NDArray[np.float32]
Payload = Mapping[str, Any]  # what JSON can hold


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stored vector's identifier (a UUID as text) and payload.

    `score` is its cosine with a query, or of a search by words its BM25.
    """

    id: str
    payload: Payload
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """How large a store is: rows, those of them that a graph (HNSW) leads to, bytes on the disk if known."""

    rows: int
    graph_rows: int
    disk_bytes: int | None


class VectorStore(Protocol):
    """Rows of (id, vector, payload), searched by cosine. Safe to read from several threads of one process.

    A change is acknowledged when its method returns: from then on it survives the death of the process.
    """

    def upsert(self, ids: Sequence[str], vectors_NE: Vectors, payloads: Sequence[Payload]) -> None:
        """Add rows, or replace those whose id is already there."""

    def replace_payload(self, id: str, payload: Payload) -> None:
        """Put `payload` in the place of all that the row held."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove rows; ids that are not there are passed over."""

    def get(self, ids: Sequence[str]) -> list[Row]:
        """The rows that are there, in no set order."""

    def find(self, field: str, values: Sequence[str]) -> list[Row]:
        """All rows in which the text field (`files[].path` reaches into lists) equals one of the values."""

    def scan(self, where: Condition | None = None, *, after: str | None = None) -> Iterator[Row]:
        """Every row (that fits) in the order of the ids, in pages; behind the id `after` where one is given.

        Rows already seen may be changed or deleted on the way.
        """

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """Unit vectors (E,) of the rows that are there, by id."""

    def scan_vectors(self, page: int = 1000) -> Iterator[tuple[list[str], Vectors]]:
        """All ids and unit vectors (N, E) in pages, in the order of the ids.

        Ids are halves of content hashes: the first pages are a random sample of the pictures.
        """

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

    def search_words(self, text: str, k: int, *, where: Condition | None = None) -> list[Row]:
        """The rows whose caption holds words of the text, by BM25, best first."""

    def count(self, where: Condition | None = None) -> int:
        """How many rows there are (that fit)."""

    def values(self, key: str, most: int) -> list[tuple[str, int]]:
        """The most frequent texts under a key of the payload (`[]` reaches into lists), and their rows.

        Frequent ones first. A look-up table for the key is added where there is none.
        """

    def optimize(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Build the graph over all rows; `progress` is called with rows done and rows in all."""

    def facts(self) -> StoreFacts:
        """Size, and how much of it the graph covers."""

    def close(self) -> None:
        """Write everything out and let go of the files; a second call does nothing."""
