"""Cleaned runs on disk, written once, read by many: cohort + recipe -> z-scored fp16 series (T, V).

Layout of a cache:
    recipe.json  cohort.tsv  excluded.tsv  runs/<run_id>/{series,mean,std,mask}.npy  runs/<run_id>/run.json
A run's folder appears whole or not at all. Letters: T frames kept, V in-mask voxels in C order of the mask.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.bids import RunFiles
from data.bold import BoldRun, select
from data.clean import Recipe, clean_blocks, cleaning_operator, freedom, smoothed
from data.cohort import Cohort
from data.confounds import load_confounds
from data.errors import BadFileError, ChiasmError, FingerprintMismatchError, ParameterError

FORMAT = 1
MEASURED = ("tr", "n_frames", "n_voxels", "n_constant", "n_nonfinite", "freedom", "fd_mean")
WORDS = ("run_id", "participant_id", "site", "sex", "space", "bold", "mask", "confounds")


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """A folder of cleaned runs; make one with `prepare`, open one with `Cache.open`.

    Attributes:
        root: the folder.
        identity: the recipe's identity; two caches with different ones are never to be mixed.
        recipe: how the runs were cleaned.
        table: one row a run, in the order of `run(i)`: the cohort's columns and `tr`, `n_frames`, `n_voxels`,
            `n_constant`, `n_nonfinite`, `freedom` (degrees of freedom left by cleaning), `fd_mean` (mm, NaN
            if unknown).
        excluded: (what, why) for everything that was left out.
    """

    root: Path
    identity: str
    recipe: Recipe
    table: pd.DataFrame
    excluded: list[tuple[str, str]]

    @classmethod
    def open(cls, path: str | Path) -> Cache:
        """Open a finished cache.

        Raises:
            BadFileError: the folder is no cache, or `prepare` has not finished there.
        """
        root = Path(path)
        written = _read_recipe(root)
        if written is None or not (root / "cohort.tsv").is_file():
            raise BadFileError(
                "cache",
                must_be="a finished cache (recipe.json, cohort.tsv, runs/)",
                got="an unfinished one" if written else "no cache",
                do="run `neuro prepare` on it again" if written else "make one with `neuro prepare`",
                path=root,
            )
        numbers = {name: ["n/a"] for name in ("age", "fd_mean")}
        words = dict.fromkeys(WORDS, str)
        table = pd.read_csv(
            root / "cohort.tsv", sep="\t", dtype=words, keep_default_na=False, na_values=numbers
        )
        excluded = pd.read_csv(root / "excluded.tsv", sep="\t", dtype=str, keep_default_na=False)
        return cls(
            root=root,
            identity=written["identity"],
            recipe=Recipe(**written["recipe"]),
            table=table.astype({"age": float, "fd_mean": float, "tr": float}),
            excluded=list(excluded.itertuples(index=False, name=None)),
        )

    def __len__(self) -> int:
        return len(self.table)

    def run(self, i: int) -> CachedRun:
        """Run `i` of the table, memory-mapped: opening takes about a millisecond, so keep it for many reads.

        Raises:
            BadFileError: its files are gone.
        """
        row = self.table.iloc[i]
        folder = self.root / "runs" / str(row["run_id"])
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
        mask_XYZ = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).view(np.bool_)
        return CachedRun(
            run_id=str(row["run_id"]),
            participant_id=str(row["participant_id"]),
            series_TV=series_TV,
            mean_V=mean_V,
            std_V=std_V,
            mask_XYZ=mask_XYZ,
            affine=np.array(facts["affine"]),
            tr=float(facts["tr"]),
        )


def prepare(
    cohort: Cohort,
    recipe: Recipe,
    out: str | Path,
    progress: bool = True,
    *,
    on_error: Literal["raise", "exclude"] = "raise",
    workers: int = 1,
) -> Cache:
    """Clean every run of a cohort into a cache.

    Runs that are already there with the same recipe and unchanged inputs (names, sizes, modification times)
    are kept, so an interrupted preparation goes on where it stopped. Memory stays near the in-mask part of
    one run in float32 for each worker.

    Args:
        cohort: the runs and their table.
        recipe: how they are cleaned.
        out: the cache's folder, new, empty, or begun with the same recipe.
        progress: show a bar on standard error.
        on_error: "raise" stops at the first run that cannot be used; "exclude" lists it and goes on.
        workers: processes.

    Raises:
        FingerprintMismatchError: the folder holds a cache of another recipe.
        ParameterError: the cohort is empty, or the folder holds something else.
        BadFileError: a run cannot be used (with on_error="raise"), or none can.
    """
    root = Path(out)
    if not len(cohort):
        raise ParameterError("cohort", must_be="at least one run", got="none", do="see cohort.excluded")
    _begin(root, recipe)
    found: dict[str, dict[str, Any]] = {}
    excluded = list(cohort.excluded)
    outcomes = _outcomes(cohort.runs, recipe, root, workers)
    for run_id, outcome in _shown(outcomes, len(cohort), progress):
        if not isinstance(outcome, ChiasmError):
            found[run_id] = outcome
        elif on_error == "exclude":
            excluded.append((run_id, str(outcome)))
        else:
            raise outcome
    if not found:
        raise BadFileError(
            "cohort", must_be="at least one usable run", got="none", do=f"first reason: {excluded[-1][1]}"
        )
    table = cohort.table[cohort.table["run_id"].isin(list(found))].reset_index(drop=True)
    for name in MEASURED:
        table[name] = [found[run_id][name] for run_id in table["run_id"]]
    _write_text(
        root / "excluded.tsv",
        pd.DataFrame(excluded, columns=["what", "why"]).to_csv(sep="\t", index=False),
    )
    _write_text(root / "cohort.tsv", table.to_csv(sep="\t", index=False, na_rep="n/a"))
    return Cache.open(root)


_Outcome = dict[str, Any] | ChiasmError


def _outcomes(
    runs: list[RunFiles], recipe: Recipe, root: Path, workers: int
) -> Iterator[tuple[str, _Outcome]]:
    if workers == 1:
        yield from (_attempt(files, recipe, root) for files in runs)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from pool(delayed(_attempt)(files, recipe, root) for files in runs)


def _shown(
    outcomes: Iterator[tuple[str, _Outcome]], total: int, progress: bool
) -> Iterator[tuple[str, _Outcome]]:
    from rich.console import Console
    from rich.progress import track

    yield from track(
        outcomes, "Cleaning runs", total=total, console=Console(stderr=True), disable=not progress
    )


def _attempt(files: RunFiles, recipe: Recipe, root: Path) -> tuple[str, _Outcome]:
    """A run's facts, or why it cannot be used: errors come back as values, so that workers end in order."""
    try:
        return files.run_id, _prepare_run(files, recipe, root)
    except ChiasmError as error:
        return files.run_id, error


def _prepare_run(files: RunFiles, recipe: Recipe, root: Path) -> dict[str, Any]:
    final = root / "runs" / files.run_id
    sources = _sources(files)
    done = _facts(final)
    if done is not None and done["sources"] == sources and done["identity"] == recipe.identity:
        return done
    partial = root / "runs" / f".partial-{files.run_id}-{os.getpid()}"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        facts = {"identity": recipe.identity, "sources": sources, **_write_run(files, recipe, partial)}
        (partial / "run.json").write_text(json.dumps(facts, indent=1))
        if final.exists():
            shutil.rmtree(final)
        partial.replace(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts


def _write_run(files: RunFiles, recipe: Recipe, folder: Path) -> dict[str, Any]:
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
        "fd_mean": confounds.fd_mean,
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


def _begin(root: Path, recipe: Recipe) -> None:
    """Make the folder, or check that it is ours; sweep what an interrupted run left behind."""
    written = _read_recipe(root)
    if written is None:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ParameterError(
                "cache", must_be="a new or empty folder", got=f"{root}, which holds other things"
            )
        root.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "identity": recipe.identity,
            "recipe": asdict(recipe),
            "versions": _versions(),
        }
        _write_text(root / "recipe.json", json.dumps(content, indent=1))
    elif written["identity"] != recipe.identity:
        raise FingerprintMismatchError(
            "recipe",
            must_be=f"that of the cache ({written['identity']})",
            got=recipe.identity,
            do="prepare into another folder, or remove this one",
            path=root,
        )
    for left in (root / "runs").glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)


def _read_recipe(root: Path) -> dict[str, Any] | None:
    path = root / "recipe.json"
    if not path.is_file():
        return None
    try:
        written: dict[str, Any] = json.loads(path.read_text())
        Recipe(**written["recipe"])
        if written["format"] != FORMAT:
            raise ValueError(f"format {written['format']}, of another version of Chiasm")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            "cache's recipe",
            must_be="one that this version wrote",
            got=str(error),
            do="prepare into a new folder",
            path=path,
        ) from error
    return written


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("chiasm", "nibabel", "nilearn", "numpy", "scipy")}


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".partial-{path.name}-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
