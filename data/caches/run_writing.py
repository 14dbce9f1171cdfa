"""A run's folder of a cache, made whole or not at all, and only where it is not there already."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.caches.cached_run import FACTS
from data.caches.clean_run import clean_into, parcels_into, read_raw
from data.cleaning.recipe import Recipe
from data.parcels.atlases import Atlas
from data.scans.bids import RunFiles
from data.scans.repetition_time import sidecars
from data.writing import disk_told, write_whole

PARTIAL = ".partial-"  # prefix of what is still being written


def write_run(files: RunFiles, recipe: Recipe, final: Path, atlases: Sequence[Atlas] = ()) -> dict[str, Any]:
    """Clean a run into the folder `final`, unless it is there with this recipe and these very inputs.

    Where only an atlas is missing, the run is read again and its regions are cleaned, not its voxels.

    Returns:
        The facts of run.json: `tr`, `n_frames`, `n_voxels`, `n_constant`, `n_nonfinite`, `freedom`,
        `fd_mean`, `quality`, `atlases`, ...

    Raises:
        BadFileError: a file of the run cannot be used.
        ParameterError: the recipe or an atlas does not fit the run (its message names the run's file).
        DiskError: the folder cannot be written.
    """
    sources = _sources(files)
    done = _facts(final)
    if done is not None and done["sources"] == sources and done["identity"] == recipe.identity:
        missing = [atlas for atlas in atlases if done["atlases"].get(atlas.name) != atlas.digest]
        return _with_parcels(files, recipe, final, done, missing) if missing else done
    partial = final.with_name(f"{PARTIAL}{final.name}-{os.getpid()}")
    try:
        with disk_told(final.parent):
            partial.mkdir(parents=True, exist_ok=True)
        cleaned = clean_into(files, recipe, partial, atlases)
        facts = {"identity": recipe.identity, "sources": sources, **cleaned}
        with disk_told(final.parent):
            (partial / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
            if final.exists():
                shutil.rmtree(final)
            partial.replace(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _with_parcels(
    files: RunFiles, recipe: Recipe, final: Path, done: dict[str, Any], missing: Sequence[Atlas]
) -> dict[str, Any]:
    """Add atlases to a run that is there; run.json tells of them last, so that a kill leaves none half."""
    raw = read_raw(files, recipe)
    atlases = {**done["atlases"], **{atlas.name: atlas.digest for atlas in missing}}
    facts = {**done, "atlases": atlases}
    with disk_told(final.parent):
        parcels_into(final, raw, missing)
        write_whole(final / FACTS, json.dumps(facts, indent=1))
    return facts


def _sources(files: RunFiles) -> list[list[object]]:
    """Names, sizes and modification times of everything a run is made from, sidecars included."""
    parts = [part for part in (files.bold, files.mask, files.confounds) if part is not None]
    beside = [sidecars(files.bold)] if files.bold is not None else []
    beside += [[part.with_name(part.name.split(".")[0] + ".json")] for part in parts[1:]]
    every = parts + [sidecar for found in beside for sidecar in found]
    facts: list[list[object]] = [
        [part.name, part.stat().st_size, part.stat().st_mtime_ns] for part in every if part.is_file()
    ]
    return facts + ([["tr", files.tr]] if files.tr is not None else [])


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        return facts if facts["atlases"] is not None and facts["precision"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
