"""The search page: every file of it is read once, at the start; names are looked up, never opened."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from vision.server.places import SIGN_IN
from vision.server.problems import Problem

FOLDER = "page"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """A file, as it is and compressed, its media type, and a tag that changes with it."""

    data: bytes
    zipped: bytes
    media_type: str
    tag: str


def read_page() -> dict[str, PageFile]:
    """All files of the page, by name."""
    page: dict[str, PageFile] = {}
    for entry in importlib.resources.files("vision.server").joinpath(FOLDER).iterdir():
        media_type = MEDIA_TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            data = entry.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            zipped = gzip.compress(data, mtime=0)
            page[entry.name] = PageFile(data=data, zipped=zipped, media_type=media_type, tag=tag)
    return page


@router.get("/")
async def show_page(request: Request) -> Response:
    """The search page."""
    return _answer(request, "index.html")


@router.get(SIGN_IN)
async def show_sign_in(request: Request) -> Response:
    """The page that asks for the token."""
    return _answer(request, "sign-in.html")


@router.get("/favicon.ico")
async def show_mark(request: Request) -> Response:
    """Browsers ask for it unasked."""
    return _answer(request, "mark.svg")


@router.get("/page/{name}")
async def show_file(request: Request, name: str) -> Response:
    """A part of the page."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    page: dict[str, PageFile] = request.app.state.page
    if name not in page:
        raise Problem("not-found", "The page has no such file.")
    file = page[name]
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        zipped = headers | {"Content-Encoding": "gzip"}
        return Response(file.zipped, media_type=file.media_type, headers=zipped)
    return Response(file.data, media_type=file.media_type, headers=headers)
