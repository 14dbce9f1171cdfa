"""Why a picture came up."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Response

from data.photos import PhotoFile, decode_photo
from vision.server.library import Library
from vision.server.pictures import known_picture, read_file
from vision.server.routes.needs import TheLibrary, problems
from vision.server.schemas import ExplainAnswer, ExplainRequest
from vision.server.searching import build_query, sentences

if TYPE_CHECKING:
    from vision.explain import Explanation

router = APIRouter(tags=["explain"])
PNG = "image/png"
DRAWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post(
    "/explain",
    summary="Where a picture shows what was asked for",
    response_model=ExplainAnswer,
    responses=DRAWN
    | problems("bad-request", "not-found", "gone", "unprocessable", "too-large", "unavailable"),
)
async def explain(
    library: TheLibrary, request: ExplainRequest, accept: Annotated[str, Header()] = "application/json"
) -> ExplainAnswer | Response:
    """A map of relevance over the picture; with `Accept: image/png`, drawn over the picture."""
    await library.texts.ready(sentences(request))
    file = await library.run("pictures", _file, library, request)
    explanation, methods = await library.run("model", _explain, library, request, file)
    if PNG in accept:
        data = await library.run("pictures", _drawn, explanation, file)
        return Response(data, media_type=PNG)
    return ExplainAnswer(
        map=[[round(float(value), 4) for value in row] for row in explanation.map_RC],
        box=explanation.box,
        score=explanation.score,
        method=explanation.method,
        methods=methods,
    )


def _file(library: Library, request: ExplainRequest) -> PhotoFile:
    if request.upload is not None:
        return library.uploads.get(request.upload).file
    return read_file(known_picture(library, str(request.id)))


def _explain(library: Library, request: ExplainRequest, file: PhotoFile) -> tuple[Explanation, list[str]]:
    query = build_query(library, request)
    explanation = library.index.explain(file, query, method=request.method)
    return explanation, library.index.explain_methods()


def _drawn(explanation: Explanation, file: PhotoFile) -> bytes:
    buffer = BytesIO()
    explanation.overlay(decode_photo(file).pixels_HWC).save(buffer, "PNG")
    return buffer.getvalue()
