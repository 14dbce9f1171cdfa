"""Where a page ends and the next one begins, as a text that callers hand back and need not understand."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from vision.server.problems import Problem

Mark = int | str  # how many were given; or the last identifier, where there is no order


def write_cursor(mark: Mark, query: Any) -> str:
    """A cursor of that query, which is anything that JSON can hold."""
    text = json.dumps([mark, _digest(query)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, query: Any, kind: type[Mark]) -> Mark:
    """The mark in a cursor.

    Raises:
        Problem: it is none, or of another query.
    """
    padded = cursor.rstrip("=") + "=" * (-len(cursor.rstrip("=")) % 4)
    try:
        mark, digest = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError, TypeError):
        mark = digest = None
    if type(mark) is not kind or digest != _digest(query):
        raise Problem("unprocessable", "cursor must be `next` of a page of this very query.")
    found: Mark = mark
    return found


def _digest(query: Any) -> str:
    return hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()[:16]
