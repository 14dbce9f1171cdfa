"""A whole evaluation: cache -> results.json, votes.nii.gz and report.html in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from data.scans.nifti import open_image
from neuro.console import progress_bars
from neuro.evaluate import Contender, Evaluation, evaluate_steps, write_results
from neuro.report import ReportInputs, outcome_named, write_report
from neuro.study import TRANSFORMER, StudyConfig, contenders, labels_and_people, study_folds
from neuro.vote_map import as_image, vote_map, write_image


def conduct(
    cache: Cache,
    config: StudyConfig,
    out: str | Path,
    *,
    planted: Path | None = None,
    command: str = "",
    remark: str = "",
) -> Evaluation:
    """Compare the contenders and write what was found into `out`.

    Args:
        cache: the prepared cohort.
        config: what to compare.
        out: folder for results.json, votes.nii.gz and report.html; earlier ones there are replaced.
        planted: mask of the region where a simulation planted its effect, drawn on the map.
        command: what repeats it, for the report.
        remark: what a reader of the report must know of the cohort before any figure.

    Raises:
        ParameterError: too few people for the folds, or runs that cannot be cut.
        BadFileError: `planted` is no image.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ParameterError("--out", must_be="a folder", got=f"a file, {folder}", do="name another")
    folds = study_folds(cache, config)
    outline = open_image(planted) if planted is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        rivals = contenders(cache, config, track=_tracker(progress))
        evaluation = _evaluate(rivals, cache, folds, progress)
    votes = _write_votes(evaluation, rivals, cache, folder / "votes.nii.gz")
    facts = {
        "recipe_identity": cache.identity,
        "config": asdict(config),
        "runs": cache.table["run_id"].tolist(),
        "command": command,
    }
    write_results(evaluation, folder / "results.json", facts)
    inputs = ReportInputs(
        cache=cache,
        config=config,
        evaluation=evaluation,
        votes=votes,
        planted=outline,
        command=command,
        remark=remark,
    )
    write_report(inputs, folder / "report.html")
    return evaluation


def _tracker(progress: Progress) -> Callable[[Iterable[CachedRun], str, int], Iterable[CachedRun]]:
    return lambda runs, what, total: progress.track(runs, total=total, description=what)


def _evaluate(rivals: list[Contender], cache: Cache, folds: list[Any], progress: Progress) -> Evaluation:
    labels, people = labels_and_people(cache)
    bars = {rival.name: progress.add_task(f"Folds: {rival.name}", total=len(folds)) for rival in rivals}
    steps = evaluate_steps(rivals, labels, people, folds)
    while True:
        try:
            progress.advance(bars[next(steps)])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _write_votes(evaluation: Evaluation, rivals: list[Contender], cache: Cache, path: Path) -> Any | None:
    runs = next((rival.X for rival in rivals if rival.name == TRANSFORMER), None)
    if runs is None:
        path.unlink(missing_ok=True)
        return None
    try:
        volume_XYZ = vote_map(evaluation, outcome_named(evaluation, TRANSFORMER).fitted, runs)
    except ParameterError:  # sites with different grids: each run still has its votes, but no common map
        path.unlink(missing_ok=True)  # an earlier evaluation's map would not be of these figures
        return None
    image = as_image(volume_XYZ, runs[0])
    write_image(image, path)
    return image
