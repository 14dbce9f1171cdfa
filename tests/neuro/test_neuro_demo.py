"""The brain half's demonstration and the evaluation behind it, as small as they can be."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.errors import LeakError, ParameterError
from data.parcels.atlases import load_atlas
from data.simulation.cohort import SimulationSpec
from neuro import demo
from neuro.conduct import Occasion, Study, conduct
from neuro.console import show_results
from neuro.explain import read_study_map
from neuro.protocol.plan import PlanConfig, load_plan
from neuro.protocol.results import load_results
from neuro.protocol.roster import Roster
from neuro.study import StudyConfig
from neuro.tokens import ParcelSpec
from neuro.training.config import TrainingConfig

NAMES = ["brain Transformer", "connectivity + SVM", "age + sex", "head motion", "site", "majority"]
FILES = {
    *("cohort.csv", "model_card.md", "predictions.csv", "report.html", "results.json", "splits.json"),
    *("relevance.json", "tripod_ai.md"),
}
MAP = {"relevance.nii.gz", "relevance.html", "regions.tsv", "clusters.tsv"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated") / "found"


@pytest.fixture(scope="module")
def evaluated(cache: Cache, study: StudyConfig, out: Path) -> Study:
    return conduct(cache, study, out, Occasion(command="neuro evaluate"))


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Voxels of 8 mm instead of 4, in this process."""
    monkeypatch.setattr(
        demo, "SimulationSpec", lambda **given: SimulationSpec(voxel_mm=8, frames=48, **given)
    )
    monkeypatch.setattr(demo, "WORKERS", 1)


@pytest.mark.slow
@pytest.mark.usefixtures("coarse")
def test_the_demonstration_leaves_everything_and_goes_on_from_it(tmp_path: Path, study: StudyConfig) -> None:
    config = replace(study, training=TrainingConfig(epochs=1))
    first = demo.run(tmp_path, subjects=12, effect=0.7, seed=1, config=config)
    assert first.report == tmp_path / "report.html"
    assert "not for diagnosis" in first.report.read_text(encoding="utf-8")
    assert [outcome.name for outcome in first.study.evaluation.outcomes] == NAMES
    plan = first.study.evaluation.plan
    assert plan.config == PlanConfig(repeats=1, inner=2, seed=1)
    assert len(plan.across) == 2
    page = first.report.read_text(encoding="utf-8")
    assert "Simulated: patients lose 70% of amplitude and coupling in the posterior putamen." in page
    assert "neuro demo --subjects 12 --effect 0.7 --seed 1" in page
    assert "Yellow: the region" in page
    kept = {path: path.stat().st_mtime_ns for path in first.derivative.rglob("*") if path.is_file()}
    series = {path: path.stat().st_mtime_ns for path in first.cache.rglob("series.npy")}
    assert len(series) == 12
    report = first.report.stat().st_mtime_ns

    second = demo.run(tmp_path, subjects=12, effect=0.7, seed=1, config=config)
    assert {path: path.stat().st_mtime_ns for path in first.derivative.rglob("*") if path.is_file()} == kept
    assert {path: path.stat().st_mtime_ns for path in first.cache.rglob("series.npy")} == series
    assert second.report.stat().st_mtime_ns > report
    both = (first.study.evaluation.outcomes, second.study.evaluation.outcomes)
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one.within.scores, other.within.scores)

    other = demo.run(tmp_path, subjects=12, effect=0, seed=1, config=config)
    assert other.derivative != first.derivative
    page = other.report.read_text(encoding="utf-8")
    assert "Yellow: the region" not in page
    assert "Simulated, with no effect: whatever tells these groups apart is chance." in page


def test_what_is_shown_in_the_terminal(evaluated: Study) -> None:
    console = Console(file=io.StringIO(), width=1000)
    show_results(evaluated.reading, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert [outcome.name for outcome in evaluated.evaluation.outcomes] == NAMES
    for outcome in evaluated.evaluation.outcomes:
        line = next(line for line in text.splitlines() if f" {outcome.name} " in line)
        for figure in (
            f"{outcome.auc.estimate:.3f}",
            f"{outcome.auc.low:.3f} to {outcome.auc.high:.3f}",
            f"{outcome.figures['balanced_accuracy'].estimate:.3f}",
        ):
            assert figure in line
    assert evaluated.findings.verdict.headline in text
    assert "brain Transformer" in evaluated.findings.verdict.headline
    for line in evaluated.reading.first_screen:
        assert line in text


def test_an_evaluation_is_the_same_twice_and_replaces_the_earlier_one(
    cache: Cache, study: StudyConfig, evaluated: Study, out: Path
) -> None:
    assert names_in(out) == FILES | MAP
    same = ("results.json", "predictions.csv", "cohort.csv", "splits.json", "report.html")
    first = {name: (out / name).read_text(encoding="utf-8") for name in same[:-1]}
    first |= {name: (out / name).read_text(encoding="utf-8") for name in MAP - {"relevance.nii.gz"}}
    first_map, report = nib.load(out / "relevance.nii.gz").get_fdata(), (out / "report.html").stat()
    again = conduct(cache, study, out, Occasion(command="neuro evaluate"))
    assert {name: (out / name).read_text(encoding="utf-8") for name in first} == first
    np.testing.assert_array_equal(nib.load(out / "relevance.nii.gz").get_fdata(), first_map)
    assert (out / "report.html").stat().st_mtime_ns > report.st_mtime_ns
    assert again.findings.verdict.words == evaluated.findings.verdict.words
    facts = json.loads(first["results.json"])["facts"]
    assert facts["recipe_identity"] == cache.identity
    assert facts["config"]["plan"]["folds"] == 2
    assert facts["config"]["tokens"]["kind"] == "tubelet"
    assert facts["config"]["model"]["readout"] == "regions"
    assert facts["command"] == "neuro evaluate"
    assert names_in(out) == FILES | MAP
    read = load_results(out)
    assert read.table["run_id"].tolist() == cache.table["run_id"].tolist()
    np.testing.assert_array_equal(read.ours.within.scores, evaluated.results.ours.within.scores)
    assert read.ours.across is not None
    plan = load_plan(out / "splits.json", Roster.of(cache))
    for fold, other in zip(plan.within[0], evaluated.evaluation.plan.within[0], strict=True):
        np.testing.assert_array_equal(fold.test, other.test)


def test_a_map_that_no_longer_holds_is_not_left_behind(
    cache: Cache,
    study: StudyConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Runs on several grids have no common map: an earlier one must not stand beside the new figures."""

    def refuse(*_: object) -> None:
        raise ParameterError("runs", must_be="on one grid", got="several grids")

    for name in MAP:
        (tmp_path / name).write_bytes(b"an earlier one")
    monkeypatch.setattr(sys.modules["neuro.explain.study_map"], "require_one_space", refuse)
    conduct(cache, replace(study, plan=replace(study.plan, across=False)), tmp_path)
    assert names_in(tmp_path) == FILES
    words = "There is no map: runs must be on one grid, got several grids."
    assert words in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "relevance.json").read_text())["words"] == [words]
    assert words in capsys.readouterr().err


def test_parcels_beside_voxels_can_be_what_the_transformer_sees(
    cache: Cache, study: StudyConfig, derivative: Path, tmp_path: Path
) -> None:
    recipe = cache.recipe
    both = prepare(
        Cohort.from_derivatives(derivative), recipe, tmp_path / "cache", progress=False, atlases=["aal"]
    )
    tokens = ParcelSpec(atlas="aal", frames=20, window=10)
    config = replace(study, tokens=tokens, plan=replace(study.plan, across=False))
    results = conduct(both, config, tmp_path / "out").results
    assert results.ours.note == "small ViT, initialised from scratch; parcel tokens"
    names = [model.name for model in results.models]
    assert names[:2] == ["brain Transformer", "connectivity + SVM"]
    assert "connectivity of aal + SVM" in names
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "regions of aal over 10 of 20 frames" in page
    found = read_study_map(tmp_path / "out")
    assert found is not None
    assert found.image is not None  # of an atlas that has a name
    assert found.image.shape == load_atlas("aal").labels_XYZ.shape
    assert found.clusters is None


def test_an_encoder_that_was_trained_on_these_people_is_a_leak(
    cache: Cache, study: StudyConfig, run_folder: Path, tmp_path: Path
) -> None:
    begun = replace(study, init_from=str(run_folder))
    with pytest.raises(LeakError, match=r"got one trained on 12 of these runs \(sub-001_task-rest, "):
        conduct(cache, begun, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # People of another cohort may have the same names.
    others = replace(cache, table=cache.table.assign(fd_mean=cache.table["fd_mean"] + 0.01))
    begun = replace(begun, plan=replace(study.plan, across=False))
    results = conduct(others, begun, tmp_path / "out").results
    assert results.ours.note == f"started from {run_folder}; tubelet tokens"
    assert f"{run_folder}: an encoder trained before" in (tmp_path / "out/report.html").read_text()
