"""A series written a block of voxels at a time: codes (F, B) -> series.npy of (F, V), frames slowest.

Ordinary writes, not a memory map: pages of a map count as this process' memory until they are on the disk,
and a disk that is full ends the process with a signal instead of an error. Letters: F frames, V voxels, B
voxels of a block, S of a strip.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np

from data.caches.cached_run import SERIES
from data.caches.precision import Codes

STRIP_VOXELS = 16_384  # written at once in each frame: fewer, longer writes


class SeriesFile:
    """series.npy under `folder`, open for writing.

    Args:
        folder: of the run.
        shape: (F, V).
        dtype: "float16" or "int8".
    """

    def __init__(self, folder: Path, shape: tuple[int, int], dtype: str) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._file = (folder / SERIES).open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._start = self._file.tell()
        self._strip: list[Codes] = []
        self._done = 0

    def append(self, codes_FB: Codes) -> None:
        """Add the next B voxels, in every frame.

        Raises:
            OSError: the disk is full.
        """
        self._strip.append(codes_FB)
        if sum(codes.shape[1] for codes in self._strip) >= STRIP_VOXELS:
            self._write_strip()

    def _write_strip(self) -> None:
        strip_FS = np.concatenate(self._strip, axis=1)
        self._strip = []
        for frame, row_S in enumerate(strip_FS):
            voxel = frame * self._shape[1] + self._done
            self._file.seek(self._start + voxel * self._dtype.itemsize)
            self._file.write(row_S.data)
        self._done += strip_FS.shape[1]

    def __enter__(self) -> SeriesFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._strip:
                self._write_strip()
        finally:
            self._file.close()
