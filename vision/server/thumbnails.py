"""Small JPEGs of pictures, made once and kept on the disk under the hash of what they show."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from data.photos import PhotoFile, small_photo
from data.writing import whole_file

SIDES = (160, 320, 640, 1280, 2560)
QUALITY = 82
CHECK_EVERY = 500  # new ones between two looks at how much there is
KEEP = 0.9  # of the limit, where there was more


class Thumbnails:
    """A cache in a folder; it may be deleted at any time, and keeps itself below a size.

    Args:
        folder: made when the first one is written.
        most_bytes: those that were not asked for the longest go when there is more.
    """

    def __init__(self, folder: Path, most_bytes: int):
        self.folder, self._most_bytes = folder, most_bytes
        self._lock = threading.Lock()
        self._written = 0

    def read(self, content: str, side: int) -> bytes | None:
        """The JPEG of the picture with that hash, if it is there."""
        path = self._path(content, side)
        try:
            data = path.read_bytes()
            os.utime(path)  # asked for now
        except OSError:
            return None
        return data

    def make(self, file: PhotoFile, side: int) -> bytes:
        """The JPEG of a picture, no side longer than `side`, from its file's bytes.

        Raises:
            BadFileError: it cannot be decoded.
        """
        data = thumbnail(file, side)
        with suppress(OSError), self._lock:  # it saves time and nothing else
            path = self._path(file.content, side)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # others may not see the pictures
            path.parent.mkdir(exist_ok=True)
            with whole_file(path) as draft:
                draft.write_bytes(data)
            self._written += 1
            if self._written % CHECK_EVERY == 1:
                self._shrink()
        return data

    def _path(self, content: str, side: int) -> Path:
        return self.folder / content[:2] / f"{content[2:]}-{side}.jpg"

    def _shrink(self) -> None:
        found = [(path.stat(), path) for path in self.folder.glob("??/*.jpg")]
        total = sum(status.st_size for status, _ in found)
        if total <= self._most_bytes:
            return
        for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
            path.unlink(missing_ok=True)
            total -= status.st_size
            if total <= KEEP * self._most_bytes:
                return


def thumbnail(file: PhotoFile, side: int) -> bytes:
    """A picture's bytes -> a JPEG, upright, no side longer than `side` and never enlarged.

    Raises:
        BadFileError: it cannot be decoded.
    """
    buffer = BytesIO()
    small_photo(file, side).save(
        buffer, "JPEG", quality=QUALITY, optimize=side <= 640, progressive=side > 640
    )
    return buffer.getvalue()
