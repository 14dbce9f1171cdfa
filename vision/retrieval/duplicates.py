"""Pictures that an index holds more than once: the very same bytes, or near by embedding.

Shape legend: N pictures, E components, I J rows of two blocks.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ParameterError
from vision.retrieval.ingest import is_gone
from vision.retrieval.picture import Picture
from vision.store.vector_store import Vectors, VectorStore

BLOCK = 2048  # rows compared with as many others at once: 16 MB of cosines
ROUNDING = 1e-6  # of a cosine of two equal vectors in single precision


@dataclass(frozen=True, kw_only=True)
class DuplicateGroup:
    """Files that show the same.

    Args:
        paths: existing files, two or more: all that hold the same bytes, or one of each near picture.
        cosine: the least of those that link the group; None where the bytes are the same.
    """

    paths: tuple[Path, ...]
    cosine: float | None = None

    @property
    def label(self) -> str:
        """The cosine, or "same bytes"."""
        return "same bytes" if self.cosine is None else f"{self.cosine:.4f}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        cosine = None if self.cosine is None else round(self.cosine, 6)
        return {"paths": [str(path) for path in self.paths], "cosine": cosine}


def find_duplicates(store: VectorStore, *, near: float | None = None) -> Iterator[DuplicateGroup]:
    """Groups of files with the same bytes and then, on request, of pictures that look alike.

    Near pictures are linked, and a group is all that hangs together by links, so that two of its members may
    be less alike than `near`. Every pair is compared, as a graph (HNSW) may miss some: N^2 E operations,
    block by block, with the vectors in a file of 4 N E bytes in the folder for temporary files.

    Args:
        near: least cosine of pictures that count as alike, say 0.97.

    Raises:
        ParameterError: `near` is not above 0 and at most 1.
    """
    if near is not None and not 0 < near <= 1:
        raise ParameterError("near", must_be="above 0 and at most 1", got=near, do="try 0.97")
    return itertools.chain(_same_bytes(store), _alike(store, near) if near is not None else ())


def _same_bytes(store: VectorStore) -> Iterator[DuplicateGroup]:
    for row in store.scan():
        if len(row.payload["files"]) > 1 and len(paths := _files(Picture.from_payload(row.payload))) > 1:
            yield DuplicateGroup(paths=tuple(paths))


def _alike(store: VectorStore, near: float) -> Iterator[DuplicateGroup]:
    with tempfile.TemporaryFile() as file:
        ids: list[str] = []
        dim = 0
        for page, vectors_NE in store.scan_vectors():
            file.write(np.ascontiguousarray(vectors_NE, dtype=np.float32).tobytes())
            ids.extend(page)
            dim = vectors_NE.shape[1]
        file.flush()
        if len(ids) < 2:
            return
        vectors_NE = np.memmap(file, dtype=np.float32, mode="r", shape=(len(ids), dim))
        groups_N, weakest_N = _linked(vectors_NE, near)
        del vectors_NE  # before its file
    for rows in _members(groups_N):
        files = (_files(Picture.from_payload(row.payload)) for row in store.get([ids[n] for n in rows]))
        paths = sorted(paths[0] for paths in files if paths)
        if len(paths) > 1:
            yield DuplicateGroup(paths=tuple(paths), cosine=float(weakest_N[rows].min()))


def _linked(vectors_NE: Vectors, near: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Unit vectors -> each row's group (N,), and the least cosine of its links (N,), infinite without any."""
    groups_N = np.arange(len(vectors_NE))
    weakest_N = np.full(len(vectors_NE), np.inf, dtype=np.float32)
    for top in range(0, len(vectors_NE), BLOCK):
        rows_IE = np.asarray(vectors_NE[top : top + BLOCK])
        for left in range(top, len(vectors_NE), BLOCK):
            cosines_IJ = rows_IE @ vectors_NE[left : left + BLOCK].T
            first, second = np.nonzero(cosines_IJ >= near - ROUNDING)
            values = cosines_IJ[first, second]
            first, second = first + top, second + left
            pair = first < second
            first, second, values = first[pair], second[pair], np.minimum(values[pair], 1)
            if len(first):
                np.minimum.at(weakest_N, first, values)
                np.minimum.at(weakest_N, second, values)
                groups_N = _merged(groups_N, first, second)
    return groups_N, weakest_N


def _merged(
    groups_N: npt.NDArray[np.intp], first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """The groups once the rows `first` are linked to the rows `second`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = (np.ones(len(first), dtype=bool), (groups_N[first], groups_N[second]))
    _, merged = connected_components(coo_array(links, shape=(len(groups_N),) * 2), directed=False)
    result: npt.NDArray[np.intp] = merged[groups_N]
    return result


def _members(groups_N: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """Rows of each group that has more than one, in the order of their first rows."""
    order = np.argsort(groups_N, kind="stable")
    runs = np.split(order, np.nonzero(np.diff(groups_N[order]))[0] + 1)
    yield from sorted((run for run in runs if len(run) > 1), key=lambda run: int(run[0]))


def _files(picture: Picture) -> list[Path]:
    return sorted(place.path for place in picture.places if not is_gone(place.path))
