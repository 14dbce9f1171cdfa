"""A whole evaluation: cache -> results.json, votes.nii.gz and report.html in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data.caches.cache import Cache
from data.errors import ParameterError
from data.scans.nifti import open_image
from neuro.console import progress_bars
from neuro.evaluate import Contender, Evaluation, evaluate_steps, write_results
from neuro.explain import as_image, vote_map, write_image
from neuro.report import ReportInputs, outcome_named, write_report
from neuro.run_folder import assert_unseen
from neuro.study import TRANSFORMER, StudyConfig, contenders, labels_and_people, study_folds, tokens_for
from neuro.tokens import spec_as_dict

VOTES = "votes.nii.gz"


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
        LeakError: the encoder to begin with was trained on labels of this cohort.
        BadFileError: `planted` is no image.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ParameterError("--out", must_be="a folder", got=f"a file, {folder}", do="name another")
    folds = study_folds(cache, config)
    tokens_for(cache, config.tokens, config.atlas)  # refuses an atlas that is not there before anything else
    if config.init_from is not None:
        assert_unseen(config.init_from, cache)
    outline = open_image(planted) if planted is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        rivals = contenders(cache, config, track=_tracker(progress))
        evaluation = _evaluate(rivals, cache, folds, progress)
        runs = next(rival.X for rival in rivals if rival.name == TRANSFORMER)
        votes, no_map = _write_votes(evaluation, runs, folder / VOTES)
        if no_map:
            progress.console.print(f"no map of votes: {no_map}", highlight=False, markup=False)
    facts = {
        "recipe_identity": cache.identity,
        "config": asdict(config) | {"tokens": spec_as_dict(runs[0].spec)},
        "runs": cache.table["run_id"].tolist(),
        "map": VOTES if votes is not None else f"none: {no_map}",
        "command": command,
    }
    write_results(evaluation, folder / "results.json", facts)
    inputs = ReportInputs(
        cache=cache,
        config=config,
        evaluation=evaluation,
        tokens=runs[0].spec,
        votes=votes,
        no_map=no_map,
        planted=outline,
        command=command,
        remark=remark,
    )
    write_report(inputs, folder / "report.html")
    return evaluation


def _tracker(progress: Progress) -> Callable[[Iterable[Any], str, int], Iterable[Any]]:
    return lambda items, what, total: progress.track(items, total=total, description=what)


def _evaluate(rivals: list[Contender], cache: Cache, folds: list[Any], progress: Progress) -> Evaluation:
    labels, people = labels_and_people(cache)
    bars = {rival.name: progress.add_task(f"Folds: {rival.name}", total=len(folds)) for rival in rivals}
    steps = evaluate_steps(rivals, labels, people, folds)
    while True:
        try:
            progress.advance(bars[next(steps)])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _write_votes(evaluation: Evaluation, runs: Any, path: Path) -> tuple[Any | None, str]:
    """The map of votes as an image; or none, and why."""
    path.unlink(missing_ok=True)  # an earlier evaluation's map would not be of these figures
    try:
        volume_XYZ = vote_map(evaluation, outcome_named(evaluation, TRANSFORMER).fitted, runs)
    except ParameterError as error:  # regions, another readout, or sites with different grids
        return None, str(error).rstrip(".")
    image = as_image(volume_XYZ, runs[0])
    write_image(image, path)
    return image, ""
