"""SHA-256 of files, remembered: a file that has not changed (same place, size and time) is not read again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from data.cache_folder import cache_folder


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """SHA-256 of a file, from the notes in the cache folder if place, size and time are still the same."""
    notes_path = cache_folder() / "sha256.json"
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    notes = _read_notes(notes_path)
    if key not in notes:
        notes[key] = sha256(path)
        _write_notes(notes_path, notes)
    return notes[key]


def _read_notes(path: Path) -> dict[str, str]:
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _write_notes(path: Path, notes: dict[str, str]) -> None:
    # Notes save time and nothing else: a read-only home is no reason to fail.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(notes, indent=0), encoding="utf-8")
        draft.replace(path)
    except OSError:
        return
