"""From a request to a page of pictures."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from vision.retrieval import Query
from vision.retrieval.hits import live_paths, passes
from vision.server import schemas
from vision.server.cursors import Mark, read_cursor, write_cursor
from vision.server.library import Library
from vision.server.pictures import describe_hit, describe_picture
from vision.server.problems import Problem
from vision.server.schemas import DEPTH, Picture, SearchAnswer, SearchRequest, Term
from vision.store.vector_store import Vectors


def sentences(asked: schemas.Query) -> list[str]:
    """What the text tower has to be asked."""
    return [term.text for term in asked.terms if term.text is not None]


def build_query(library: Library, asked: schemas.Query) -> Query:
    """What was said -> a query in which every picture is a vector.

    Raises:
        Problem: a picture that the index does not hold, or that was sent too long ago.
    """
    liked, disliked = ([str(id) for id in ids] for ids in (asked.more_like, asked.less_like))
    ids = [*(str(term.id) for term in asked.terms if term.id), *liked, *disliked]
    vectors = library.index.store.vectors(ids) if ids else {}
    if missing := [id for id in ids if id not in vectors]:
        raise Problem("not-found", f"No picture {missing[0]} is in the index.")
    query = Query()
    for term in asked.terms:
        query = query.plus(_content(library, term, vectors), term.weight)
    return query.feedback([vectors[id] for id in liked], [vectors[id] for id in disliked])


def search(library: Library, request: SearchRequest, *, without: str | None = None) -> SearchAnswer:
    """One page of a query.

    Args:
        without: a picture to leave out.

    Raises:
        Problem: pictures that are not there, or a cursor of another query.
        ParameterError: a query or a filter that makes no sense.
    """
    began = time.perf_counter()
    page = _ranked(library, request, without) if not request.is_empty else _browsed(library, request)
    _, recall = library.facts()
    return SearchAnswer(
        **page,
        recall=None if request.is_empty else recall,
        took_ms=round(1000 * (time.perf_counter() - began), 3),
    )


def _ranked(library: Library, request: SearchRequest, without: str | None) -> dict[str, Any]:
    key = _identity(library, request)
    offset = read_cursor(request.cursor, key, int) if request.cursor else 0
    if not isinstance(offset, int) or not 0 <= offset < DEPTH:
        raise Problem("unprocessable", f"cursor must lead to one of the first {DEPTH:,} pictures.")
    k = min(request.k, DEPTH - offset)
    query = build_query(library, request)
    # Where the one to leave out stands is not known before: ranks are counted without it from the first on.
    first, more = (offset, 0) if without is None else (0, offset + 1)
    found = library.index.find(query, k + more, where=request.where, captions=request.captions, offset=first)
    others = [hit for hit in found.hits if hit.id != without][offset - first :][:k]
    shown = [hit for hit in others if passes(hit, request.cut)]
    # Ranked by relevance as they are, pages end with the first that has nothing to show.
    is_last = len(others) < k or not shown or offset + k >= DEPTH
    return {
        "pictures": [describe_hit(hit) for hit in shown],
        "next": None if is_last else write_cursor(offset + k, key),
        "fits": found.fits,
        "left_out": len(others) - len(shown),
    }


def _browsed(library: Library, request: SearchRequest) -> dict[str, Any]:
    key = _identity(library, request)
    after = str(_as_id(read_cursor(request.cursor, key, str))) if request.cursor else None
    pictures: list[Picture] = []
    last: str | None = None
    for id, picture in library.index.browse(request.where, after=after):
        if len(pictures) == request.k:
            last = pictures[-1].id
            break
        if paths := live_paths(picture):
            pictures.append(describe_picture(id, picture, paths))
    return {
        "pictures": pictures,
        "next": None if last is None else write_cursor(last, key),
        "fits": library.index.count(request.where),
        "left_out": 0,
    }


def _as_id(mark: Mark) -> UUID:
    try:
        return UUID(f"{mark}")
    except ValueError:
        raise Problem("unprocessable", "cursor must be `next` of a page of this very query.") from None


def _identity(library: Library, request: SearchRequest) -> Any:
    """What a cursor belongs to."""
    return [library.index.model.key, request.model_dump(mode="json", exclude={"cursor", "k"})]


def _content(library: Library, term: Term, vectors: dict[str, Vectors]) -> Any:
    if term.text is not None:
        return term.text
    return vectors[str(term.id)] if term.id else library.uploads.get(term.upload or "").vector_E
