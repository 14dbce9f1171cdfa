"""The server itself: health, figures, and signing in."""

from __future__ import annotations

from importlib import metadata

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from vision.server.guard import COOKIE, Guard
from vision.server.routes.needs import TheLibrary, content, problems
from vision.server.schemas import Health, SessionRequest

router = APIRouter(tags=["service"])


@router.get("/health", summary="Health", responses=problems())
async def show_health(library: TheLibrary) -> Health:
    """Whether the server works; the model is loaded in the background, and words do not wait for it."""
    return Health(
        version=metadata.version("chiasm"),
        pictures=await library.run("search", len, library.index),
        model=library.index.model.name,
        model_state=library.model_state,
    )


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=content("text/plain", "Prometheus' text format.") | problems(),
)
async def show_metrics(library: TheLibrary) -> Response:
    """Requests by route and status, their times, batches of sentences, memory and processor time."""
    text = await library.run("search", library.metrics.text)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.post(
    "/session",
    summary="Sign in",
    status_code=204,
    response_class=Response,
    responses=problems("bad-request", "unprocessable", "too-large"),
)
async def sign_in(request: Request, said: SessionRequest) -> Response:
    """Exchange the token for a cookie that scripts cannot read."""
    guard: Guard = request.app.state.guard
    response = Response(status_code=204)
    guard.sign_in(said.token, response, is_secure=request.url.scheme == "https")
    return response


@router.delete("/session", summary="Sign out", status_code=204, response_class=Response, responses=problems())
async def sign_out() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
