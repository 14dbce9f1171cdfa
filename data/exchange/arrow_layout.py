"""Brainmarks' data as files: `<dataset>.<space>.arrow/{train,validation,test}/data-*.arrow`, one row a run.

The folders are what `datasets.DatasetDict.save_to_disk` writes (Hugging Face), and its loaders read them;
they are written with pyarrow alone, a run at a time. A row holds `bold` (T, D) float16 z-scores (population
standard deviation), `mean` and `std` (1, D) float32, `tr` in seconds, and words. Read in brainmarks 0.1.1
(`brainmarks.datasets.base.load_arrow_dataset`, `nisc.scale`) and datasets 5.2.
Letters: T frames, D dimensions of the space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import MissingDependencyError

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

SPLITS = ("train", "validation", "test")
WORDS = ("sub", "ses", "site", "path", "dx", "sex", "age_bin")  # of which some may be left out, none is null
SHARD_BYTES = 300_000_000
OWN = b"chiasm"  # schema metadata of ours: how the series were cleaned, and what the dimensions are

# Dimensions of each space, as brainmarks.readers has them.
DIMENSIONS = {
    "fslr64k": 64984,
    "fslr91k": 91282,
    "schaefer400": 400,
    "schaefer400_tians3": 450,
    "schaefer400_tians3_buckner7": 457,
    "a424": 424,
    "flat": 77763,
    "mni": 228483,
    "mni_cortex": 132032,
}
# Voxels of MNI152NLin6Asym at 2 mm, masked, in the order z, y, x (x changes fastest).
VOLUMES = ("mni", "mni_cortex")
MNI_SHAPE = (91, 109, 91)
MNI_AFFINE = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A run as the layout has it.

    Attributes:
        words: `sub`, `ses`, `site`, `path`, `dx`, `sex`, `age_bin`.
        tr: seconds.
        bold_TD: float16 z-scores, population standard deviation; 0 where `std_D` is 0.
        mean_D, std_D: float32, in raw units.
    """

    words: Mapping[str, str]
    tr: float
    bold_TD: Halves
    mean_D: Floats
    std_D: Floats


def pyarrow() -> Any:
    """The module, or MissingDependencyError which names the extra."""
    try:
        import pyarrow  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependencyError(
            "pyarrow", must_be="installed", got="no such package", do="pip install 'chiasm[arrow]'"
        ) from error
    return pyarrow


def schema(own: Mapping[str, Any]) -> Any:
    """The columns, each with the name by which `datasets` knows its type.

    Args:
        own: goes into the metadata; its `dimensions` and `words` say which columns there are.
    """
    pa = pyarrow()
    dimensions = int(own["dimensions"])

    def array_2d(first: int | None, dtype: str, values: Any) -> tuple[Any, dict[bytes, bytes]]:
        told = json.dumps([[first, dimensions], dtype]).encode()
        name = b"datasets.features.features.Array2DExtensionType"
        return pa.list_(pa.list_(values)), {b"ARROW:extension:name": name, b"ARROW:extension:metadata": told}

    fields = [pa.field(name, pa.string()) for name in own["words"]]
    fields += [pa.field("n_frames", pa.int32()), pa.field("tr", pa.float32())]
    for name, first, dtype, values in (
        ("bold", None, "float16", pa.float16()),
        ("mean", 1, "float32", pa.float32()),
        ("std", 1, "float32", pa.float32()),
    ):
        kind, metadata = array_2d(first, dtype, values)
        fields.append(pa.field(name, kind, metadata=metadata))
    told = {"info": {"features": features(own)}}
    return pa.schema(
        fields, metadata={b"huggingface": json.dumps(told).encode(), OWN: json.dumps(own).encode()}
    )


def features(own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns in the words of `datasets.Features`."""
    dimensions = int(own["dimensions"])
    return {
        **{name: {"dtype": "string", "_type": "Value"} for name in own["words"]},
        "n_frames": {"dtype": "int32", "_type": "Value"},
        "tr": {"dtype": "float32", "_type": "Value"},
        "bold": {"shape": [None, dimensions], "dtype": "float16", "_type": "Array2D"},
        "mean": {"shape": [1, dimensions], "dtype": "float32", "_type": "Array2D"},
        "std": {"shape": [1, dimensions], "dtype": "float32", "_type": "Array2D"},
    }


def write_split(folder: Path, rows: Iterable[Row], sizes: list[int], own: Mapping[str, Any]) -> None:
    """Write a split: shards of some 300 MB, each row a record batch, and the two files that name them.

    Args:
        folder: of the split, which is made.
        rows: the runs, read one after the other.
        sizes: bytes of each row's `bold`, by which rows are put into shards.
        own: what goes into the schema's metadata.
    """
    pa = pyarrow()
    folder.mkdir(parents=True)
    shards = _shards(sizes)
    rows = iter(rows)
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    columns = schema(own)
    for name, count in zip(names, shards, strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, columns) as writer:
            for _ in range(count):
                writer.write_batch(_batch(next(rows), columns))
    _describe(folder, names, len(sizes), sum((folder / name).stat().st_size for name in names), own)


def _shards(sizes: list[int]) -> list[int]:
    """How many rows go into each shard."""
    counts, filled = [0], 0
    for size in sizes:
        if counts[-1] and filled + size > SHARD_BYTES:
            counts, filled = [*counts, 0], 0
        counts[-1] += 1
        filled += size
    return counts


def _batch(row: Row, columns: Any) -> Any:
    pa = pyarrow()
    arrays = [pa.array([row.words[name]], pa.string()) for name in columns.names if name in WORDS]
    arrays += [pa.array([len(row.bold_TD)], pa.int32()), pa.array([row.tr], pa.float32())]
    for values in (row.bold_TD, row.mean_D[None], row.std_D[None]):
        arrays.append(_nested(values))
    return pa.record_batch(arrays, schema=columns)


def _nested(values_TD: NDArray[Any]) -> Any:
    """One row's matrix as a list of lists, without a copy."""
    pa = pyarrow()
    count, width = values_TD.shape
    flat = pa.array(np.ascontiguousarray(values_TD).reshape(-1))
    lines = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * np.int32(width)), flat)
    return pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), lines)


def _describe(folder: Path, names: list[str], count: int, size: int, own: Mapping[str, Any]) -> None:
    split = folder.name
    info = {
        "builder_name": "chiasm",
        "dataset_name": own["dataset"],
        "dataset_size": size,
        "description": own["description"],
        "features": features(own),
        "splits": {split: {"name": split, "num_bytes": size, "num_examples": count}},
    }
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": str(own["fingerprint"]),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2), encoding="utf-8")
    (folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
