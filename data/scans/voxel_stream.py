"""The bytes of a NIfTI file one after the other, unpacked; a file that is cut short or damaged says so."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

from data.errors import BadFileError

LARGEST_GZIP_RATIO = 1032  # deflate cannot pack tighter
QUEUE_BYTES = 1 << 18  # of a piece of what the thread unpacks ahead; it holds some ten of them
TAIL_BLOCKS = 256  # of 64 KiB, how far past the voxels the end of the file is looked for


class VoxelStream:
    """A run's file, open for reading from its first byte on.

    Args:
        path: the file.
        shape: (X, Y, Z, T) as its header has it, for messages.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path, self._shape = path, shape
        self._stream = _unpacked(path)

    def __enter__(self) -> VoxelStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def read(self, count: int, frame: int, last: bool = False) -> bytes:
        """Exactly `count` bytes, which begin in frame `frame`; with `last` the file must end after them.

        Raises:
            BadFileError: the file ends early, is damaged, or goes on for megabytes after the last frame.
        """
        from isal.igzip_lib import IsalError

        try:
            raw: bytes = self._stream.read(count)
            if last:
                self._require_end()
            problem = "the end of the file"
        except (EOFError, OSError, zlib.error, IsalError) as error:  # type: ignore[misc]  # in isal's stub
            raw, problem = b"", f"damaged compression ({error})"
        if len(raw) == count:
            return raw
        raise BadFileError(
            "run of fMRI",
            must_be=f"{self._shape[3]} frames, as its header promises",
            got=f"{problem} in or after frame {frame}",
            do="the file is cut short or damaged: copy or fetch it again",
            path=self._path,
        )

    def _require_end(self) -> None:
        # Only on reaching the end does gzip compare its checksum.
        for _ in range(TAIL_BLOCKS):
            if not self._stream.read(1 << 16):
                return
        raise BadFileError(
            "size of the data",
            must_be=f"that of shape {self._shape}",
            got=f"more than {TAIL_BLOCKS >> 4} MB beyond it",
            do="the header is wrong, or the file is meant to fill the disk: copy or fetch it again",
            path=self._path,
        )


def may_hold(path: Path, promised: int) -> bool | None:
    """Whether a file can hold so many bytes unpacked; None where only reading it to the end would tell."""
    packed = path.stat().st_size
    if path.suffix != ".gz":
        return path.suffix != ".nii" or packed >= promised
    with path.open("rb") as stream:
        stream.seek(-4, 2)
        trailer = int.from_bytes(stream.read(4), "little")
    if trailer == promised % 2**32:
        return True
    # A gzip of several members also differs here, and is whole.
    return None if promised <= packed * LARGEST_GZIP_RATIO else False


def _unpacked(path: Path) -> Any:
    """The file's bytes; gzip is unpacked in a thread of its own, ahead of whoever reads."""
    if path.suffix != ".gz":
        from nibabel.openers import ImageOpener

        return ImageOpener(path)
    from isal import igzip_threaded

    return igzip_threaded.open(path, "rb", threads=1, block_size=QUEUE_BYTES)  # type: ignore[no-untyped-call]
