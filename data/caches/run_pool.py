"""The runs of a cohort cleaned one after the other or by several processes: runs -> facts and failures."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.caches.run_writing import write_run
from data.cleaning.recipe import Recipe
from data.errors import BadFileError, ChiasmError, DiskError
from data.parcels.atlases import Atlas
from data.scans.bids import RunFiles

Facts = dict[str, Any]
Outcome = Facts | ChiasmError


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done to every run: cleaned by `recipe` into `runs`/<run_id>, with the parcels of `atlases`."""

    runs: Path
    recipe: Recipe
    atlases: Sequence[Atlas] = field(default_factory=tuple)

    def __call__(self, files: RunFiles) -> tuple[str, Outcome]:
        """A run's facts, or why it cannot be used: errors come back as values, so that workers end well."""
        try:
            return files.run_id, write_run(files, self.recipe, self.runs / files.run_id, self.atlases)
        except ChiasmError as error:
            return files.run_id, error


def cleaned(
    job: Job, runs: Sequence[RunFiles], *, workers: int, progress: bool, stop_at_error: bool
) -> tuple[dict[str, Facts], list[tuple[str, str]]]:
    """Facts by run, and the runs that cannot be used with their reasons.

    Raises:
        DiskError: the disk is full; runs that are finished stay.
        BadFileError, ParameterError: a run cannot be used (with `stop_at_error`), or none can.
    """
    stop = threading.Event()
    found: dict[str, Facts] = {}
    failed: dict[str, ChiasmError] = {}
    for run_id, outcome in _shown(_outcomes(job, runs, workers, stop), len(runs), progress):
        if not isinstance(outcome, ChiasmError):
            found[run_id] = outcome
            continue
        failed[run_id] = outcome
        if stop_at_error or isinstance(outcome, DiskError):
            stop.set()  # runs that workers have begun are finished, and found again the next time
    if stop.is_set():
        raise next((error for error in failed.values() if isinstance(error, DiskError)), None) or next(
            iter(failed.values())
        )
    unusable = sorted((run_id, str(error)) for run_id, error in failed.items())
    if not found:
        raise BadFileError(
            "cohort", must_be="at least one usable run", got="none", do=f"the first reason: {unusable[0][1]}"
        )
    return found, unusable


def _outcomes(
    job: Job, runs: Sequence[RunFiles], workers: int, stop: threading.Event
) -> Iterator[tuple[str, Outcome]]:
    """Each run's outcome as it comes; once `stop` is set no further run is begun."""
    wanted = itertools.takewhile(lambda _: not stop.is_set(), runs)
    if workers == 1:
        yield from map(job, wanted)
        return
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from pool(delayed(job)(files) for files in wanted)


def _shown(
    outcomes: Iterator[tuple[str, Outcome]], total: int, progress: bool
) -> Iterator[tuple[str, Outcome]]:
    from rich.console import Console
    from rich.progress import track

    yield from track(
        outcomes, "Cleaning runs", total=total, console=Console(stderr=True), disable=not progress
    )
