"""What a person, or a classifier, adds to the pictures of a store: captions and columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from data.pages import pages
from vision.retrieval.picture import Picture, Word, path_to_text
from vision.store.fields import PATH
from vision.store.vector_store import VectorStore

PAGE = 256


def add_captions(store: VectorStore, captions: Mapping[Path, str]) -> int:
    """Give pictures their captions, by file; how many of the files the store knows."""
    known = 0
    for paths in pages(captions, PAGE):
        for row in store.find(PATH, [path_to_text(path) for path in paths]):
            picture = Picture.from_payload(row.payload)
            lying = [path for path in paths if picture.lies_at(path)]
            said = dict.fromkeys(captions[path] for path in lying)  # copies may be called alike
            _put(store, replace(picture, caption="\n".join(said)))
            known += len(lying)
    return known


def add_columns(
    store: VectorStore, rows: Iterable[tuple[str, Mapping[str, Word]]]
) -> tuple[int, dict[str, None]]:
    """Add to the columns of pictures, by id: how many were there to get them, and the columns' names."""
    changed, names = 0, dict[str, None]()
    for page in pages(rows, PAGE):
        columns = dict(page)
        for row in store.get(list(columns)):
            picture = Picture.from_payload(row.payload)
            _put(store, replace(picture, columns={**picture.columns, **columns[row.id]}))
            names |= dict.fromkeys(columns[row.id])
            changed += 1
    return changed, names


def _put(store: VectorStore, picture: Picture) -> None:
    store.replace_payload(picture.id, picture.to_payload())
