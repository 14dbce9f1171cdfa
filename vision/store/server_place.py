"""An index on a Qdrant server: the name that people use is an alias, each model has a collection behind it.

So another model's vectors can be built beside the present ones, and the switch from one to the other is one
request, whole or not at all.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from vision.store.place import CollectionModel, Notes
from vision.store.server_store import ServerStore, connect, server_address
from vision.store.vector_store import Vectors, VectorStore

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

MODEL, NOTES = "chiasm_model", "chiasm_notes"


class ServerPlace:
    """An `IndexPlace` called `name` on a server.

    Args:
        client: a connection to the server.
        name: of the index.
        address: what people wrote to get here.
        stemming: as in `ServerStore.create`.
    """

    def __init__(self, client: QdrantClient, name: str, address: str, *, stemming: bool = True):
        self._client, self._name, self._stemming = client, name, stemming
        self.address = address

    @classmethod
    def connected(cls, address: str) -> ServerPlace:
        """The place at `qdrant://host:6333/name`; whether the server answers shows at the first request.

        Raises:
            ParameterError: not written so.
            MissingDependencyError: qdrant-client is not installed.
        """
        server = server_address(address)
        return cls(connect(server.url), server.name, address)

    def current(self) -> CollectionModel | None:
        """The model of the collection that searches use; None where none was finished yet."""
        behind = self._behind_alias()
        if behind is None:
            return None
        record = ServerStore.open(self._client, behind).describe().get(MODEL)
        return None if record is None else CollectionModel(**record)

    def store(self, model: CollectionModel) -> VectorStore:
        """The collection of that model."""
        return ServerStore.open(self._client, self._collection(model))

    def begin(self, model: CollectionModel) -> VectorStore:
        """A store to fill: a new one, or what an interrupted `begin` of the same model left."""
        name = self._collection(model)
        with self._telling(model):
            if self._client.collection_exists(name):
                return ServerStore.open(self._client, name)
        return ServerStore.create(self._client, name, model.dim, stemming=self._stemming)

    def finish(self, model: CollectionModel) -> None:
        """Say that the model's collection is whole, let the alias lead to it, and remove the one before."""
        from qdrant_client import models

        old, new = self._behind_alias(), self._collection(model)
        self._describe(model, {MODEL: dataclasses.asdict(model)})
        actions: list[Any] = []
        if old is not None:
            actions.append(
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._name))
            )
        alias = models.CreateAlias(collection_name=new, alias_name=self._name)
        with self._telling(model):
            self._client.update_collection_aliases(
                [*actions, models.CreateAliasOperation(create_alias=alias)]
            )
        if old not in (None, new):
            ServerStore(self._client, str(old)).remove()

    def notes(self, model: CollectionModel) -> Notes:
        """What the model's collection has learned; blank for a new one."""
        record = ServerStore(self._client, self._collection(model)).describe()
        return Notes.from_dict(record.get(NOTES) or {})

    def write_notes(self, model: CollectionModel, notes: Notes) -> None:
        """Keep what was learned."""
        self._describe(model, {NOTES: notes.to_dict()})

    def read_sample(self, model: CollectionModel) -> Vectors | None:
        """Nothing is kept here: a sample is read from the server each time."""
        return None

    def write_sample(self, model: CollectionModel, vectors_NE: Vectors) -> None:
        """Nothing is kept here."""

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        self._client.close()

    def _collection(self, model: CollectionModel) -> str:
        return f"{self._name}-{model.key}"

    def _describe(self, model: CollectionModel, record: dict[str, Any]) -> None:
        ServerStore(self._client, self._collection(model)).write_description(record)

    def _telling(self, model: CollectionModel) -> Any:
        return ServerStore(self._client, self._collection(model)).telling()

    def _behind_alias(self) -> str | None:
        with ServerStore(self._client, self._name).telling():
            aliases = self._client.get_aliases().aliases
        return next((one.collection_name for one in aliases if one.alias_name == self._name), None)
