"""Pictures as callers see them, and their files: bytes that the index knows, and no others.

Callers name pictures by identifier, never by path; and a file is only given out if its bytes are still those
that were indexed. So whatever a path in the index has come to lead to, a link to some other file say, nothing
else gets out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.errors import BadFileError
from data.photos import PhotoFile, read_photo
from vision.retrieval import Hit
from vision.retrieval import picture as retrieved
from vision.server import schemas
from vision.server.library import Library
from vision.server.problems import Problem
from vision.server.words import words_of


def known_picture(library: Library, id: str) -> retrieved.Picture:
    """What the index knows of a picture.

    Raises:
        Problem: it does not.
    """
    found = library.index.pictures([id])
    if id not in found:
        raise Problem("not-found", f"No picture {id} is in the index.")
    return found[id]


def read_file(picture: retrieved.Picture) -> PhotoFile:
    """The file of a picture, its bytes checked against what was indexed.

    Raises:
        Problem: none of its files holds it any more.
    """
    for place in sorted(picture.places, key=lambda one: one.path):
        try:
            file = read_photo(place.path)
        except BadFileError:
            continue
        if file.content == picture.content:
            return file
    raise Problem("gone", "The file has been moved, changed or deleted since it was indexed.")


def thumbnail_of(library: Library, id: str, side: int) -> bytes:
    """A small JPEG, from the cache or made now.

    Raises:
        Problem: no such picture, or none of its files holds it any more.
    """
    picture = known_picture(library, id)
    data = library.thumbnails.read(picture.content, side)
    return library.thumbnails.make(read_file(picture), side) if data is None else data


def describe_hit(hit: Hit) -> schemas.Picture:
    """A hit, with how well it fits."""
    described = describe_picture(hit.id, hit.picture, [hit.path, *hit.copies])
    fits = {"score": round(hit.score, 6), "relevance": hit.relevance, "by_caption": hit.by_caption}
    return described.model_copy(update=fits)


def describe_picture(id: str, picture: retrieved.Picture, paths: Sequence[Path]) -> schemas.Picture:
    """A picture that lies at these paths, of which there is at least one."""
    first = next(place for place in picture.places if place.path == paths[0])
    return schemas.Picture(
        id=id,
        name=words_of(paths[0].name),
        path=words_of(paths[0]),
        copies=[words_of(path) for path in paths[1:]],
        width=picture.width,
        height=picture.height,
        format=picture.format,
        size=picture.size,
        tags=list(first.tags),
        mtime=first.changed_at,
        taken_at=picture.taken_at,
        camera=picture.camera,
        lat=picture.gps.lat if picture.gps else None,
        lon=picture.gps.lon if picture.gps else None,
        caption=picture.caption,
        columns=dict(picture.columns),
    )
