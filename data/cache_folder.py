"""Where Chiasm keeps what saves time and nothing else: it may be deleted whenever one likes."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`CHIASM_CACHE`, or `chiasm` in the user's cache folder."""
    stated = os.environ.get("CHIASM_CACHE")
    if stated:
        return Path(stated)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chiasm"
