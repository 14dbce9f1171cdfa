"""What `--store` may say: a folder, or `qdrant://host:6333/name`."""

from __future__ import annotations

from pathlib import Path

from vision.store.place import CollectionModel, IndexPlace
from vision.store.store_folder import StoreFolder
from vision.store.store_folder import stored_model as model_in_folder

SERVER_PREFIXES = ("qdrant://", "qdrants://")


def is_server(address: str | Path) -> bool:
    """Whether an address names a server's collection, not a folder."""
    return isinstance(address, str) and address.startswith(SERVER_PREFIXES)


def open_place(address: str | Path) -> IndexPlace:
    """The index that is there.

    Raises:
        BadFileError: no index there, a damaged one, or a folder that another process holds.
    """
    return _server(str(address)) if is_server(address) else StoreFolder.open(address)


def create_place(address: str | Path) -> IndexPlace:
    """The index that is there, or room for a new one.

    Raises:
        BadFileError: something else lies there, or another process holds it.
    """
    return _server(str(address)) if is_server(address) else StoreFolder.create(address)


def stored_model(address: str | Path) -> CollectionModel | None:
    """The model that the index at `address` was made by; None where there is none, or an unfinished one."""
    if not is_server(address):
        return model_in_folder(address)
    place = _server(str(address))
    try:
        return place.current()
    finally:
        place.close()


def _server(address: str) -> IndexPlace:
    from vision.store.server_place import ServerPlace

    return ServerPlace.connected(address)
