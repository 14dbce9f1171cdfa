"""What the index knows of one picture, and how that is written into a store's payload.

A picture is its bytes: files with the same bytes are one picture with several places. So one vector is stored
for it however often it was copied, and moving a file changes the places alone.
"""

from __future__ import annotations

import os
import urllib.parse
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vision.retrieval.store import Payload

PATH_FIELD = "files[].path"  # where a store finds a picture by the path of one of its files
_RAW = "raw:"  # absolute paths never begin so


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file that holds the picture, and the time of its last change when it was read."""

    path: Path
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture: BLAKE2b-256 of its bytes, their number, its upright size in pixels, and where it lies."""

    content: str
    size: int
    width: int
    height: int
    format: str
    places: tuple[Place, ...]

    @property
    def id(self) -> str:
        """The store's identifier: the first half of the hash, written as a UUID."""
        return content_id(self.content)

    def lies_at(self, path: Path) -> bool:
        """Whether one of the files is `path`."""
        return any(place.path == path for place in self.places)

    def with_place(self, place: Place) -> Picture:
        """The same picture lying at `place` too, which takes the place of an older note of that path."""
        return replace(self, places=(*self.without([place.path]).places, place))

    def without(self, paths: Iterable[Path]) -> Picture:
        """The same picture without some of its files."""
        gone = set(paths)
        return replace(self, places=tuple(place for place in self.places if place.path not in gone))

    def to_payload(self) -> Payload:
        """JSON-ready form; its field names are what later filters speak of."""
        files = [{"path": path_to_text(place.path), "mtime_ns": place.mtime_ns} for place in self.places]
        facts = {"size": self.size, "width": self.width, "height": self.height, "format": self.format}
        return {"content": self.content, **facts, "files": files}

    @classmethod
    def from_payload(cls, payload: Payload) -> Picture:
        """The inverse of `to_payload`."""
        facts: dict[str, Any] = {key: value for key, value in payload.items() if key != "files"}
        places = tuple(
            Place(path=text_to_path(file["path"]), mtime_ns=file["mtime_ns"]) for file in payload["files"]
        )
        return cls(**facts, places=places)


def content_id(content: str) -> str:
    """Hash in hexadecimal -> UUID as text."""
    return str(uuid.UUID(content[:32]))


def path_to_text(path: Path) -> str:
    """A path as JSON can hold it; a name that is no valid text is kept byte by byte."""
    text = str(path)
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return _RAW + urllib.parse.quote(os.fsencode(path))


def text_to_path(text: str) -> Path:
    """The inverse of `path_to_text`."""
    if text.startswith(_RAW):
        return Path(os.fsdecode(urllib.parse.unquote_to_bytes(text.removeprefix(_RAW))))
    return Path(text)
