"""One run cleaned into a folder: BOLD, mask and confounds -> series, mean, std, mask, quality and parcels.

Voxels are read once, frame by frame; what is held is the in-mask series in float32 and a block of some
megabytes. Letters: T frames of the run, F frames kept, V in-mask voxels, B voxels of a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.caches.cached_run import MASK, MEAN, SCALE, STD, TRACE
from data.caches.precision import encoded
from data.caches.series_file import SeriesFile
from data.cleaning.clean_voxels import clean_blocks, temporal_means
from data.cleaning.intensity import intensity_scale
from data.cleaning.opened_run import OpenedRun, open_for, require_memory
from data.cleaning.operator import freedom, output_tr, smoothed
from data.cleaning.recipe import Recipe
from data.cleaning.resample import Grid, grid_in_mm, resampled_frames, resampled_mask
from data.errors import ParameterError
from data.parcels.atlases import Atlas
from data.parcels.series import clean_parcels
from data.quality.coverage import template_dice
from data.quality.run_quality import measure
from data.scans.bids import RunFiles
from data.scans.bold import select
from data.scans.epi_mask import brain_mask
from data.writing import disk_told

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class RawRun:
    """A run in memory, smoothed and resampled in space as the recipe says, not yet cleaned.

    Attributes:
        opened: header, confounds and operator.
        mask_XYZ: bool, the brain on the grid of the cache.
        affine: (4, 4) of that grid, voxel indices -> mm.
        series_TV: float32, raw in-mask series.
    """

    opened: OpenedRun
    mask_XYZ: NDArray[np.bool_]
    affine: NDArray[np.float64]
    series_TV: Floats


def read_raw(files: RunFiles, recipe: Recipe) -> RawRun:
    """Open a run and read its in-mask voxels.

    Raises:
        BadFileError: a file of the run cannot be used.
        ParameterError: the recipe does not fit the run (the message names its file).
    """
    opened = open_for(files, recipe)
    run = opened.run
    mask_XYZ, affine = brain_mask(run, files), run.affine
    frames = run.frames()
    if recipe.smooth_mm is not None:
        frames = smoothed(frames, affine, recipe.smooth_mm)
    if recipe.voxel_mm is not None:
        source = Grid(shape=run.shape[:3], affine=affine)
        with _naming(run.path):
            target = grid_in_mm(source, recipe.voxel_mm, files.space)
            mask_XYZ, affine = resampled_mask(mask_XYZ, source, target), target.affine
        frames = resampled_frames(frames, source, target)
    # The template takes 100 MB for a moment, and is then remembered: not beside the series.
    template_dice(mask_XYZ, affine, files.space)
    require_memory(files, run.n_frames * int(mask_XYZ.sum()) * 4)
    series_TV = select(frames, mask_XYZ, run.n_frames)
    return RawRun(opened=opened, mask_XYZ=mask_XYZ, affine=affine, series_TV=series_TV)


def clean_into(
    files: RunFiles, recipe: Recipe, folder: Path, atlases: Sequence[Atlas] = ()
) -> dict[str, Any]:
    """Clean one run into `folder`, and give the facts for its run.json.

    Raises:
        BadFileError: a file of the run cannot be used.
        ParameterError: the recipe or an atlas does not fit the run.
        DiskError: the folder cannot be written.
    """
    raw = read_raw(files, recipe)
    run, operator_FT = raw.opened.run, raw.opened.operator_FT
    quality = measure(
        raw.series_TV,
        raw.mask_XYZ,
        raw.affine,
        run.tr,
        files.space,
        raw.opened.confounds,
        header=run.header,
    )
    with disk_told(folder.parent):
        parcels_into(folder, raw, atlases)
        constant, nonfinite = _write_voxels(folder, raw, recipe)
        np.save(folder / MASK, np.packbits(raw.mask_XYZ))
        quality.trace.to_csv(folder / TRACE, sep="\t", index=False, na_rep="n/a")
    return {
        "shape": list(raw.mask_XYZ.shape),
        "affine": raw.affine.tolist(),
        "precision": recipe.precision,
        "tr": output_tr(run.tr, recipe),
        "tr_raw": run.tr,
        "n_frames": operator_FT.shape[0],
        "n_frames_raw": run.n_frames,
        "n_voxels": raw.series_TV.shape[1],
        "n_constant": constant,
        "n_nonfinite": nonfinite,
        "freedom": round(freedom(operator_FT, output_tr(run.tr, recipe) / run.tr), 2),
        "fd_mean": _or_none(raw.opened.confounds.fd_mean),
        "quality": quality.facts,
        "atlases": {atlas.name: atlas.digest for atlas in atlases},
        "notes": [*files.notes, *run.notes],
    }


def parcels_into(folder: Path, raw: RawRun, atlases: Sequence[Atlas]) -> None:
    """Write the cleaned series of each atlas' regions beside the voxels.

    Raises:
        ParameterError: an atlas holds no voxel of the run; the message names the run's file.
    """
    for atlas in atlases:
        with _naming(raw.opened.run.path):
            parcels = clean_parcels(raw.series_TV, raw.mask_XYZ, raw.affine, atlas, raw.opened.operator_FT)
        parcels.write(folder)


def _write_voxels(folder: Path, raw: RawRun, recipe: Recipe) -> tuple[int, int]:
    """Clean the voxels a block at a time, and write them; how many are constant, and how many not finite."""
    operator_FT, voxels = raw.opened.operator_FT, raw.series_TV.shape[1]
    with _naming(raw.opened.run.path):
        units_V = intensity_scale(temporal_means(raw.series_TV), recipe)
    mean_V, std_V, scale_V = (np.zeros(voxels, dtype=np.float32) for _ in range(3))
    nonfinite = 0
    with SeriesFile(folder, (operator_FT.shape[0], voxels), recipe.precision) as series:
        for block in clean_blocks(raw.series_TV, operator_FT):
            columns, units_B = block.columns, units_V[block.columns]
            if not units_B.all():
                block.z_FB[:, units_B == 0] = 0  # it has no units, and counts as constant
            codes_FB, scale_B = encoded(block.z_FB, recipe.precision)
            series.append(codes_FB)
            mean_V[columns], std_V[columns] = block.mean_B * units_B, block.std_B * units_B
            if scale_B is not None:
                scale_V[columns] = scale_B
            nonfinite += int(block.nonfinite_B.sum())
    np.save(folder / MEAN, mean_V)
    np.save(folder / STD, std_V)
    if recipe.precision == "int8":
        np.save(folder / SCALE, scale_V)
    return int((std_V == 0).sum()) - nonfinite, nonfinite


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let a recipe or an atlas that does not fit say of which run's file."""
    try:
        yield
    except ParameterError as error:
        raise type(error)(error.what, must_be=error.must_be, got=error.got, do=error.do, path=path) from error


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
