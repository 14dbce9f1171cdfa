"""Rows of Brainmarks' layout, read one after the other: folder -> words and matrices (T, D), memory-mapped.

Letters: T frames, D dimensions of the space.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.exchange.arrow_layout import OWN, SPLITS, pyarrow

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArrowRow:
    """A row as it lies in a file.

    Attributes:
        path: the file.
        split: train, validation or test.
        words: the columns that are no matrices.
        bold_TD: as stored, memory-mapped.
        mean_D, std_D: float32.
        own: the metadata that an export of Chiasm's has, else empty.
    """

    path: Path
    split: str
    words: dict[str, Any]
    bold_TD: NDArray[Any]
    mean_D: Floats
    std_D: Floats
    own: dict[str, Any]


def arrow_rows(folder: Path) -> Iterator[ArrowRow]:
    """Every row of every split.

    Raises:
        BadFileError: no such folder of files, a damaged one, or columns of another layout.
        MissingDependencyError: pyarrow is not installed.
    """
    pa = pyarrow()
    files = [(split, path) for split in SPLITS for path in sorted((folder / split).glob("*.arrow"))]
    if not files:
        raise BadFileError(
            "Brainmarks' data", must_be=f"a folder with {', '.join(SPLITS)}", got="no *.arrow", path=folder
        )
    for split, path in files:
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                own = json.loads((stream.schema.metadata or {}).get(OWN, b"{}"))
                for batch in stream:
                    yield from _rows_of(path, split, batch, own)
        except (pa.ArrowInvalid, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise BadFileError(
                "Arrow file", must_be="whole", got=f"damaged data ({error})", do="copy it again", path=path
            ) from error


def _rows_of(path: Path, split: str, batch: Any, own: dict[str, Any]) -> Iterator[ArrowRow]:
    missing = [name for name in ("bold", "mean", "std", "tr") if name not in batch.schema.names]
    if missing:
        columns = ", ".join(batch.schema.names)
        raise bad_layout(path, "columns", "bold, mean, std and tr", f"{columns} (no {', '.join(missing)})")
    plain = [name for name in batch.schema.names if not _is_nested(batch.schema.field(name).type)]
    for i in range(batch.num_rows):
        bold_TD = _matrix(path, batch.column("bold"), i)
        mean_1D, std_1D = (_matrix(path, batch.column(name), i) for name in ("mean", "std"))
        if len(bold_TD) < 2 or not mean_1D.shape == std_1D.shape == (1, bold_TD.shape[1]):
            got = f"{bold_TD.shape}, {mean_1D.shape} and {std_1D.shape} in row {i}"
            raise bad_layout(path, "bold, mean and std", "of the shapes (T, D), (1, D) and (1, D)", got)
        yield ArrowRow(
            path=path,
            split=split,
            words={name: batch.column(name)[i].as_py() for name in plain},
            bold_TD=bold_TD,
            mean_D=mean_1D[0].astype(np.float32),
            std_D=std_1D[0].astype(np.float32),
            own=own,
        )


def _is_nested(kind: Any) -> bool:
    pa = pyarrow()
    return isinstance(kind, pa.BaseExtensionType) or pa.types.is_nested(kind)


def _matrix(path: Path, column: Any, i: int) -> NDArray[Any]:
    """A list of lists of one length as a matrix; no copy where the file is mapped."""
    pa = pyarrow()
    if isinstance(column, pa.ExtensionArray):  # where `datasets` was imported in this process
        column = column.storage
    if not (_is_list(column.type) and _is_list(column.type.value_type)):
        raise bad_layout(path, "series", "lists of lists of numbers", str(column.type))
    lines = column[i : i + 1].flatten()
    widths = lines.value_lengths().to_numpy(zero_copy_only=False)
    values = lines.flatten().to_numpy(zero_copy_only=False)
    if len(widths) == 0 or (widths != widths[0]).any() or values.dtype.kind not in "iuf":
        raise bad_layout(path, "series", "matrices of numbers", f"ragged or empty ones in row {i}")
    return np.asarray(values.reshape(len(widths), -1))


def _is_list(kind: Any) -> bool:
    pa = pyarrow()
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def bad_layout(path: Path, what: str, must_be: str, got: object) -> BadFileError:
    """An error that names the layout."""
    return BadFileError(what, must_be=must_be, got=got, do="see docs/parcels.md on the layout", path=path)
