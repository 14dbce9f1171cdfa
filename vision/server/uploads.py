"""Pictures that were sent to search by: kept in memory for a while, on the disk only while they are decoded.

What is sent may be anything. It is decoded in a process of its own, which may crash or hang over it.

Shape legend: C channels, H W pixels, E components of the joint space.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.errors import BadFileError
from data.photos import PhotoFile, photo_file
from vision.retrieval.decode_pool import DecodePool
from vision.retrieval.embedder import Pixels
from vision.retrieval.picture import Picture
from vision.retrieval.picture_reader import PictureReader
from vision.server.options import Limits
from vision.server.problems import Problem
from vision.store.vector_store import Vectors

EXPIRES_S = 3600
DECODE_S = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """A picture, its file's bytes, and its vector (E,)."""

    id: str
    picture: Picture
    file: PhotoFile
    vector_E: Vectors
    expires: float


class Uploads:
    """The pictures that were sent; the oldest go when they are too many bytes, all of them after an hour."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self._limits, self._clock = limits, clock
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: bytes, picture: Picture, vector_E: Vectors) -> Upload:
        """Keep one."""
        upload = Upload(
            id=secrets.token_urlsafe(16),
            picture=picture,
            file=photo_file(Path("upload"), data),
            vector_E=vector_E,
            expires=self._clock() + EXPIRES_S,
        )
        with self._lock:
            self._kept[upload.id] = upload
            self._drop_old()
        return upload

    def get(self, id: str) -> Upload:
        """One that is still kept.

        Raises:
            Problem: it is not.
        """
        with self._lock:
            self._drop_old()
            if id not in self._kept:
                raise Problem("not-found", "The picture that was sent is no longer kept; send it again.")
            return self._kept[id]

    def _drop_old(self) -> None:
        size = sum(upload.file.size for upload in self._kept.values())
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.expires > self._clock() and size <= self._limits.uploads_bytes:
                return
            size -= oldest.file.size
            del self._kept[oldest.id]


def decode_upload(data: bytes, reader: PictureReader) -> tuple[Picture, Pixels]:
    """Bytes -> what is known of the picture, and its pixels (3, H, W) as the model takes them.

    Raises:
        Problem: no picture, a hostile one, or one with too many pixels.
    """
    if not data:
        raise Problem("unprocessable", "The body must be a picture, got nothing.")
    with (
        tempfile.NamedTemporaryFile(prefix="chiasm-upload-") as file,
        DecodePool(reader, workers=1, seconds=DECODE_S, in_threads=0) as pool,
    ):
        file.write(data)
        file.flush()
        try:
            decoded = pool.submit(Path(file.name), lambda file: True).result().decoded
        except BadFileError as error:
            raise Problem("unprocessable", f"The body must be a picture, got {error.got}.") from error
    assert decoded is not None  # it was wanted
    return decoded
