"""Runs and their vectors as a folder that `vision index --from-embeddings` takes in.

FOLDER/pictures/RUN.png, and the files of `data.exchange.embeddings`. Captions are none: words would find
them, and the diagnosis in them, without a look at the scan. What is known of a person goes into columns,
which filters see and rankings do not.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.exchange.embeddings import EmbeddedRow, Embeddings, Word, write_embeddings
from neuro.align.portrait import write_portrait
from neuro.align.sentences import DiagnosisWords
from vision.backbones import Backbone

PICTURES = "pictures"
COLUMNS = ("age", "sex", "site", "medication", "updrs", "hoehn_yahr", "bold")


def write_scans(
    cache: Cache,
    vectors_NE: NDArray[np.float32],
    tower: Backbone,
    origin: str,
    words: DiagnosisWords,
    folder: Path,
) -> Path:
    """Write the runs of a cache.

    Args:
        cache: the runs.
        vectors_NE: of each, unit.
        tower: whose text half they fit.
        origin: what made the vectors (see `neuro.align.aligned_folder.origin_of`).
        words: what the labels are called.
        folder: a new one, or in one that is being made.
    """
    rows = []
    known: list[dict[str, Any]] = cache.table.to_dict("records")  # type: ignore[assignment]
    for i, row in enumerate(known):
        file = f"{PICTURES}/{row['run_id']}.png"
        write_portrait(cache, i, folder / file)
        rows.append(EmbeddedRow(file=file, columns=_columns(row, words)))
    embeddings = Embeddings(
        model=tower.name,
        fingerprint=tower.fingerprint,
        origin=origin,
        vectors_NE=vectors_NE,
        rows=tuple(rows),
    )
    return write_embeddings(embeddings, folder)


def _columns(row: dict[str, Any], words: DiagnosisWords) -> dict[str, Word]:
    """What is known of a run's person, and its name."""
    label = int(row["label"])
    told: dict[str, Word] = {"run": str(row["run_id"]), "diagnosis": (*words.of(label), "healthy")[0]}
    for name in COLUMNS:
        value = row.get(name)
        known = value not in (None, "", "n/a", "unknown")
        if known and (isinstance(value, str) or math.isfinite(float(value))):  # type: ignore[arg-type]
            told[name] = value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    return told
