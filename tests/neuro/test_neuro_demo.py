"""The brain half's demonstration and the evaluation behind it, as small as they can be."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.errors import LeakError, ParameterError
from data.simulation.cohort import SimulationSpec
from neuro import demo
from neuro.conduct import conduct
from neuro.console import show_results
from neuro.study import StudyConfig
from neuro.tokens import ParcelSpec
from neuro.training.config import TrainingConfig


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
    assert [o.name for o in first.evaluation.outcomes] == [
        "brain Transformer",
        "connectivity + SVM",
        "connectivity + ComBat + SVM",
        "majority",
    ]
    kept = {path: path.stat().st_mtime_ns for path in first.derivative.rglob("*") if path.is_file()}
    series = {path: path.stat().st_mtime_ns for path in first.cache.rglob("series.npy")}
    assert len(series) == 12
    report = first.report.stat().st_mtime_ns

    second = demo.run(tmp_path, subjects=12, effect=0.7, seed=1, config=config)
    assert {path: path.stat().st_mtime_ns for path in first.derivative.rglob("*") if path.is_file()} == kept
    assert {path: path.stat().st_mtime_ns for path in first.cache.rglob("series.npy")} == series
    assert second.report.stat().st_mtime_ns > report
    for one, other in zip(first.evaluation.outcomes, second.evaluation.outcomes, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)

    other = demo.run(tmp_path, subjects=12, effect=0, seed=1, config=config)
    assert other.derivative != first.derivative
    assert "Yellow: the region" not in other.report.read_text(encoding="utf-8")


def test_what_is_shown_in_the_terminal(cache: Cache, study: StudyConfig, tmp_path: Path) -> None:
    evaluation = conduct(cache, study, tmp_path / "found")
    console = Console(file=io.StringIO(), width=120)
    show_results(evaluation, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for outcome in evaluation.outcomes:
        line = next(line for line in text.splitlines() if f" {outcome.name} " in line)
        for figure in (
            f"{outcome.auc.estimate:.3f}",
            f"{outcome.auc.low:.3f} to {outcome.auc.high:.3f}",
            f"{outcome.balanced_accuracy:.3f}",
        ):
            assert figure in line
    assert "The brain Transformer tells patients from controls with AUC" in text


def test_an_evaluation_is_the_same_twice_and_replaces_the_earlier_one(
    cache: Cache, study: StudyConfig, tmp_path: Path
) -> None:
    conduct(cache, study, tmp_path, command="neuro evaluate")
    results, votes = (tmp_path / name for name in ("results.json", "votes.nii.gz"))
    first, first_votes = results.read_text(), nib.load(votes).get_fdata()
    conduct(cache, study, tmp_path, command="neuro evaluate")
    assert results.read_text() == first
    np.testing.assert_array_equal(nib.load(votes).get_fdata(), first_votes)
    content = json.loads(first)
    assert content["recipe_identity"] == cache.identity
    assert content["runs"] == cache.table["run_id"].tolist()
    assert content["config"]["folds"] == 2
    assert content["config"]["tokens"]["kind"] == "tubelet"
    assert content["config"]["model"]["readout"] == "regions"
    assert content["map"] == "votes.nii.gz"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "results.json",
        "votes.nii.gz",
    ]


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

    (tmp_path / "votes.nii.gz").write_bytes(b"an earlier one")
    monkeypatch.setattr("neuro.conduct.vote_map", refuse)
    conduct(cache, study, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.json"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Where the difference was read" not in page
    assert "none: runs must be on one grid, got several grids" in page
    assert json.loads((tmp_path / "results.json").read_text())["map"].endswith("got several grids")
    assert "no map of votes: runs must be on one grid, got several grids" in capsys.readouterr().err


def test_parcels_beside_voxels_can_be_what_the_transformer_sees(
    cache: Cache, study: StudyConfig, derivative: Path, tmp_path: Path
) -> None:
    recipe = cache.recipe
    both = prepare(
        Cohort.from_derivatives(derivative), recipe, tmp_path / "cache", progress=False, atlases=["aal"]
    )
    tokens = ParcelSpec(atlas="aal", frames=20, window=10)
    evaluation = conduct(both, replace(study, tokens=tokens), tmp_path / "out")
    assert evaluation.outcomes[0].note == "small ViT, initialised from scratch; parcel tokens"
    names = [o.name for o in evaluation.outcomes]
    assert names[:2] == ["brain Transformer", "connectivity + SVM"]
    assert "connectivity of aal + SVM" in names
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "regions of aal over 10 of 20 frames" in page


def test_an_encoder_that_was_trained_on_these_people_is_a_leak(
    cache: Cache, study: StudyConfig, run_folder: Path, tmp_path: Path
) -> None:
    begun = replace(study, init_from=str(run_folder))
    with pytest.raises(LeakError, match=r"got one trained on 12 of these runs \(sub-001_task-rest, "):
        conduct(cache, begun, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # People of another cohort may have the same names.
    others = replace(cache, table=cache.table.assign(fd_mean=cache.table["fd_mean"] + 0.01))
    evaluation = conduct(others, begun, tmp_path / "out")
    assert evaluation.outcomes[0].note == f"started from {run_folder}; tubelet tokens"
    assert f"{run_folder}: an encoder trained before" in (tmp_path / "out/report.html").read_text()
