"""A look at a NIfTI file's first bytes before a library parses them: hostile sizes are refused unread."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from data.errors import BadFileError

LARGEST_EXTENSIONS = 64 << 20  # bytes between header and voxels; real ones take kilobytes
# Size of the header by its first number: where its vox_offset lies, and how it is packed.
LAYOUTS = {348: (108, "f"), 540: (168, "q")}


def require_sane_start(path: Path) -> None:
    """Raise BadFileError where the header says that more than 64 MB lie before the voxels.

    nibabel reads a header's extensions at once, whatever size they claim; of a stream that inflates without
    end (size 0, or 2 GB) that fills the memory. What is no NIfTI is left to nibabel to tell.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            problem = _problem(cast(BinaryIO, stream))
    except (OSError, EOFError, zlib.error, struct.error):
        return
    if problem:
        raise BadFileError(
            "header",
            must_be=f"followed by voxels within {LARGEST_EXTENSIONS >> 20} MB",
            got=problem,
            do="the file is damaged, or meant to fill the memory: copy or fetch it again",
            path=path,
        )


def _problem(stream: BinaryIO) -> str:
    header = stream.read(348)
    size, order = next(
        ((n, order) for order in "<>" for n in [struct.unpack_from(f"{order}i", header)[0]] if n in LAYOUTS),
        (0, "<"),
    )
    if not size:
        return ""
    header += stream.read(size - 348)
    place, kind = LAYOUTS[size]
    (offset,) = struct.unpack_from(order + kind, header, place)
    if not size <= offset <= LARGEST_EXTENSIONS:
        # An offset of 0 is that of a header in a file of its own, or left out: nibabel knows what to do.
        return "" if offset == 0 else f"an offset of {offset:,.0f} bytes"
    if stream.read(4)[:1] in (b"", b"\0"):
        return ""
    left = int(offset) - size - 4
    while left >= 16:
        (length,) = struct.unpack_from(f"{order}i", stream.read(4))
        if not 8 <= length <= left:
            return f"an extension of {length:,} bytes where {left:,} are left"
        stream.read(length - 4)
        left -= length
    return ""
