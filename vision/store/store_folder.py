"""The folder that an index lives in: its marker, its lock, and one collection for each model fingerprint.

STORE/chiasm-index.json                   what this folder is, and which collection is the current one
STORE/lock                                held by the process that has the index open
STORE/collections/DIGEST/model.json       the model that made the vectors; written last
STORE/collections/DIGEST/notes.json       what the collection has learned since
STORE/collections/DIGEST/sample.npy       vectors of some of its pictures, in half precision
STORE/collections/DIGEST/vectors/         the engine's own files
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import BadFileError
from data.writing import whole_file, write_whole
from vision.store.edge_store import EdgeStore
from vision.store.place import CollectionModel, Notes
from vision.store.vector_store import Vectors, VectorStore

MARKER, LOCK, COLLECTIONS, MODEL = "chiasm-index.json", "lock", "collections", "model.json"
NOTES, SAMPLE, VECTORS = "notes.json", "sample.npy", "vectors"
FORMAT = 1


class StoreFolder:
    """An index in a folder, locked for this process until `close`: an `IndexPlace`.

    Raises:
        BadFileError: not a store, made by a later version, or held by another process for `wait_s` seconds.
    """

    def __init__(self, path: Path, wait_s: float):
        self.path = path
        self._lock: TextIOWrapper | None = _locked(path, wait_s)
        try:
            if not (path / MARKER).exists():
                _write_json(path / MARKER, {"format": FORMAT, "current": None})
            self._marker = _read_json(path / MARKER)
            self._check_marker()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, path: str | Path, *, wait_s: float = 5.0) -> StoreFolder:
        """The store at `path`, which must be there."""
        path = Path(path)
        if not (path / MARKER).is_file():
            found = (
                "a folder without one" if path.is_dir() else "a file" if path.exists() else "nothing there"
            )
            do = "make it with `vision index DIR --store PATH`"
            raise BadFileError("store", must_be="a folder with an index", got=found, do=do, path=path)
        return cls(path, wait_s)

    @classmethod
    def create(cls, path: str | Path, *, wait_s: float = 5.0) -> StoreFolder:
        """The store at `path`, made if nothing (or an empty folder) is there."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, wait_s)

    def current(self) -> CollectionModel | None:
        """The model of the collection that searches use; None where none was finished yet."""
        return _current(self.path, self._marker)

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self.path)

    def store(self, model: CollectionModel) -> VectorStore:
        """The engine's files of that model."""
        return EdgeStore.open(self._collection(model) / VECTORS)

    def begin(self, model: CollectionModel) -> VectorStore:
        """A store to fill: a new one, or what an interrupted `begin` of the same model left."""
        folder = self._collection(model)
        if (folder / VECTORS).is_dir():
            with contextlib.suppress(BadFileError):
                return self.store(model)
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return EdgeStore.create(folder / VECTORS, model.dim)

    def finish(self, model: CollectionModel) -> None:
        """Say that the model's collection is whole, make it the current one, and remove any other."""
        folder = self._collection(model)
        _write_json(folder / MODEL, dataclasses.asdict(model))
        self._marker = {**self._marker, "current": folder.name}
        _write_json(self.path / MARKER, self._marker)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)

    def notes(self, model: CollectionModel) -> Notes:
        """What the model's collection has learned; blank for a new one."""
        record = self._collection(model) / NOTES
        return Notes.from_dict(_read_json(record)) if record.is_file() else Notes()

    def write_notes(self, model: CollectionModel, notes: Notes) -> None:
        """Keep what was learned."""
        _write_json(self._collection(model) / NOTES, notes.to_dict())

    def read_sample(self, model: CollectionModel) -> Vectors | None:
        """The vectors (N, E) that `write_sample` kept, if it did."""
        try:
            vectors_NE: Vectors = np.load(self._collection(model) / SAMPLE).astype(np.float32)
        except (OSError, ValueError):  # it saves time and nothing else
            return None
        return vectors_NE

    def write_sample(self, model: CollectionModel, vectors_NE: Vectors) -> None:
        """Keep some vectors of the collection for quick reading, in half precision."""
        with contextlib.suppress(OSError), whole_file(self._collection(model) / SAMPLE) as draft:
            np.save(draft, vectors_NE.astype(np.float16))

    def close(self) -> None:
        """Let other processes in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _collection(self, model: CollectionModel) -> Path:
        return self.path / COLLECTIONS / model.key

    def _check_marker(self) -> None:
        found = self._marker.get("format")
        if found != FORMAT or "current" not in self._marker:
            do = "use the version of Chiasm that made it, or index into a new folder"
            must_be = f"of format {FORMAT}"
            raise BadFileError("store", must_be=must_be, got=f"format {found}", do=do, path=self.path)


def stored_model(path: str | Path) -> CollectionModel | None:
    """The model that the index at `path` was made by; None where there is no index, or an unfinished one.

    Raises:
        BadFileError: the index's own records are damaged.
    """
    marker = Path(path) / MARKER
    return _current(Path(path), _read_json(marker)) if marker.is_file() else None


def _current(path: Path, marker: dict[str, Any]) -> CollectionModel | None:
    digest = marker.get("current")
    if digest is None:
        return None
    record = path / COLLECTIONS / digest / MODEL
    try:
        return CollectionModel(**_read_json(record))
    except TypeError as error:
        raise _damaged(record, str(error)) from error


def _refuse_foreign(path: Path) -> None:
    if (path / MARKER).exists():
        return
    others = sorted(
        entry.name for entry in path.iterdir() if not entry.name.startswith((LOCK, ".chiasm-index"))
    )
    if others:
        found = f"one with other things in it ({others[0]!r}, for one)"
        do = "give a folder of its own"
        raise BadFileError("store", must_be="a new or empty folder", got=found, do=do, path=path)


def _locked(path: Path, wait_s: float) -> TextIOWrapper:
    """The lock file, held; the system lets go of it when the process ends, however it ends."""
    give_up = time.monotonic() + wait_s
    try:
        file = (path / LOCK).open("a+")
    except OSError as error:
        raise _unwritable(path, error) from error
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < give_up:
                time.sleep(0.05)
                continue
            file.seek(0)
            found, do = f"in use by process {file.read().strip() or 'unknown'}", "wait for it to end"
            file.close()
            raise BadFileError("store", must_be="free", got=found, do=do, path=path) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file


def _unwritable(path: Path, error: OSError) -> BadFileError:
    found = error.strerror or str(error)
    return BadFileError("store", must_be="a writable folder", got=found, do="choose another place", path=path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(fields, dict):
        raise _damaged(path, "something else")
    return fields


def _damaged(path: Path, found: str) -> BadFileError:
    do = "index into a new folder"
    return BadFileError("record of the store", must_be="readable JSON", got=found, do=do, path=path)


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    write_whole(path, json.dumps(fields, indent=2) + "\n")
