"""Where an index lives, and what it remembers beside its vectors: a folder, or a collection on a server.

Shape legend: N pictures, E components of the joint space.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from vision.store.vector_store import Vectors, VectorStore

DecodeMode = Literal["exact", "fast"]  # as `vision.retrieval.picture_reader` explains them
DECODE_MODES: tuple[DecodeMode, ...] = get_args(DecodeMode)


@dataclass(frozen=True, kw_only=True)
class CollectionModel:
    """What made a collection's vectors.

    Args:
        name: of the model, as `vision.backbones.load_backbone` takes it.
        fingerprint: equal for equal vectors: model, weights, preprocessing, decoding, precision.
        dim: length E of a vector.
        decode: how pictures were decoded, "exact" or "fast".
        precision: "fp32" or "int8".
        origin: what made the vectors, where they were taken in (`vision index --from-embeddings`): then the
            model reads words alone, and its pictures are not comparable.
    """

    name: str
    fingerprint: str
    dim: int
    decode: DecodeMode = "exact"
    precision: str = "fp32"
    origin: str = ""

    @property
    def key(self) -> str:
        """16 hexadecimal digits that stand for the fingerprint in names of folders and collections."""
        return hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What a collection has learned since it was made.

    Args:
        roots: folders that were indexed.
        columns: names of the columns that were added to the pictures.
        captions: whether any picture has one.
        sampled_of: how many pictures there were when the kept sample was drawn.
        recall: of the graph against an exact search, as `vision.store.recall.Recall` writes itself.
    """

    roots: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    captions: bool = False
    sampled_of: int = 0
    recall: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Notes:
        """The inverse of `to_dict`; what a later version has added is passed over."""
        known = {field.name for field in dataclasses.fields(cls)} & set(fields)
        plain: dict[str, Any] = {key: fields[key] for key in known}
        plain |= {key: tuple(value) for key, value in plain.items() if isinstance(value, list)}
        return cls(**plain)


class IndexPlace(Protocol):
    """One index: at most one finished, current collection, and perhaps one that is being built beside it."""

    @property
    def address(self) -> str:
        """What `--store` names it by."""

    def current(self) -> CollectionModel | None:
        """The model of the collection that searches use; None where none was finished yet."""

    def store(self, model: CollectionModel) -> VectorStore:
        """The store of a collection that was begun."""

    def begin(self, model: CollectionModel) -> VectorStore:
        """A store to fill: a new one, or what an interrupted `begin` of the same model left."""

    def finish(self, model: CollectionModel) -> None:
        """Say that the model's collection is whole, make it the current one, and remove any other."""

    def notes(self, model: CollectionModel) -> Notes:
        """What the model's collection has learned; blank for a new one."""

    def write_notes(self, model: CollectionModel, notes: Notes) -> None:
        """Keep what was learned."""

    def read_sample(self, model: CollectionModel) -> Vectors | None:
        """The vectors (N, E) that `write_sample` kept, if it did."""

    def write_sample(self, model: CollectionModel, vectors_NE: Vectors) -> None:
        """Keep some vectors of the collection for quick reading, where the place can."""

    def close(self) -> None:
        """Let other processes in; a second call does nothing."""


_noting = threading.Lock()


def change_notes(place: IndexPlace, model: CollectionModel, **changes: Any) -> None:
    """Keep some more of what was learned, by the names of `Notes`; what other threads keep stays."""
    with _noting:
        place.write_notes(model, dataclasses.replace(place.notes(model), **changes))
