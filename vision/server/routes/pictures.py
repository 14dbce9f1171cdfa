"""Single pictures of the index, and pictures that are sent to search by."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from pydantic import BeforeValidator

from vision.retrieval.embedder import embed_pixels
from vision.retrieval.hits import live_paths
from vision.retrieval.picture_reader import PictureReader
from vision.server import pictures
from vision.server.library import Library
from vision.server.problems import Problem
from vision.server.routes.needs import PictureId, TheLibrary, content, problems
from vision.server.schemas import Picture, Upload
from vision.server.thumbnails import SIDES, thumbnail
from vision.server.uploads import EXPIRES_S, decode_upload
from vision.server.words import words_of

router = APIRouter(tags=["pictures"])
# A thumbnail of an identifier never changes: the identifier is a hash of the picture.
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}

# Parameters of a query are texts, which no literal number is equal to.
NUMBERS = {f"{side}": side for side in SIDES}
Side = Annotated[Literal[160, 320, 640, 1280, 2560], BeforeValidator(lambda side: NUMBERS.get(side, side))]
UploadId = Annotated[str, Path(pattern=r"^[\w-]{1,64}$", examples=["Zk3v8qkT0mJx1uYw5bQe7A"])]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in ("image/*", "application/octet-stream")
        },
    }
}


@router.get("/pictures/{id}", summary="One picture", responses=problems("not-found", "gone", "unprocessable"))
async def show_picture(library: TheLibrary, id: PictureId) -> Picture:
    """What the index knows of a picture."""
    return await library.run("search", _described, library, str(id))


@router.get(
    "/pictures/{id}/thumbnail",
    summary="A small JPEG",
    response_class=Response,
    responses=content("image/jpeg", "Upright.") | problems("not-found", "gone", "unprocessable"),
)
async def show_thumbnail(library: TheLibrary, id: PictureId, side: Side = 320) -> Response:
    """A picture, upright, with no side longer than `side` and never enlarged."""
    data = await library.run("pictures", pictures.thumbnail_of, library, str(id), side)
    return Response(data, media_type="image/jpeg", headers=FOR_EVER)


@router.get(
    "/pictures/{id}/original",
    summary="The file itself",
    response_class=Response,
    responses=content("application/octet-stream", "The bytes that were indexed.")
    | problems("not-found", "gone", "unprocessable"),
)
async def download_original(library: TheLibrary, id: PictureId) -> Response:
    """The file's bytes, to be saved: browsers are told not to show them."""
    picture = await library.run("search", pictures.known_picture, library, str(id))
    file = await library.run("pictures", pictures.read_file, picture)
    name = quote(words_of(file.path.name))
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(file.data, media_type="application/octet-stream", headers=headers)


@router.post(
    "/uploads",
    summary="Send a picture to search by",
    status_code=201,
    responses=problems("too-large", "unprocessable", "unavailable"),
    openapi_extra=BODY,
)
async def send_picture(library: TheLibrary, request: Request) -> Upload:
    """Keep a picture for an hour, for the terms of later queries; it does not get into the index."""
    data = await request.body()
    embedder = await library.run("model", lambda: library.index.backbone)
    reader = PictureReader(
        preprocess=embedder.preprocess,
        decode=library.index.model.decode,
        most_pixels=library.limits.upload_pixels,
    )
    picture, pixels_CHW = await library.run("uploads", decode_upload, data, reader)
    vectors_1E = await library.run("model", embed_pixels, embedder, pixels_CHW[None])
    upload = library.uploads.add(data, picture, vectors_1E[0])
    return Upload(
        id=upload.id,
        width=picture.width,
        height=picture.height,
        format=picture.format,
        expires_in_s=EXPIRES_S,
    )


@router.get(
    "/uploads/{id}/thumbnail",
    summary="A small JPEG of a picture that was sent",
    response_class=Response,
    responses=content("image/jpeg", "Upright.") | problems("not-found", "unprocessable"),
)
async def show_upload(library: TheLibrary, id: UploadId, side: Side = 320) -> Response:
    """As of a picture of the index; nothing of it is kept on the disk."""
    file = library.uploads.get(id).file
    data = await library.run("pictures", thumbnail, file, side)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": f"private, max-age={EXPIRES_S}"})


def _described(library: Library, id: str) -> Picture:
    picture = pictures.known_picture(library, id)
    paths = live_paths(picture)
    if not paths:
        raise Problem("gone", "Its files have been moved or deleted since they were indexed.")
    return pictures.describe_picture(id, picture, paths)
