"""What every route needs, and what every route may answer."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Path, Request

from vision.server.library import Library
from vision.server.problems import KINDS, MEDIA_TYPE
from vision.server.schemas import EXAMPLE_ID


async def _library(request: Request) -> Library:  # a plain function would be called in another thread
    library: Library = request.app.state.library
    return library


TheLibrary = Annotated[Library, Depends(_library)]
PictureId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]


def problems(*names: str) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, beside those that any may, for its description."""
    every = ("unauthorised", "forbidden", "misdirected", "too-many-requests", "internal", "busy", "timeout")
    described: dict[int | str, dict[str, Any]] = {}
    for name in (*names, *every):
        status, title = KINDS[name]
        schema = {"$ref": "#/components/schemas/ProblemDetail"}
        described.setdefault(status, {"description": title, "content": {MEDIA_TYPE: {"schema": schema}}})
    return described


def content(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """An answer that is no JSON."""
    schema = {"type": "string"} if media_type.startswith("text/") else {"type": "string", "format": "binary"}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}
