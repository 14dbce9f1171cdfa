"""Cleaned runs on disk, written once, read by many: cohort + recipe -> z-scored series (T, V) of each run.

Layout of a cache:
    recipe.json  cohort.tsv  excluded.tsv
    runs/<run_id>/{series,scale,mean,std,mask}.npy  run.json  trace.tsv  parcels/<atlas>.{npy,json}
A run's folder appears whole or not at all. Letters: T frames kept, V in-mask voxels in C order of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from data.caches.cache_files import COHORT, EXCLUDED, RUNS, begin, claimed, has_runs, read_recipe, undo
from data.caches.cached_run import CachedRun, open_run
from data.caches.run_pool import Job, cleaned
from data.cleaning.as_given import recipe_of
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.cohorts.cohort_rows import NUMBERS, WORDS
from data.errors import BadFileError, ParameterError
from data.parcels.atlases import Atlas, load_atlas
from data.parcels.series import Parcels, atlases_in, open_parcels
from data.writing import disk_told, write_whole

MEASURED = ("tr", "n_frames", "n_voxels", "n_constant", "n_nonfinite", "freedom", "fd_mean")
FRACTIONS = (*NUMBERS, "tr", "freedom", "fd_mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """A folder of cleaned runs; make one with `prepare`, open one with `Cache.open`.

    Attributes:
        root: the folder.
        identity: the recipe's identity; two caches with different ones are never to be mixed.
        recipe: how the runs were cleaned.
        table: one row a run, in the order of `run(i)`: the cohort's columns and `tr` (seconds, after
            resampling), `n_frames`, `n_voxels`, `n_constant`, `n_nonfinite`, `freedom` (degrees of freedom
            left by cleaning), `fd_mean` (mm, NaN if unknown). More on each run's quality in
            `data.caches.quality_table`.
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
            BadFileError: the folder is no cache, another version of Chiasm made it, its tables cannot be
                read, or `prepare` has not finished there.
        """
        root = Path(path)
        written = read_recipe(root)
        if written is None or not (root / COHORT).is_file():
            raise BadFileError(
                "cache",
                must_be="a finished cache (recipe.json, cohort.tsv, runs/)",
                got="an unfinished one" if written else "no cache",
                do="run `neuro prepare` on it again" if written else "make one with `neuro prepare`",
                path=root,
            )
        excluded = _read_table(root / EXCLUDED)
        return cls(
            root=root,
            identity=written["identity"],
            recipe=recipe_of(written["recipe"]),
            table=_read_table(root / COHORT),
            excluded=list(excluded[["what", "why"]].itertuples(index=False, name=None)),
        )

    def __len__(self) -> int:
        return len(self.table)

    def run(self, i: int) -> CachedRun:
        """Run `i` of the table, memory-mapped: opening takes about a millisecond, so keep it for many reads.

        Raises:
            BadFileError: its files are gone or damaged, or the cache holds parcel series alone.
        """
        return open_run(self._folder(i), str(self.table.iloc[i]["participant_id"]))

    def parcels(self, i: int, atlas: str) -> Parcels:
        """Series of an atlas' regions in run `i`, by the atlas' name.

        Raises:
            ParameterError: the run has none of this atlas; the message names those that it has.
            BadFileError: a file is damaged.
        """
        return open_parcels(self._folder(i), atlas)

    @cached_property
    def atlases(self) -> tuple[str, ...]:
        """Names of the atlases that every run has parcels of, sorted."""
        there = [set(atlases_in(self._folder(i))) for i in range(len(self))]
        return tuple(sorted(set.intersection(*there))) if there else ()

    def _folder(self, i: int) -> Path:
        return self.root / RUNS / str(self.table.iloc[i]["run_id"])


def prepare(
    cohort: Cohort,
    recipe: Recipe,
    out: str | Path,
    progress: bool = True,
    *,
    atlases: Sequence[Atlas | str | Path] = (),
    on_error: Literal["raise", "exclude"] = "raise",
    workers: int = 1,
) -> Cache:
    """Clean every run of a cohort into a cache.

    Runs that are already there with the same recipe and unchanged inputs (names, sizes, modification times)
    are kept, so an interrupted preparation goes on where it stopped; one of them that lacks an atlas is read
    again for the atlas' sake, its voxels are not. Memory stays near the in-mask part of one run in float32
    for each worker, however many runs there are.

    Args:
        cohort: the runs and their table.
        recipe: how they are cleaned.
        out: the cache's folder, new, empty, or begun with the same recipe.
        progress: show a bar on standard error.
        atlases: names or paths for `data.parcels.atlases.load_atlas`, or what it gave; the cleaned series of
            their regions are written beside the voxels.
        on_error: "raise" stops at the first run that cannot be used; "exclude" lists it and goes on.
        workers: processes; -1 for every core.

    Raises:
        FingerprintMismatchError: the folder holds a cache of another recipe.
        ParameterError: the cohort is empty, two atlases have one name, or the folder holds something else.
        BadFileError: a run cannot be used (with on_error="raise"), or none can; or another process prepares
            this cache.
        DiskError: the disk is full, or the place is not writable; what is finished stays, and the same call
            goes on with it.
    """
    loaded = [atlas if isinstance(atlas, Atlas) else load_atlas(atlas) for atlas in atlases]
    _check(cohort, loaded, workers)
    root = Path(out)
    with claimed(root):
        begin(root, recipe)
        try:
            job = Job(runs=root / RUNS, recipe=recipe, atlases=loaded)
            found, unusable = cleaned(
                job, cohort.runs, workers=workers, progress=progress, stop_at_error=on_error == "raise"
            )
            _finish(root, cohort, found, unusable)
        finally:
            if not has_runs(root):
                undo(root)
    return Cache.open(root)


def _check(cohort: Cohort, atlases: Sequence[Atlas], workers: int) -> None:
    if not len(cohort):
        raise ParameterError("cohort", must_be="at least one run", got="none", do="see cohort.excluded")
    if workers == 0:
        raise ParameterError("workers", must_be="a positive number, or -1 for every core", got=workers)
    names = [atlas.name for atlas in atlases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError("atlases", must_be="of different names", got=f"{twice[0]!r} twice")
    for atlas in atlases:
        atlas.require_space(cohort.table["space"])


def _finish(
    root: Path, cohort: Cohort, found: dict[str, dict[str, Any]], unusable: list[tuple[str, str]]
) -> None:
    table = cohort.table[cohort.table["run_id"].isin(list(found))].reset_index(drop=True)
    for name in MEASURED:
        table[name] = [found[run_id][name] for run_id in table["run_id"]]
    excluded = pd.DataFrame([*cohort.excluded, *unusable], columns=["what", "why"])
    with disk_told(root):
        write_whole(root / EXCLUDED, excluded.to_csv(sep="\t", index=False))
        write_whole(root / COHORT, table.to_csv(sep="\t", index=False, na_rep="n/a"))


def _read_table(path: Path) -> pd.DataFrame:
    """One of the cache's two tables: words stay words ("01" is a site), and only numbers may be `n/a`."""
    words = dict.fromkeys((*WORDS, "what", "why"), str)
    absent = {name: ["n/a"] for name in FRACTIONS}
    try:
        table = pd.read_csv(path, sep="\t", dtype=words, keep_default_na=False, na_values=absent)
        return table.astype({name: float for name in FRACTIONS if name in table})
    except (OSError, ValueError) as error:
        raise BadFileError(
            "cache's table",
            must_be="as `prepare` wrote it",
            got=str(error),
            do="run `neuro prepare` again",
            path=path,
        ) from error
