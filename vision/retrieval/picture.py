"""What the index knows of one picture, and how that is written into a store's payload.

A picture is its bytes: files with the same bytes are one picture with several places. So one vector is stored
for it however often it was copied, and moving a file changes the places alone.
"""

from __future__ import annotations

import os
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.photo_facts import Coordinates
from vision.store.vector_store import Payload

PATH_FIELD = "files[].path"  # where a store finds a picture by the path of one of its files
_RAW = "raw:"  # absolute paths never begin so


Word = str | int | float


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file that holds the picture.

    Args:
        path: absolute.
        mtime_ns: time of the file's last change when it was read.
        tags: names of the folders between the folder that was indexed and the file, outermost first.
    """

    path: Path
    mtime_ns: int
    tags: tuple[str, ...] = ()

    @property
    def changed_at(self) -> str | None:
        """`mtime_ns` as ISO 8601 in UTC; None for times that no calendar has, as files may bear them."""
        try:
            return datetime.fromtimestamp(self.mtime_ns // 1_000_000_000, UTC).isoformat()
        except (OverflowError, ValueError, OSError):
            return None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture, and everything that the index knows of it besides its vector.

    Args:
        content: BLAKE2b-256 of its bytes, in hexadecimal.
        size: number of its bytes.
        width: of the upright picture, in pixels.
        height: the same.
        format: as Pillow names it.
        places: the files that hold it.
        taken_at: as `data.photo_facts.PhotoFacts` says it.
        camera: the same.
        gps: the same.
        caption: running text, for full-text search.
        columns: what `vision classify` or a person added.
    """

    content: str
    size: int
    width: int
    height: int
    format: str
    places: tuple[Place, ...]
    taken_at: str | None = None
    camera: str | None = None
    gps: Coordinates | None = None
    caption: str | None = None
    columns: Mapping[str, Word] = field(default_factory=dict)

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
        """JSON-ready form, what is not known left out; `vision.store.fields` names its keys."""
        facts = {"content": self.content, "size": self.size, "width": self.width, "height": self.height}
        more = {"taken_at": self.taken_at, "camera": self.camera, "caption": self.caption}
        known = {key: value for key, value in more.items() if value is not None}
        gps = {"gps": self.gps._asdict()} if self.gps is not None else {}
        columns = {"columns": dict(self.columns)} if self.columns else {}
        files = {"files": [_file_to_payload(place) for place in self.places]}
        return {**facts, "format": self.format, **known, **gps, **columns, **files}

    @classmethod
    def from_payload(cls, payload: Payload) -> Picture:
        """The inverse of `to_payload`; what an earlier version did not write is not known."""
        facts: dict[str, Any] = dict(payload)
        facts["places"] = tuple(map(_file_from_payload, facts.pop("files")))
        if facts.get("gps"):
            facts["gps"] = Coordinates(**facts["gps"])
        return cls(**facts)


def _file_to_payload(place: Place) -> dict[str, Any]:
    mtime = {} if place.changed_at is None else {"mtime": place.changed_at}
    return {
        "path": path_to_text(place.path),
        "mtime_ns": place.mtime_ns,
        **mtime,
        "tags": list(place.tags),
    }


def _file_from_payload(file: Mapping[str, Any]) -> Place:
    tags = tuple(file.get("tags", ()))
    return Place(path=text_to_path(file["path"]), mtime_ns=file["mtime_ns"], tags=tags)


def folder_tags(path: Path, root: Path | None) -> tuple[str, ...]:
    """Names of the folders between `root` and the file, as text; none where no root was named."""
    if root is None:
        return ()
    return tuple(os.fsencode(name).decode("utf-8", "replace") for name in path.relative_to(root).parts[:-1])


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
