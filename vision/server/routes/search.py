"""Search by words, pictures and sums of these."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from vision.server.routes.needs import PictureId, TheLibrary, problems
from vision.server.schemas import TERMS_MOST, Cursor, Cut, K, SearchAnswer, SearchRequest, Term, Where, Words
from vision.server.searching import search, sentences

router = APIRouter(tags=["search"])
WORDS_MOST = TERMS_MOST // 2


@router.post(
    "/search", summary="Search", responses=problems("bad-request", "not-found", "unprocessable", "too-large")
)
async def search_pictures(library: TheLibrary, request: SearchRequest) -> SearchAnswer:
    """The pictures that fit best, page by page; without a term, all that fit the filter."""
    await library.texts.ready(sentences(request))
    return await library.run("search", search, library, request)


@router.get("/search", summary="Search by words alone", responses=problems("not-found", "unprocessable"))
async def search_words(
    library: TheLibrary,
    q: Annotated[list[Words], Query(max_length=WORDS_MOST, examples=[["a dog on a beach"]])] = [],  # noqa: B006
    minus: Annotated[list[Words], Query(max_length=WORDS_MOST, examples=[["people"]])] = [],  # noqa: B006
    where: Where | None = None,
    k: K = 60,
    cut: Cut = 0.5,
    cursor: Cursor | None = None,
) -> SearchAnswer:
    """The same for links and other simple callers."""
    terms = [Term(text=words) for words in q] + [Term(text=words, weight=-1) for words in minus]
    request = SearchRequest(terms=terms, where=where, k=k, cut=cut, cursor=cursor)
    return await search_pictures(library, request)


@router.get(
    "/pictures/{id}/similar", summary="Similar pictures", responses=problems("not-found", "unprocessable")
)
async def similar_pictures(
    library: TheLibrary,
    id: PictureId,
    where: Where | None = None,
    k: K = 60,
    cut: Cut = 0.5,
    cursor: Cursor | None = None,
) -> SearchAnswer:
    """The pictures most like one of the index, without itself."""
    request = SearchRequest(terms=[Term(id=id)], where=where, k=k, cut=cut, cursor=cursor)
    return await library.run("search", search, library, request, without=str(id))
