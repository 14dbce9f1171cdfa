"""`neuro update`: a real process, a run that predicts, a refusal, and what is wrong told beforehand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.caches.cache import Cache, prepare
from data.cleaning.recipe import Recipe
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.classifier.run_folder import load_run
from neuro.classifier.train_run import open_training
from neuro.cli import main
from neuro.commands.update import REFUSED
from neuro.continual.importance import FILE, load_importance
from neuro.prediction.predict import predict
from neuro.study import StudyConfig
from neuro.training.loop import Listeners

from .conftest import TINY_BACKBONE

Update = Callable[..., Any]
QUICK = ("--folds", 2, "--epochs", 1, "--device", "cpu")
FREE = ("--margin", 0.99, "--loss-margin", 9)  # toy models know nothing: whether they are kept is chance
MEASURED = {"update.json", "update.md", "update.png"}
SAVED = {"model", "run.json", "calibration.json", "novelty.json"}


def cohort(folder: Path, name: str, seed: int) -> Cache:
    """Twelve people of one site, who bear its name; two sites' people may be called alike."""
    derivative = simulate(
        folder / f"{name}-derivative", SimulationSpec(subjects=12, sites=1, voxel_mm=8, frames=48, seed=seed)
    )
    table = pd.read_csv(derivative / "participants.tsv", sep="\t", keep_default_na=False)
    table["person"] = name + "-" + table["participant_id"]
    table["site"] = name
    table.to_csv(derivative / "participants.tsv", sep="\t", index=False)
    return prepare(Cohort.from_derivatives(derivative), Recipe(confounds="6p"), folder / name, progress=False)


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return cohort(tmp_path_factory.mktemp("added"), "new", 11)


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return cohort(tmp_path_factory.mktemp("unseen"), "unseen", 12)


@pytest.fixture(scope="module")
def trained(cache: Cache, study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `neuro train` leaves."""
    out = tmp_path_factory.mktemp("trained") / "run"
    open_training(cache.root, out, study, importance=True).run(Listeners())
    return out


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "neuro", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def update(run_command: Any) -> Update:
    return lambda run, *options: run_command(main, "neuro", "update", run, *options, *QUICK)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_real_process_leaves_a_run_that_predicts_and_says_where_it_comes_from(
    trained: Path, cache: Cache, added: Cache, derivative: Path, tmp_path: Path
) -> None:
    out = tmp_path / "updated"
    done = process("update", trained, "--add", added.root, "--old", cache.root, "--out", out, *QUICK, *FREE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "Accepted: replay. No old site is worse than is allowed (AUC may fall by 0.99"
    )
    assert names(out) == MEASURED | SAVED | {FILE}
    found = json.loads((out / "update.json").read_text(encoding="utf-8"))
    assert list(found["strategies"]) == ["replay", "naive", "ewc", "replay+ewc", "cumulative"]
    assert set(found["strategies"]["ewc"]["auc"]["after"]) == {"site-A", "site-B", "new"}
    assert found["people"] == {"site-A": 6, "site-B": 6, "new": 12}
    assert found["tested_on_old_people"] == "its recipe, in folds"
    facts = load_run(out, "cpu").facts
    assert facts["updated"]["parent"]["digest"] == load_run(trained, "cpu").digest
    assert facts["updated"]["added"]["recipe"] == added.identity == facts["recipe_identity"]
    assert (facts["updated"]["strategy"], facts["updated"]["accepted"]) == ("replay", True)
    assert len(facts["scans"]) == 24  # of two cohorts whose runs have the same names
    assert facts["people"] == sorted({*cache.table["person"], *added.table["person"]})
    kept = load_importance(out, load_run(out, "cpu").classifier.model_)
    assert kept is not None
    assert kept.runs == 24
    stem = derivative / "sub-001" / "func" / "sub-001_task-rest"
    bold = f"{stem}_space-MNI152NLin2009aSym_desc-preproc_bold.nii.gz"
    mask, confounds = bold.replace("preproc_bold", "brain_mask"), f"{stem}_desc-confounds_timeseries.tsv"
    said = predict(load_run(out, "cpu"), bold, mask=mask, confounds=confounds)
    assert said.interval is not None
    assert said.calibrated_on == 24  # of old and new people, each in a fold
    assert said.novelty is not None
    assert said.novelty.people == 24
    text = (out / "update.md").read_text(encoding="utf-8")
    assert text.startswith("# A new site\n\nFor research, not for diagnosis.\n\n**Accepted**: replay")
    assert (out / "update.png").read_bytes().startswith(b"\x89PNG")


def test_without_old_scans_the_very_update_is_tested_and_can_be_updated_again(
    update: Update, trained: Path, cache: Cache, added: Cache, unseen: Cache, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    done = update(trained, "--add", added.root, "--check", unseen.root, "--out", first, *FREE)
    assert done.code == 0, done.err
    found = json.loads((first / "update.json").read_text(encoding="utf-8"))
    assert found["strategy"] == "ewc"
    assert set(found["strategies"]) == {"ewc", "naive"}
    assert set(found["left_out"]) == {"replay", "replay+ewc", "cumulative"}
    assert found["tested_on_old_people"] == "the parent itself"
    assert set(found["strategies"]["ewc"]["auc_change"]) == {"unseen"}
    parent, child = (load_run(run, "cpu") for run in (trained, first))
    assert child.calibration is not None
    assert child.calibration.conformal.people == (24, 24)  # to check with, and new
    assert parent.novelty is not None
    assert child.novelty is not None
    assert child.novelty.people == 24
    sites = [set(novelty.fingerprint.words["site"]) for novelty in (parent.novelty, child.novelty)]
    assert sites[1] == sites[0] | {"new", "unseen"}
    before, after = parent.classifier, child.classifier
    assert before.people_ is not None
    assert after.people_ == sorted({*before.people_, *added.table["person"]})
    again = update(first, "--add", added.root, "--check", unseen.root, "--out", tmp_path / "again")
    assert again.code == 2
    assert "added cohort must be of scans that the run has not seen, got 12" in again.err
    second = update(first, "--add", unseen.root, "--check", added.root, "--out", tmp_path / "second", *FREE)
    assert second.code == 2  # they were added: who is known says nothing
    assert "must be of scans that the run has not seen" in second.err
    kept = ("--old", cache.root, "--old", added.root, "--alone")
    third = update(first, "--add", unseen.root, *kept, "--out", tmp_path / "third", *FREE)
    assert third.code == 0, third.err
    facts = load_run(tmp_path / "third", "cpu").facts
    assert len(facts["scans"]) == 36
    assert facts["updated"]["parent"]["updated"]["strategy"] == "ewc"


def test_what_makes_an_old_site_worse_is_refused_and_leaves_no_model(
    update: Update, trained: Path, cache: Cache, unseen: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "refused"
    spoilt = turned(unseen, tmp_path / "turned")
    harsh = ("--set", "training.optimizer.learning_rate=0.03", "--margin", 0, "--loss-margin", 0)
    done = update(
        trained, "--add", spoilt, "--old", cache.root, "--out", out,
        "--strategy", "naive", "--alone", *harsh, "--epochs", 6,
    )  # fmt: skip
    assert done.code == REFUSED, done.err
    assert done.out.startswith("REFUSED: naive. Old sites got worse than is allowed (AUC may fall by 0,")
    assert "No model was written: go on using the parent." in done.out
    assert names(out) == MEASURED
    found = json.loads((out / "update.json").read_text(encoding="utf-8"))
    assert found["accepted"] is False
    assert found["reasons"]
    assert set(found["strategies"]) == {"naive"}
    assert "**REFUSED**" in (out / "update.md").read_text(encoding="utf-8")


def turned(cache: Cache, out: Path) -> Path:
    """The same cohort with every diagnosis turned round, under other runs' names."""
    shutil.copytree(cache.root, out)
    table = pd.read_csv(out / "cohort.tsv", sep="\t", keep_default_na=False)
    table["label"] = 1 - table["label"]
    table.to_csv(out / "cohort.tsv", sep="\t", index=False)
    return out


def test_what_cannot_be_judged_or_does_not_fit_is_told_before_anything_is_computed(
    update: Update, trained: Path, cache: Cache, added: Cache, unseen: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    add, kept = ("--add", added.root, "--out", out), ("--old", cache.root)
    blind = update(trained, *add)
    assert "without people of the old sites nobody could say whether they got worse" in blind.err
    other = update(trained, *add, "--old", unseen.root)
    assert (
        "--old must be the 12 scans that the run was trained on, and no others, got 0 of them among 12"
        in other.err
    )
    seen = update(trained, *add, "--check", cache.root)
    assert "must be of scans that the run has not seen, got 12" in seen.err
    lacks = update(trained, *add, "--check", unseen.root, "--strategy", "replay")
    assert "strategy must be one that can do without the old scans (--old), got replay" in lacks.err
    wrong = update(trained, *add, "--old", cache.root, "--strategy", "reply")
    assert "did you mean replay" in wrong.err
    strange = update(trained, *add, "--old", cache.root, "--set", "model.readout=mean")
    assert "--set must be of the training" in strange.err
    mixed = update(with_fact(trained, tmp_path / "mixed", "recipe_identity", "another"), *add, *kept)
    assert "recipe must be that of the run (another)" in mixed.err
    fast = update(with_fact(trained, tmp_path / "fast", "tr", 1.0), *add, *kept)
    assert "repetition time must be within 5 % of the run's 1 s, got 2 s" in fast.err
    all_of_them = (blind, other, seen, lacks, wrong, strange, mixed, fast)
    assert {done.code for done in all_of_them} == {2}
    assert not out.exists()
    out.mkdir()
    (out / "something").touch()
    assert "new or empty" in update(trained, *add, "--old", cache.root).err


def with_fact(trained: Path, out: Path, name: str, value: object) -> Path:
    """The run as if it had been made otherwise."""
    shutil.copytree(trained, out)
    facts = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (out / "run.json").write_text(json.dumps({**facts, name: value}), encoding="utf-8")
    return out


def test_without_importance_nothing_is_kept_of_it(run_command: Any, cache: Cache, tmp_path: Path) -> None:
    options = ("--backbone", TINY_BACKBONE, "--epochs", 1, "--device", "cpu", "--no-importance")
    assert run_command(main, "neuro", "train", cache.root, "--out", tmp_path / "run", *options).code == 0
    assert not (tmp_path / "run" / FILE).exists()
    assert np.isfinite(load_run(tmp_path / "run", "cpu").classifier.losses_).all()
