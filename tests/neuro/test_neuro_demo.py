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

from data.caches.cache import Cache
from data.errors import ParameterError
from data.simulation.cohort import SimulationSpec
from neuro import demo
from neuro.conduct import conduct
from neuro.console import show_results
from neuro.study import StudyConfig
from neuro.training.supervised import TrainingConfig


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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "results.json",
        "votes.nii.gz",
    ]


def test_a_map_that_no_longer_holds_is_not_left_behind(
    cache: Cache, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs on several grids have no common map: an earlier one must not stand beside the new figures."""

    def refuse(*_: object) -> None:
        raise ParameterError("runs", must_be="on one grid", got="several grids")

    (tmp_path / "votes.nii.gz").write_bytes(b"an earlier one")
    monkeypatch.setattr("neuro.conduct.vote_map", refuse)
    conduct(cache, study, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "results.json"]
    assert "Where the difference was read" not in (tmp_path / "report.html").read_text(encoding="utf-8")
