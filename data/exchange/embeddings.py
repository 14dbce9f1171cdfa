"""Vectors made elsewhere, in a folder: what `neuro align` writes and `vision index --from-embeddings` reads.

FOLDER/embeddings.json       format, the model whose text half fits, its fingerprint, who made the vectors
FOLDER/vectors.safetensors   `vectors` (N, E), float32, each at unit length
FOLDER/rows.jsonl            one object a vector: file, and where there are any caption and columns
A `file` is a picture to be shown for its vector, counted from the folder unless it begins with `/`.
Nothing in it is executed when it is read. Letters: N vectors, E components.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.digest import sha256
from data.errors import BadFileError, ParameterError

FORMAT = 1
FACTS, VECTORS, ROWS = "embeddings.json", "vectors.safetensors", "rows.jsonl"
UNIT = 1e-3  # how far from 1 a length may be: half precision on the way is forgiven
Word = str | int | float
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EmbeddedRow:
    """What a vector is of.

    Attributes:
        file: a picture to be shown, relative to the folder, or absolute.
        caption: running text that is searched for words; none by default.
        columns: what is known of it, by name; filters see it, rankings do not.
    """

    file: str
    caption: str | None = None
    columns: Mapping[str, Word] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """Vectors in the space of a model's text half.

    Attributes:
        model: the name of that model, as `vision.backbones.load_backbone` takes it.
        fingerprint: of that model.
        origin: what made the vectors, a plain word that is equal for makers that give equal vectors.
        vectors_NE: float32, each at unit length.
        rows: one a vector.
    """

    model: str
    fingerprint: str
    origin: str
    vectors_NE: Vectors
    rows: tuple[EmbeddedRow, ...]

    def __post_init__(self) -> None:
        shape = np.shape(self.vectors_NE)
        if len(shape) != 2 or not all(shape) or len(self.rows) != shape[0]:
            raise ParameterError(
                "vectors", must_be=f"(N, E), one for each of {len(self.rows)} rows", got=shape
            )
        lengths_N = np.linalg.norm(self.vectors_NE, axis=1)
        if not (np.abs(lengths_N - 1) < UNIT).all():
            raise ParameterError("vectors", must_be="of unit length", got="some that are not")
        if not self.origin or not self.origin.replace("-", "").isalnum():
            raise ParameterError("origin", must_be="of letters, figures and -", got=repr(self.origin))
        for row in self.rows:
            _check_row(row)


def write_embeddings(embeddings: Embeddings, folder: str | Path) -> Path:
    """Write into a folder, which may hold the pictures already; `embeddings.json` comes last.

    Raises:
        OSError: the place cannot be written.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": np.ascontiguousarray(embeddings.vectors_NE, np.float32)}, folder / VECTORS)
    lines = [json.dumps(_row_fields(row), ensure_ascii=False) for row in embeddings.rows]
    (folder / ROWS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = {
        "format": FORMAT,
        "model": embeddings.model,
        "fingerprint": embeddings.fingerprint,
        "origin": embeddings.origin,
        "sha256": {name: sha256(folder / name) for name in (VECTORS, ROWS)},
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return folder


def read_embeddings(folder: str | Path) -> Embeddings:
    """What `write_embeddings` wrote, checked.

    Raises:
        BadFileError: it is no such folder, of another version, or a file of it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, of another version of Chiasm")
        for name, digest in facts["sha256"].items():
            if sha256(folder / Path(name).name) != digest:
                raise ValueError(f"{name} is not as it was written")
        lines = (folder / ROWS).read_text(encoding="utf-8").splitlines()
        return Embeddings(
            model=str(facts["model"]),
            fingerprint=str(facts["fingerprint"]),
            origin=str(facts["origin"]),
            vectors_NE=load_file(folder / VECTORS)["vectors"].astype(np.float32),
            rows=tuple(EmbeddedRow(**json.loads(line)) for line in lines),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BadFileError(
            "embeddings",
            must_be=f"a folder with {FACTS}, {VECTORS} and {ROWS}",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            do="write it again, with `neuro align` for one",
            path=folder,
        ) from error


def _row_fields(row: EmbeddedRow) -> dict[str, Any]:
    caption = {} if row.caption is None else {"caption": row.caption}
    columns = {} if not row.columns else {"columns": dict(row.columns)}
    return {"file": row.file, **caption, **columns}


def _check_row(row: EmbeddedRow) -> None:
    plain = isinstance(row.file, str) and row.file and isinstance(row.caption, str | None)
    if not plain or not isinstance(row.columns, Mapping):
        raise ParameterError("row", must_be="a file, and at most a caption and columns", got=row)
    for name, value in row.columns.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not name or '"' in name or not (number or isinstance(value, str)):
            raise ParameterError(f"column {name!r}", must_be="words or a finite number", got=repr(value))
