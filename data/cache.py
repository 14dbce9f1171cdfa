"""Cleaned runs on disk, written once, read by many: cohort + recipe -> z-scored fp16 series (T, V).

Layout of a cache:
    recipe.json  cohort.tsv  excluded.tsv  runs/<run_id>/{series,mean,std,mask}.npy  runs/<run_id>/run.json
A run's folder appears whole or not at all. Letters: T frames kept, V in-mask voxels in C order of the mask.
"""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data.bids import RunFiles
from data.cached_run import PARTIAL, CachedRun, open_run, write_run
from data.cohort import Cohort
from data.errors import BadFileError, ChiasmError, FingerprintMismatchError, ParameterError
from data.recipe import Recipe
from data.writing import write_whole

FORMAT = 1
DRAFTS = ".*.partial.*"  # what `data.writing` leaves of a file where its process is killed
MEASURED = ("tr", "n_frames", "n_voxels", "n_constant", "n_nonfinite", "freedom", "fd_mean")
WORDS = ("run_id", "participant_id", "site", "sex", "space", "bold", "mask", "confounds")


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
        return open_run(self.root / "runs" / str(row["run_id"]), str(row["participant_id"]))


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
    if not len(cohort):
        raise ParameterError("cohort", must_be="at least one run", got="none", do="see cohort.excluded")
    if workers == 0:
        raise ParameterError("workers", must_be="a positive number, or -1 for every core", got=workers)
    root = Path(out)
    _begin(root, recipe)
    stop = threading.Event()
    try:
        outcomes = _outcomes(cohort.runs, recipe, root, workers, stop)
        found, unusable = _collect(_shown(outcomes, len(cohort), progress), on_error, stop)
        _finish(root, cohort, found, unusable)
    finally:
        if not _has_runs(root):
            _undo(root)
    return Cache.open(root)


_Outcome = dict[str, Any] | ChiasmError


def _outcomes(
    runs: list[RunFiles], recipe: Recipe, root: Path, workers: int, stop: threading.Event
) -> Iterator[tuple[str, _Outcome]]:
    """Each run's outcome as it comes; once `stop` is set no further run is begun."""
    wanted = itertools.takewhile(lambda _: not stop.is_set(), runs)
    if workers == 1:
        yield from (_attempt(files, recipe, root) for files in wanted)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from pool(delayed(_attempt)(files, recipe, root) for files in wanted)


def _shown(
    outcomes: Iterator[tuple[str, _Outcome]], total: int, progress: bool
) -> Iterator[tuple[str, _Outcome]]:
    from rich.console import Console
    from rich.progress import track

    yield from track(
        outcomes, "Cleaning runs", total=total, console=Console(stderr=True), disable=not progress
    )


def _attempt(files: RunFiles, recipe: Recipe, root: Path) -> tuple[str, _Outcome]:
    """A run's facts, or why it cannot be used: errors come back as values, so that workers end well."""
    try:
        return files.run_id, write_run(files, recipe, root / "runs" / files.run_id)
    except ChiasmError as error:
        return files.run_id, error


def _collect(
    outcomes: Iterator[tuple[str, _Outcome]], on_error: str, stop: threading.Event
) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    """Facts by run, and the runs that cannot be used with their reasons."""
    found: dict[str, dict[str, Any]] = {}
    failed: dict[str, ChiasmError] = {}
    for run_id, outcome in outcomes:
        if not isinstance(outcome, ChiasmError):
            found[run_id] = outcome
            continue
        failed[run_id] = outcome
        if on_error == "raise":
            stop.set()  # runs that workers have begun are finished, and found again the next time
    if failed and on_error == "raise":
        raise next(iter(failed.values()))
    unusable = sorted((run_id, str(error)) for run_id, error in failed.items())
    if not found:
        raise BadFileError(
            "cohort", must_be="at least one usable run", got="none", do=f"the first reason: {unusable[0][1]}"
        )
    return found, unusable


def _finish(
    root: Path, cohort: Cohort, found: dict[str, dict[str, Any]], unusable: list[tuple[str, str]]
) -> None:
    table = cohort.table[cohort.table["run_id"].isin(list(found))].reset_index(drop=True)
    for name in MEASURED:
        table[name] = [found[run_id][name] for run_id in table["run_id"]]
    excluded = pd.DataFrame([*cohort.excluded, *unusable], columns=["what", "why"])
    write_whole(root / "excluded.tsv", excluded.to_csv(sep="\t", index=False))
    write_whole(root / "cohort.tsv", table.to_csv(sep="\t", index=False, na_rep="n/a"))


def _begin(root: Path, recipe: Recipe) -> None:
    """Make the folder, or check that it is ours; sweep what an interrupted preparation left behind."""
    written = _read_recipe(root)
    if written is None and root.exists() and not (root.is_dir() and _is_bare(root)):
        raise ParameterError(
            "cache", must_be="a new or empty folder", got=f"{root}, which holds other things"
        )
    if written is not None and written["identity"] != recipe.identity and _has_runs(root):
        raise FingerprintMismatchError(
            "recipe",
            must_be=f"that of the cache ({written['identity']})",
            got=recipe.identity,
            do="prepare into another folder, or remove this one",
            path=root,
        )
    for left in (root / "runs").glob(f"{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in root.glob(DRAFTS):
        left.unlink()
    (root / "runs").mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "identity": recipe.identity,
        "recipe": asdict(recipe),
        "versions": _versions(),
    }
    write_whole(root / "recipe.json", json.dumps(content, indent=1))


def _is_bare(root: Path) -> bool:
    """Whether a folder holds nothing but what a killed preparation was writing."""
    return all(path.match(DRAFTS) for path in root.iterdir())


def _has_runs(root: Path) -> bool:
    return any((root / "runs").glob("*/run.json"))


def _undo(root: Path) -> None:
    """Leave nothing behind of a preparation that came to nothing."""
    shutil.rmtree(root / "runs", ignore_errors=True)
    for name in ("recipe.json", "cohort.tsv", "excluded.tsv"):
        (root / name).unlink(missing_ok=True)
    if _is_bare(root):
        shutil.rmtree(root)


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
