"""A cache -> Brainmarks' layout: people dealt out to train, validation and test, one row a run.

Brainmarks' models take z-scores with mean and standard deviation beside them; ours are of cleaned series,
those of Brainmarks' own data of series that nothing was regressed from. The schema's metadata say which.
Letters: T frames kept, D dimensions of the space, V in-mask voxels, n frames of a block.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cache import Cache
from data.errors import FingerprintMismatchError, ParameterError
from data.exchange.arrow_layout import DIMENSIONS, SPLITS, VOLUMES, WORDS, Row, pyarrow, write_split
from data.exchange.arrow_voxels import TemplateVoxels
from data.exchange.parcel_file import NAME
from data.splits.folds import assert_no_leak, subject_folds
from data.writing import disk_told, whole_folder

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

BLOCK_FRAMES = 16
AGE_BINS = ("Q1", "Q2", "Q3")  # thirds, as Brainmarks names them


@dataclass(frozen=True, kw_only=True)
class ArrowSpec:
    """What is exported and how it is called.

    Attributes:
        space: a name of Brainmarks' (`schaefer400`, `mni`, …; the dimensions are checked) or any other for an
            atlas of one's own.
        dataset: first part of the folder's name; Brainmarks finds `ppmi`, `adni`, … by it.
        atlas: the cache's atlas whose parcels these are; by default the one called as the space.
        mask: for `mni` and `mni_cortex`: the NIfTI mask on the template's grid of 2 mm that says which voxels
            the space has (TemplateFlow's `tpl-MNI152NLin6Asym_res-02_desc-brain_mask.nii.gz`).
        positive, negative: what `dx` says of label 1 and 0.
        frames: keep this many from the start, standardized anew; None keeps all. Models of Brainmarks that
            put runs into batches need runs of one length.
        folds: people are dealt out in so many; one is tested, one validates, the others train.
        seed: of the dealing.
    """

    space: str
    dataset: str = "ppmi"
    atlas: str | None = None
    mask: str | Path | None = None
    positive: str = "PD"
    negative: str = "HC"
    frames: int | None = None
    folds: int = 5
    seed: int = 0


def export_arrow(cache: Cache, spec: ArrowSpec, out: str | Path) -> Path:
    """Write `out`/<dataset>.<space>.arrow, whole or not at all, and return it.

    People are dealt out by label and site, so that nobody stands in two splits. One run at a time is held, as
    float16.

    Raises:
        ParameterError: the space's dimensions are not those of the cache, a run is too short, there are too
            few people, or the folder holds something.
        LeakError: a person stands in two splits.
        MissingDependencyError: pyarrow is not installed.
        DiskError: the folder cannot be written.
    """
    pyarrow()
    for what, name in (("space", spec.space), ("dataset", spec.dataset)):
        if not NAME.fullmatch(name):
            raise ParameterError(what, must_be="of letters, digits, '-', '_' and '.'", got=repr(name))
    source = _VoxelSource(cache, spec) if spec.space in VOLUMES else _ParcelSource(cache, spec)
    _check_dimensions(spec, source.dimensions)
    splits = split_people(cache.table, folds=spec.folds, seed=spec.seed)
    edges = _age_edges(cache.table.iloc[splits["train"]])
    words = _words(cache.table, spec, edges)
    own = _own(cache, spec, source, edges, words)
    final = Path(out) / f"{spec.dataset}.{spec.space}.arrow"
    with disk_told(final), whole_folder(final) as draft:
        for name, indices in splits.items():
            rows = indices.tolist()
            counts = [_kept_frames(source, i, words["path"].iloc[i], spec.frames) for i in rows]
            written = (_row(cache, i, spec, source, words) for i in rows)
            write_split(draft / name, written, [2 * source.dimensions * count for count in counts], own)
        (draft / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}), encoding="utf-8")
    return final


def split_people(table: pd.DataFrame, *, folds: int = 5, seed: int = 0) -> dict[str, Indices]:
    """Rows of `train`, `validation` and `test`: nobody in two of them, labels and sites alike in all.

    Raises:
        ParameterError: fewer than three folds, or than so many people of a label.
    """
    if folds < 3:
        raise ParameterError("folds", must_be="at least 3: train, validation, test", got=folds)
    people = table["person"].to_numpy(object)
    dealt = subject_folds(table["label"], people, n_splits=folds, seed=seed, strata=table["site"])
    test, validation = dealt[0][1], dealt[1][1]
    found = {"train": np.setdiff1d(dealt[0][0], validation), "validation": validation, "test": test}
    for one, other in itertools.combinations(found.values(), 2):
        assert_no_leak(people, one, other)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class _Series:
    """A run's z-scores by blocks of frames (n, D), and what brings them back to raw units."""

    frames: Callable[[int, int], Floats]
    mean_D: Floats
    std_D: Floats


class _ParcelSource:
    """Series of an atlas: D regions."""

    def __init__(self, cache: Cache, spec: ArrowSpec) -> None:
        self.cache, self.atlas = cache, spec.atlas or spec.space
        first = cache.parcels(0, self.atlas)
        self.dimensions, self.digest = len(first.regions), first.digest
        self.told = {"atlas": self.atlas, "digest": first.digest, "regions": list(first.regions)}

    def n_frames(self, i: int) -> int:
        return len(self.cache.parcels(i, self.atlas).z_FR)

    def series(self, i: int) -> _Series:
        parcels = self.cache.parcels(i, self.atlas)
        if parcels.digest != self.digest:
            raise FingerprintMismatchError(
                f"atlas {self.atlas}",
                must_be="the same for all runs",
                got=f"another in {self.cache.table['run_id'].iloc[i]}",
                do="run `neuro prepare` again",
            )
        return _Series(
            frames=lambda start, stop: np.asarray(parcels.z_FR[start:stop]),
            mean_D=np.nan_to_num(parcels.mean_R),
            std_D=parcels.std_R,
        )


class _VoxelSource:
    """Voxels of a template's mask, in Brainmarks' order; those that a run lacks are 0."""

    def __init__(self, cache: Cache, spec: ArrowSpec) -> None:
        if spec.mask is None:
            raise ParameterError(
                "mask", must_be=f"given for the space {spec.space}", got="none", do="see `ArrowSpec.mask`"
            )
        self.cache, self.voxels = cache, TemplateVoxels.read(Path(spec.mask))
        self.dimensions = self.voxels.count
        self.told = {"mask": self.voxels.digest}

    def n_frames(self, i: int) -> int:
        return self.cache.run(i).n_frames

    def series(self, i: int) -> _Series:
        run = self.cache.run(i)
        taken = self.voxels.of_run(run.mask_XYZ, run.affine, run.run_id)
        return _Series(
            frames=lambda start, stop: taken(run.frames(start, stop)),
            mean_D=taken(np.asarray(run.mean_V)[None])[0],
            std_D=taken(np.asarray(run.std_V)[None])[0],
        )


_Source = _ParcelSource | _VoxelSource


def _check_dimensions(spec: ArrowSpec, found: int) -> None:
    wanted = DIMENSIONS.get(spec.space, found)
    if found != wanted:
        what = "mask" if spec.space in VOLUMES else "atlas"
        raise ParameterError(
            f"{what} of the space {spec.space}",
            must_be=f"of {wanted:,} {'voxels' if what == 'mask' else 'regions'}, as Brainmarks has it",
            got=f"{found:,}",
            do="choose another, or give the space a name of your own",
        )


def _kept_frames(source: _Source, i: int, run_id: str, frames: int | None) -> int:
    there = source.n_frames(i)
    if frames is not None and not 2 <= frames <= there:
        raise ParameterError("frames", must_be=f"2 to {there}, as {run_id} has no more", got=frames)
    return there if frames is None else frames


def _row(cache: Cache, i: int, spec: ArrowSpec, source: _Source, words: pd.DataFrame) -> Row:
    series = source.series(i)
    count = _kept_frames(source, i, str(words["path"].iloc[i]), spec.frames)
    bold_TD, shift_D, scale_D = _standardized(series.frames, count, source.dimensions)
    return Row(
        words={str(name): str(word) for name, word in words.iloc[i].items()},
        tr=float(cache.table["tr"].iloc[i]),
        bold_TD=bold_TD,
        mean_D=(series.mean_D + shift_D * series.std_D).astype(np.float32),
        std_D=(series.std_D * scale_D).astype(np.float32),
    )


def _words(table: pd.DataFrame, spec: ArrowSpec, edges: list[float]) -> pd.DataFrame:
    """The columns of words; `sex` and `age_bin` only where they are known of everybody.

    Unknown cells would be null, which PyTorch's loaders refuse, or a class of their own.
    """
    words = pd.DataFrame(
        {
            "sub": table["person"],
            "ses": table["session"],
            "site": table["site"],
            "path": table["run_id"],
            "dx": np.where(table["label"] == 1, spec.positive, spec.negative),
        }
    )
    if not (table["sex"] == "n/a").any():
        words["sex"] = table["sex"]
    if not table["age"].isna().any():
        words["age_bin"] = np.array(AGE_BINS)[np.searchsorted(edges, table["age"], side="right")]
    return words.astype(str)


def _standardized(
    frames: Callable[[int, int], Floats], count: int, dimensions: int
) -> tuple[NDArray[np.float16], Floats, Floats]:
    """The first `count` frames with mean 0 and population standard deviation 1, and what both were before."""
    blocks = [(start, min(start + BLOCK_FRAMES, count)) for start in range(0, count, BLOCK_FRAMES)]
    sums_D, squares_D = np.zeros(dimensions), np.zeros(dimensions)
    for start, stop in blocks:
        block_nD = frames(start, stop)
        sums_D += block_nD.sum(axis=0, dtype=np.float64)
        squares_D += np.square(block_nD, dtype=np.float64).sum(axis=0)
    shift_D = sums_D / count
    scale_D = np.sqrt(np.maximum(squares_D / count - shift_D**2, 0))
    scale_D[scale_D < 1e-4] = 0  # z-scores of something else would be near 1
    inverse_D = np.divide(1, scale_D, out=np.zeros(dimensions), where=scale_D > 0)
    bold_TD = np.empty((count, dimensions), dtype=np.float16)
    for start, stop in blocks:
        bold_TD[start:stop] = (frames(start, stop) - shift_D) * inverse_D
    return bold_TD, shift_D.astype(np.float32), scale_D.astype(np.float32)


def _age_edges(training: pd.DataFrame) -> list[float]:
    """Ages at which the thirds of the training people meet."""
    ages = training.drop_duplicates("person")["age"].dropna()
    return [float(edge) for edge in np.quantile(ages, (1 / 3, 2 / 3))] if len(ages) else []


def _own(
    cache: Cache, spec: ArrowSpec, source: _Source, edges: list[float], words: pd.DataFrame
) -> dict[str, Any]:
    left_out = [name for name in WORDS if name not in words.columns]
    description = [f"Exported by Chiasm; cleaned by {cache.identity}."]
    if "age_bin" in words:
        description.append(f"age_bin: thirds at {' and '.join(f'{edge:g}' for edge in edges)} years.")
    if left_out:
        description.append(f"Left out, as it is not known of everybody: {', '.join(left_out)}.")
    told = {
        "dataset": spec.dataset,
        "space": spec.space,
        "dimensions": source.dimensions,
        "words": list(words.columns),
        "identity": cache.identity,
        "description": " ".join(description),
        **source.told,
    }
    runs = cache.table["run_id"].tolist()
    text = json.dumps([told, runs, spec.frames, spec.folds, spec.seed], sort_keys=True)
    return {**told, "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}
