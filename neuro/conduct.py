"""A whole evaluation: cache -> results, map and reports in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.progress import Progress

from data.caches.cache import Cache
from data.errors import ParameterError
from data.scans.nifti import open_image
from neuro.classifier.run_folder import assert_unseen
from neuro.console import progress_bars
from neuro.explain import Explaining, StudyMap, study_map, write_image, write_study_map
from neuro.protocol.contender import Contender
from neuro.protocol.contenders import TRANSFORMER, contenders
from neuro.protocol.evaluation import Evaluation, evaluate_steps
from neuro.protocol.pipeline import permuted_in_words, permuted_pipeline, require_permutable
from neuro.protocol.plan import Plan, draw_plan, load_plan
from neuro.protocol.results import PLANTED, Results, results_of, write_results
from neuro.protocol.roster import Roster
from neuro.protocol.settling import HowCalibrated
from neuro.report.content import ReportInputs
from neuro.report.findings import Findings
from neuro.report.protocol_words import protocol_rows
from neuro.report.reading import Reading
from neuro.report.write import file_digests, write_reports
from neuro.study import StudyConfig, tokens_for
from neuro.tokens import ParcelSpec, spec_as_dict


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
    reading: Reading

    @property
    def results(self) -> Results:
        """Without the models."""
        return self.reading.results

    @property
    def findings(self) -> Findings:
        """What may be said of the first model."""
        return self.reading.findings


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
    if config.permutations:
        require_permutable(roster, plan.config)
    tokens_for(cache, config.tokens, config.atlas)  # refuses an atlas that is not there before anything else
    if config.init_from is not None:
        assert_unseen(config.init_from, cache)
    outline = open_image(occasion.planted) if occasion.planted is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        rivals = contenders(cache, config, plan, track=_tracker(progress))
        evaluation = _evaluate(rivals, roster, plan, config, progress)
        runs = next(rival.X for rival in rivals if rival.name == TRANSFORMER)
        relevance = _mapped(evaluation, runs, cache, progress)
        write_study_map(relevance, folder)
        facts = _facts(cache, config, plan, runs[0].spec, occasion)
        results = results_of(evaluation, cache.table, facts)
        if config.permutations:
            write_results(results, evaluation, folder)  # permuting may take long: what is found is not lost
            results = _with_permuted(results, evaluation, config, progress, own_folds=not occasion.splits)
    (folder / PLANTED).unlink(missing_ok=True)
    if outline is not None:
        write_image(outline, folder / PLANTED)
    write_results(results, evaluation, folder)
    inputs = ReportInputs(results=results, relevance=relevance, planted=outline, files=file_digests(folder))
    return Study(evaluation=evaluation, reading=write_reports(inputs, folder / "report.html"))


def _with_permuted(
    results: Results, evaluation: Evaluation, config: StudyConfig, progress: Progress, *, own_folds: bool
) -> Results:
    """The whole pipeline of the first contender on permuted labels, beside what was found."""
    bar = progress.add_task("Permutations", total=config.permutations)
    permuted = permuted_pipeline(
        evaluation.outcomes[0].contender,
        evaluation.roster,
        evaluation.plan.config,
        config.how_permuted(),
        done=lambda: progress.advance(bar),
    )
    row = ["Permutation test", permuted_in_words(permuted, own_folds=own_folds)]
    facts = results.facts | {"protocol": [*results.facts["protocol"], row]}
    return replace(results, facts=facts, permuted=permuted)


def _facts(cache: Cache, config: StudyConfig, plan: Plan, tokens: Any, occasion: Occasion) -> dict[str, Any]:
    return {
        "recipe_identity": cache.identity,
        "cohort_digest": Roster.of(cache).digest(cache.identity),
        "seeds": {"plan": plan.config.seed, "training": config.seed, "permutations": config.seed},
        "code": {"chiasm": version("chiasm")},
        "config": asdict(config) | {"tokens": spec_as_dict(tokens)},
        "coverage": HowCalibrated().coverage,
        "excluded": [list(row) for row in cache.excluded],
        "protocol": protocol_rows(cache, config, plan, tokens),
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


def _mapped(evaluation: Evaluation, runs: Any, cache: Cache, progress: Progress) -> StudyMap:
    """What the Transformers of the first deal read the difference in."""
    bar = progress.add_task("Map of relevance", total=1)
    outcome = evaluation.named(TRANSFORMER)
    explaining = Explaining(
        classifiers=[ready.estimator for ready in outcome.settled],
        runs=runs,
        fold_of_N=outcome.within.folds[0],
        labels_N=evaluation.roster.labels,
        sites_N=evaluation.roster.sites,
    )
    spec = runs[0].spec
    names = cache.parcels(0, spec.atlas).regions if isinstance(spec, ParcelSpec) else None
    found = study_map(explaining, space=str(cache.table["space"].iloc[0]), names=names)
    if found.method is None:
        progress.console.print(found.words[0], highlight=False, markup=False)
    progress.advance(bar)
    return found
