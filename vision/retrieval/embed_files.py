"""Pictures in files to vectors, without an index: read and decoded in threads, embedded in batches.

Shape legend: N files, B files of a batch, C channels, H W pixels, E components.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data.errors import BadFileError
from vision.retrieval.embedder import NOT_EMBEDDED, Embedder, Pixels, embed_pixels
from vision.retrieval.picture_reader import PictureReader
from vision.retrieval.summary import Failure
from vision.store.vector_store import Vectors

BATCH = 16
THREADS = 4


def embed_files(
    embedder: Embedder, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> tuple[Vectors, list[Failure]]:
    """Unit vectors (N, E), NaN for files that cannot be read, which are listed with the reason.

    Args:
        progress: called with the files done and the files in all.
    """
    vectors_NE = np.full((len(paths), embedder.output_dim), np.nan, dtype=np.float32)
    failed: list[Failure] = []
    reader = PictureReader(preprocess=embedder.preprocess)
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged metadata and very large pictures
        for start in range(0, len(paths), BATCH):
            if progress is not None:
                progress(start, len(paths))
            batch = paths[start : start + BATCH]
            read = list(pool.map(lambda path: _read(reader, path), batch))
            good = {start + at: one for at, one in enumerate(read) if not isinstance(one, Failure)}
            failed += [one for one in read if isinstance(one, Failure)]
            if good:
                vectors_NE[list(good)] = embed_pixels(embedder, np.stack(list(good.values())))
            failed += [
                Failure(paths[at], NOT_EMBEDDED) for at in good if not np.isfinite(vectors_NE[at]).all()
            ]
    if progress is not None:
        progress(len(paths), len(paths))
    return vectors_NE, failed


def _read(reader: PictureReader, path: Path) -> Pixels | Failure:
    try:
        return reader.read(path)[1]
    except BadFileError as error:
        return Failure.of(path, error)
