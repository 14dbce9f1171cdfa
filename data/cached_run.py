"""One run of a cache: BOLD files -> a folder with the cleaned series (T, V), and back, memory-mapped.

A folder holds series.npy (float16 z-scores), mean.npy, std.npy (float32), mask.npy (packed bits) and
run.json; it appears whole or not at all. Letters: T frames kept, V in-mask voxels in C order of the mask.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.bids import RunFiles
from data.bold import BoldRun, select
from data.clean import cleaning_operator, freedom, smoothed
from data.clean_voxels import clean_blocks
from data.confounds import load_confounds
from data.errors import BadFileError, ParameterError
from data.recipe import Recipe

PARTIAL = ".partial-"  # prefix of what is still being written


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedRun:
    """One run of a cache.

    Attributes:
        series_TV: np.memmap, float16 z-scores (error at most 2^-11 of the value).
        mean_V: np.memmap, float32, temporal mean of the raw series.
        std_V: np.memmap, float32, standard deviation after cleaning in raw units; 0 for constant voxels.
        mask_XYZ: bool; `mask_XYZ` is true V times, and `volume[mask_XYZ] = series_TV[t]` puts a frame back.
        affine: (4, 4), voxel indices -> mm.
        tr: seconds.
    """

    run_id: str
    participant_id: str
    series_TV: NDArray[np.float16]
    mean_V: NDArray[np.float32]
    std_V: NDArray[np.float32]
    mask_XYZ: NDArray[np.bool_]
    affine: NDArray[np.float64]
    tr: float


def open_run(folder: Path, participant_id: str) -> CachedRun:
    """Map a run's folder.

    Raises:
        BadFileError: its files are gone or damaged.
    """
    try:
        facts = json.loads((folder / "run.json").read_text())
        series_TV, mean_V, std_V = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("series", "mean", "std")
        )
        packed = np.load(folder / "mask.npy")
    except (OSError, ValueError) as error:
        raise BadFileError(
            "cached run", must_be="whole", got=str(error), do="run `neuro prepare` again", path=folder
        ) from error
    shape = tuple(facts["shape"])
    return CachedRun(
        run_id=folder.name,
        participant_id=participant_id,
        series_TV=series_TV,
        mean_V=mean_V,
        std_V=std_V,
        mask_XYZ=np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).view(np.bool_),
        affine=np.array(facts["affine"]),
        tr=float(facts["tr"]),
    )


def write_run(files: RunFiles, recipe: Recipe, final: Path) -> dict[str, Any]:
    """Clean a run into the folder `final`, unless it is there with this recipe and these very inputs.

    Returns:
        The facts of run.json: `tr`, `n_frames`, `n_voxels`, `n_constant`, `n_nonfinite`, `freedom`,
        `fd_mean`, ...

    Raises:
        BadFileError: a file of the run cannot be used.
        ParameterError: the recipe does not fit the run (its message names the run's file).
    """
    sources = _sources(files)
    done = _facts(final)
    if done is not None and done["sources"] == sources and done["identity"] == recipe.identity:
        return done
    partial = final.with_name(f"{PARTIAL}{final.name}-{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    try:
        facts = {"identity": recipe.identity, "sources": sources, **_clean_into(files, recipe, partial)}
        (partial / "run.json").write_text(json.dumps(facts, indent=1))
        if final.exists():
            shutil.rmtree(final)
        partial.replace(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _clean_into(files: RunFiles, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Clean one run into `folder`; voxels are read once, and cleaned a block at a time."""
    if files.bold is None:
        raise BadFileError("run of fMRI", must_be="there", got=f"none for {files.run_id}")
    run = BoldRun.open(files.bold, mask=files.mask, confounds=files.confounds)
    confounds = load_confounds(run.confounds, recipe.confounds, run.n_frames)
    try:
        operator_FT = cleaning_operator(
            run.n_frames, run.tr, confounds.values_TK, recipe, kept_F=confounds.kept_F
        )
    except ParameterError as error:
        # The recipe does not fit this run; say which.
        raise type(error)(
            error.what, must_be=error.must_be, got=error.got, do=error.do, path=run.path
        ) from error
    mask_XYZ = run.mask_volume()
    frames = run.frames()
    if recipe.smooth_mm is not None:
        frames = smoothed(frames, run.affine, recipe.smooth_mm)
    series_TV = select(frames, mask_XYZ, run.n_frames)
    shape = (operator_FT.shape[0], series_TV.shape[1])
    z_FV = np.lib.format.open_memmap(folder / "series.npy", mode="w+", dtype=np.float16, shape=shape)
    mean_V, std_V = np.empty(shape[1], np.float32), np.empty(shape[1], np.float32)
    nonfinite = 0
    for block in clean_blocks(series_TV, operator_FT):
        z_FV[:, block.columns] = block.z_FB
        mean_V[block.columns], std_V[block.columns] = block.mean_B, block.std_B
        nonfinite += int(block.nonfinite_B.sum())
    z_FV.flush()
    np.save(folder / "mean.npy", mean_V)
    np.save(folder / "std.npy", std_V)
    np.save(folder / "mask.npy", np.packbits(mask_XYZ))
    return {
        "shape": list(mask_XYZ.shape),
        "affine": run.affine.tolist(),
        "tr": run.tr,
        "n_frames": shape[0],
        "n_voxels": shape[1],
        "n_constant": int((std_V == 0).sum()) - nonfinite,
        "n_nonfinite": nonfinite,
        "freedom": round(freedom(operator_FT), 2),
        "fd_mean": None if math.isnan(confounds.fd_mean) else confounds.fd_mean,
        "notes": list(run.notes),
    }


def _sources(files: RunFiles) -> list[list[object]]:
    """Names, sizes and modification times of everything a run is made from, sidecars included."""
    parts = [part for part in (files.bold, files.mask, files.confounds) if part is not None]
    sidecars = [part.with_name(part.name.split(".")[0] + ".json") for part in parts]
    return [
        [part.name, part.stat().st_size, part.stat().st_mtime_ns]
        for part in parts + sidecars
        if part.is_file()
    ]


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return None
    return facts
