"""Vectors made elsewhere into an index, each with a picture to show (`data.exchange.embeddings`).

They lie in the space of a model's text half, so that words find them; that model's own pictures are not
comparable with them, and the index's fingerprint says so (`CollectionModel.origin`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.errors import FingerprintMismatchError, ParameterError
from data.exchange.embeddings import Embeddings, read_embeddings
from data.photo_walk import absolute_path
from data.photos import decode_photo, read_photo
from vision.retrieval.embedder import Embedder
from vision.retrieval.models import check_same_model, describe_model, load_embedder
from vision.retrieval.picture import Picture, Place
from vision.store.addresses import create_place
from vision.store.place import CollectionModel, IndexPlace, change_notes
from vision.store.vector_store import VectorStore

PAGE = 256


def take_in(address: str | Path, folder: str | Path, embedder: Embedder | None = None) -> int:
    """Add the vectors in a folder to the index at `address`, or make one of them; how many there were.

    What the index holds of the same pictures is replaced.

    Args:
        address: a new or empty folder, an index of the same origin, or `qdrant://host:6333/name`.
        folder: that `data.exchange.embeddings.write_embeddings` wrote.
        embedder: the model whose text half fits; None loads it by its name.

    Raises:
        BadFileError: no such folder, or a picture of it cannot be read.
        FingerprintMismatchError: the model here is not the one that the vectors were made for, or the index
            there is another one.
        ParameterError: one picture stands for two vectors, or the model knows no words.
    """
    found = read_embeddings(folder)
    model = _model(found, embedder or load_embedder(found.model), folder)
    pictures = list(_pictures(found, Path(folder)))
    _require_different(pictures)
    place = create_place(address)
    try:
        there = place.current()
        if there is not None:
            check_same_model(place.address, there, model)
        store = place.begin(model) if there is None else place.store(there)
        try:
            _fill(store, found, pictures)
            _note(place, model, pictures)
        finally:
            store.close()
        if there is None:
            place.finish(model)
    finally:
        place.close()
    return len(pictures)


def _model(found: Embeddings, embedder: Embedder, folder: str | Path) -> CollectionModel:
    """The model as the index is to remember it; words must be read as when the vectors were made."""
    if embedder.fingerprint != found.fingerprint or embedder.output_dim != found.vectors_NE.shape[1]:
        raise FingerprintMismatchError(
            "model",
            must_be=f"the one that the vectors were made for, {found.model} ({found.fingerprint})",
            got=f"{embedder.name} ({embedder.fingerprint})",
            do="make them anew with this one",
            path=folder,
        )
    if not embedder.has_text:
        raise ParameterError("model", must_be="one that knows words", got=embedder.name)
    return describe_model(embedder, "exact", found.origin)


def _pictures(found: Embeddings, folder: Path) -> Iterator[Picture]:
    for row in found.rows:
        path = absolute_path(folder / row.file)
        file = read_photo(path)
        photo = decode_photo(file)
        yield Picture(
            content=file.content,
            size=file.size,
            width=photo.width,
            height=photo.height,
            format=photo.format,
            places=(Place(path=path, mtime_ns=file.mtime_ns),),
            caption=row.caption,
            columns=dict(row.columns),
        )


def _require_different(pictures: list[Picture]) -> None:
    """A picture is its bytes, and has one vector."""
    known: dict[str, Path] = {}
    for picture in pictures:
        path = picture.places[0].path
        other = known.setdefault(picture.content, path)
        if other is not path:
            got = f"{other.name} and {path.name} with the same bytes"
            raise ParameterError("pictures", must_be="all different", got=got)


def _fill(store: VectorStore, found: Embeddings, pictures: list[Picture]) -> None:
    for start in range(0, len(pictures), PAGE):
        page = pictures[start : start + PAGE]
        vectors_NE = found.vectors_NE[start : start + PAGE]
        store.upsert([one.id for one in page], vectors_NE, [one.to_payload() for one in page])


def _note(place: IndexPlace, model: CollectionModel, pictures: list[Picture]) -> None:
    before = place.notes(model)
    columns = dict.fromkeys([*before.columns, *(name for one in pictures for name in one.columns)])
    captions = before.captions or any(one.caption for one in pictures)
    change_notes(place, model, columns=tuple(columns), captions=captions, sampled_of=0)
