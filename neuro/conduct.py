"""A whole evaluation: cache -> results, map and reports in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data.caches.cache import Cache
from data.errors import ParameterError
from data.scans.nifti import open_image
from neuro.classifier.run_folder import assert_unseen
from neuro.console import progress_bars
from neuro.explain import as_image, vote_map, write_image
from neuro.protocol.contender import Contender
from neuro.protocol.contenders import TRANSFORMER, contenders
from neuro.protocol.evaluation import Evaluation, evaluate_steps
from neuro.protocol.plan import Plan, draw_plan, load_plan
from neuro.protocol.results import PLANTED, VOTES, Results, results_of, write_results
from neuro.protocol.roster import Roster
from neuro.protocol.settling import HowCalibrated
from neuro.report.findings import Findings
from neuro.report.page import ReportInputs
from neuro.report.protocol_words import protocol_rows
from neuro.report.write import write_reports
from neuro.study import StudyConfig, tokens_for
from neuro.tokens import spec_as_dict


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What is told of a study beside its figures.

    Attributes:
        command: what repeats it.
        remark: what a reader must know of the cohort before any figure.
        planted: mask of the region where a simulation planted its effect, drawn on the map.
        splits: folds that an earlier evaluation saved, instead of new ones.
    """

    command: str = ""
    remark: str = ""
    planted: Path | None = None
    splits: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A finished evaluation: its models, its results, and what they say."""

    evaluation: Evaluation
    results: Results
    findings: Findings


def conduct(cache: Cache, config: StudyConfig, out: str | Path, occasion: Occasion | None = None) -> Study:
    """Compare the contenders and write what was found into `out`.

    Args:
        cache: the prepared cohort.
        config: what to compare.
        out: folder for the files of `neuro.protocol.results` and the reports of `neuro.report.write`;
            earlier ones there are replaced.
        occasion: what is told beside.

    Raises:
        ParameterError: too few people for the folds, or runs that cannot be cut.
        LeakError: the encoder to begin with was trained on labels of this cohort.
        BadFileError: the planted mask is no image, or the splits are no such file.
        FingerprintMismatchError: the splits are of other runs.
    """
    occasion, folder, roster = occasion or Occasion(), Path(out), Roster.of(cache)
    if folder.exists() and not folder.is_dir():
        raise ParameterError("--out", must_be="a folder", got=f"a file, {folder}", do="name another")
    plan = load_plan(occasion.splits, roster) if occasion.splits else draw_plan(roster, config.plan)
    tokens_for(cache, config.tokens, config.atlas)  # refuses an atlas that is not there before anything else
    if config.init_from is not None:
        assert_unseen(config.init_from, cache)
    outline = open_image(occasion.planted) if occasion.planted is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        rivals = contenders(cache, config, plan, track=_tracker(progress))
        evaluation = _evaluate(rivals, roster, plan, config, progress)
        runs = next(rival.X for rival in rivals if rival.name == TRANSFORMER)
        votes, no_map = _write_votes(evaluation, runs, folder / VOTES)
        if no_map:
            progress.console.print(f"no map of votes: {no_map}", highlight=False, markup=False)
    results = results_of(evaluation, cache.table, _facts(cache, config, plan, runs[0].spec, occasion, no_map))
    (folder / PLANTED).unlink(missing_ok=True)
    if outline is not None:
        write_image(outline, folder / PLANTED)
    write_results(results, evaluation, folder)
    findings = write_reports(
        ReportInputs(results=results, votes=votes, planted=outline), folder / "report.html"
    )
    return Study(evaluation=evaluation, results=results, findings=findings)


def _facts(
    cache: Cache, config: StudyConfig, plan: Plan, tokens: Any, occasion: Occasion, no_map: str
) -> dict[str, Any]:
    rows = protocol_rows(cache, config, plan, tokens)
    return {
        "recipe_identity": cache.identity,
        "config": asdict(config) | {"tokens": spec_as_dict(tokens)},
        "coverage": HowCalibrated().coverage,
        "excluded": [list(row) for row in cache.excluded],
        "protocol": [*rows, ("Map of votes", f"none: {no_map}")] if no_map else rows,
        "map": f"none: {no_map}" if no_map else VOTES,
        "command": occasion.command,
        "remark": occasion.remark,
    }


def _tracker(progress: Progress) -> Callable[[Iterable[Any], str, int], Iterable[Any]]:
    return lambda items, what, total: progress.track(items, total=total, description=what)


def _evaluate(
    rivals: list[Contender], roster: Roster, plan: Plan, config: StudyConfig, progress: Progress
) -> Evaluation:
    bars = {rival.name: progress.add_task(f"Folds: {rival.name}", total=plan.models) for rival in rivals}
    steps = evaluate_steps(rivals, roster, plan, how=HowCalibrated(method=config.calibration))
    while True:
        try:
            progress.advance(bars[next(steps)])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def _write_votes(evaluation: Evaluation, runs: Any, path: Path) -> tuple[Any | None, str]:
    """The map of votes as an image; or none, and why."""
    path.unlink(missing_ok=True)  # an earlier evaluation's map would not be of these figures
    outcome = evaluation.named(TRANSFORMER)
    models = [ready.estimator for ready in outcome.settled]
    try:
        volume_XYZ = vote_map(models, runs, outcome.within.folds[0], evaluation.roster.labels)
    except ParameterError as error:  # regions, another readout, or sites with different grids
        return None, str(error).rstrip(".")
    image = as_image(volume_XYZ, runs[0])
    write_image(image, path)
    return image, ""
