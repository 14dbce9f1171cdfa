"""The columns that a filter can speak of: their names, and where the payload of a picture keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "word", "number", "time", "words"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column.

    Args:
        key: its place in the payload, `[]` reaching into a list.
        kind: "text" is compared whole and searched for parts, "word" compared whole, "words" is running
            text for full-text search, "time" is ISO 8601 (UTC where it names no zone), "number" any number.
    """

    key: str
    kind: Kind


PATH = "files[].path"
CAPTION = "caption"
PLACE = "gps"  # {"lat": degrees, "lon": degrees}

FIELDS: dict[str, Field] = {
    "path": Field(key=PATH, kind="text"),
    "mtime": Field(key="files[].mtime", kind="time"),
    "tags": Field(key="files[].tags", kind="word"),
    "size": Field(key="size", kind="number"),
    "width": Field(key="width", kind="number"),
    "height": Field(key="height", kind="number"),
    "format": Field(key="format", kind="word"),
    "taken_at": Field(key="taken_at", kind="time"),
    "camera": Field(key="camera", kind="text"),
    "lat": Field(key="gps.lat", kind="number"),
    "lon": Field(key="gps.lon", kind="number"),
    "caption": Field(key=CAPTION, kind="words"),
}


def column_key(name: str) -> str:
    """Where the payload, under "columns", keeps a column that `vision classify` or a person added.

    A name that is no plain word stands in quotes; it cannot hold a double quote itself.
    """
    plain = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return f"columns.{name}" if plain else f'columns."{name}"'
