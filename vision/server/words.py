"""Names of files, and what is said of them, as text that JSON can hold."""

from __future__ import annotations

import os
from pathlib import Path


def words_of(name: Path | str) -> str:
    """Bytes of a name that are no text become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
