"""What a store of vectors must be able to do. Small on purpose: each engine is one thin class.

Shape legend: N rows, E components of the joint picture-and-text space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Payload = Mapping[str, Any]  # what JSON can hold


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stored vector's identifier (a UUID as text) and payload; `score` is its cosine with a query."""

    id: str
    payload: Payload
    score: float = 0.0


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

    def scan(self) -> Iterator[Row]:
        """Every row, in pages; rows already seen may be changed or deleted on the way."""

    def search(self, vector_E: Vectors, k: int, *, offset: int = 0) -> list[Row]:
        """The rows of highest cosine, best first, from rank `offset` on: exact."""

    def count(self) -> int:
        """How many rows there are."""

    def close(self) -> None:
        """Write everything out and let go of the files; a second call does nothing."""
