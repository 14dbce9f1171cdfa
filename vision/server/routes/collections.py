"""What is served, and what its pictures can be told apart by."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Path

from vision.server.library import Library
from vision.server.problems import Problem
from vision.server.routes.needs import TheLibrary, problems
from vision.server.schemas import Collection, Collections, Facets, FacetValue
from vision.server.words import words_of

router = APIRouter(prefix="/collections", tags=["collections"])
Key = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", examples=["0f3a5c7e9b1d2f4a"])]


@router.get("", summary="Collections", responses=problems())
async def list_collections(library: TheLibrary) -> Collections:
    """What is served: the collection of the store that the server was started with."""
    return Collections(collections=[await library.run("search", _described, library)])


@router.get("/{key}", summary="One collection", responses=problems("not-found", "unprocessable"))
async def show_collection(library: TheLibrary, key: Key) -> Collection:
    """The model, the size, and what is known of the pictures."""
    return await library.run("search", _described, library, key)


@router.get("/{key}/facets", summary="Values to filter by", responses=problems("not-found", "unprocessable"))
async def show_facets(library: TheLibrary, key: Key) -> Facets:
    """Years, cameras, formats, folders and own columns, with how many pictures have each value."""
    return await library.run("labels", _facets, library, key)


def _described(library: Library, key: str | None = None) -> Collection:
    index = library.index
    if key is not None:
        _check(library, key)
    facts, recall = library.facts()
    notes, model = index.notes, index.model
    return Collection(
        key=model.key,
        name=words_of(PurePath(index.address).name),
        address=words_of(index.address),
        model=model.name,
        fingerprint=model.fingerprint,
        decode=model.decode,
        precision=model.precision,
        dim=model.dim,
        has_text=index.has_text(),
        pictures=len(index),
        captions=notes.captions,
        columns=list(notes.columns),
        roots=[words_of(root) for root in notes.roots],
        graph_rows=facts.graph_rows,
        recall=recall,
        disk_bytes=facts.disk_bytes,
    )


def _facets(library: Library, key: str) -> Facets:
    _check(library, key)
    fields = {
        name: [FacetValue(value=value, count=count) for value, count in values]
        for name, values in library.facets().items()
    }
    return Facets(pictures=len(library.index), fields=fields)


def _check(library: Library, key: str) -> None:
    if key != library.index.model.key:
        raise Problem("not-found", f"No collection {key} is served here.")
