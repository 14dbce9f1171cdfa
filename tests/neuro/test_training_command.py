"""`neuro train`: recipes, what it leaves, resuming, and beginning from a trained encoder."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.calibration.acquisition import Fingerprint, acquisition_table
from neuro.calibration.calibration import calibrate as fit_calibration
from neuro.calibration.inner_scores import inner_scores
from neuro.calibration.saved import read_calibration, read_novelty
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.run_folder import load_run
from neuro.classifier.train_run import open_training
from neuro.cli import main
from neuro.study import StudyConfig, labels_and_people
from neuro.tokens import RunTokens
from neuro.training import loop
from neuro.training.loop import Listeners

from .conftest import TINY_BACKBONE

Train = Callable[..., Any]
QUICK = ("--backbone", TINY_BACKBONE, "--epochs", 2, "--device", "cpu", "--set", "training.batch_size=4")
ALONE = (*QUICK, "--no-calibrate")


@pytest.fixture
def train(run_command: Any, cache: Cache) -> Train:
    return lambda out, *options: run_command(main, "neuro", "train", cache.root, "--out", out, *options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_run(folder, "cpu").classifier.model_.state_dict()


def test_it_leaves_a_model_and_its_history(train: Train, tmp_path: Path) -> None:
    done = train(tmp_path / "run", *QUICK)
    assert done.code == 0, done.err
    assert done.err.startswith("One training of all, then 5 of fewer people, to calibrate.\n")
    assert done.out.startswith("trained on 12 runs, final loss ")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "begun.json",
        "calibration.json",
        "fisher.safetensors",
        "history.csv",
        "model",
        "novelty.json",
        "run.json",
    }
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]
    begun = json.loads((tmp_path / "run" / "begun.json").read_text(encoding="utf-8"))
    assert begun["training"]["epochs"] == 2
    assert begun["tokens"]["kind"] == "tubelet"


def test_an_interrupted_run_is_resumed_with_the_same_options(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*ALONE, "--set", "training.machine.checkpoint_steps=1")
    assert train(tmp_path / "whole", *options).code == 0

    class Power(BaseException):
        """It goes."""

    after, steps = loop._Loop._after_step, []

    def failing(self: Any, *told: Any) -> None:
        after(self, *told)
        steps.append(told)
        if len(steps) == 2:
            raise Power

    monkeypatch.setattr(loop._Loop, "_after_step", failing)
    with pytest.raises(Power):
        train(tmp_path / "cut", *options)
    assert not (tmp_path / "cut" / "run.json").exists()
    again = train(tmp_path / "cut", *options)
    assert again.code == 2
    assert "holds a run; go on with --resume" in again.err
    other = train(tmp_path / "cut", *options, "--resume", "--seed", 1)
    assert other.code == 2
    assert "seed 0 there, 1 here" in other.err
    resumed = train(tmp_path / "cut", *options, "--resume")
    assert resumed.code == 0, resumed.err
    assert len(steps) == 6
    found, wanted = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    finished = train(tmp_path / "cut", *options, "--resume")
    assert finished.code == 2
    assert "which is finished; begin from its weights with --init-from, into another folder" in finished.err
    assert "no run" in train(tmp_path / "none", *options, "--resume").err


def test_it_begins_with_a_trained_encoder(train: Train, tmp_path: Path) -> None:
    shape = ("--set", "model.positions=rotary", "--set", "tokens.frames=10")
    assert train(tmp_path / "first", *ALONE, *shape).code == 0
    still = ("--device", "cpu", "--epochs", 1, "--set", "training.adaptation.method=linear", "--no-calibrate")
    begun = train(tmp_path / "second", *still, "--init-from", tmp_path / "first")
    assert begun.code == 0, begun.err
    found, wanted = weights(tmp_path / "second"), weights(tmp_path / "first")
    same = [name for name in wanted if torch.equal(found[name], wanted[name])]
    assert same == [name for name in wanted if name.startswith("encoder.")]
    classifier = load_run(tmp_path / "second", "cpu").classifier
    assert classifier.model_.encoder.config.positions == "rotary"
    assert classifier.spec_.frames == 10
    both = train(tmp_path / "third", *ALONE, "--init-from", tmp_path / "first")
    assert both.code == 2
    assert "--backbone must be left out with --init-from" in both.err
    told = train(tmp_path / "third", *still[:-1], "--init-from", tmp_path / "first")
    assert told.code == 2
    assert "trained on other people than those whose scores calibrate, got one trained on 12 of" in told.err
    assert "train with --no-calibrate" in told.err
    assert not (tmp_path / "third").exists()
    nothing = train(tmp_path / "third", *still, "--init-from", tmp_path / "none")
    assert nothing.code == 2
    assert "encoder must be a folder that `neuro pretrain` or `neuro train` wrote" in nothing.err


def test_it_is_calibrated_on_scores_of_models_that_had_not_seen_the_person(
    cache: Cache, study: StudyConfig, tokens: list[RunTokens], fitted: ParkinsonClassifier, tmp_path: Path
) -> None:
    open_training(cache.root, tmp_path / "run", study, calibrate=True).run(Listeners())
    labels, people = labels_and_people(cache)
    sites = cache.table["site"].to_numpy(object)
    inner = inner_scores(study.classifier(), tokens, labels, people, 5, sites=sites)
    assert not np.allclose(inner.scores, fitted.decision_function(tokens), atol=1e-3)
    kept = read_calibration(tmp_path / "run")
    assert kept == fit_calibration(inner, resamples=200)
    novelty = read_novelty(tmp_path / "run")
    assert novelty is not None
    assert novelty.people == 12
    assert novelty.fingerprint == Fingerprint.of(acquisition_table(cache))


def test_a_calibration_that_broke_off_is_resumed_to_the_same_files(
    cache: Cache, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    open_training(cache.root, whole, study, calibrate=True).run(Listeners())
    with monkeypatch.context() as patch:
        patch.setattr("neuro.classifier.train_run.inner_scores", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_training(cache.root, cut, study, calibrate=True).run(Listeners())
    assert not (cut / "run.json").exists()
    open_training(cache.root, cut, study, calibrate=True, resume=True).run(Listeners())
    for name in ("calibration.json", "novelty.json", "run.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    assert load_run(cut, "cpu").digest == load_run(whole, "cpu").digest


def test_too_few_people_to_calibrate_are_told_before_training(
    cache: Cache, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuro.classifier.train_run._rarest", lambda _: 1)
    with pytest.raises(ParameterError, match="people of each label, to calibrate must be at least 2, got 1"):
        open_training(cache.root, tmp_path / "run", study, calibrate=True)
    open_training(cache.root, tmp_path / "run", study)


def test_people_are_watched_who_are_not_trained_on(train: Train, tmp_path: Path) -> None:
    watched = ("--set", "training.validation_share=0.34", "--set", "training.patience=1")
    done = train(tmp_path / "run", *ALONE, *watched)
    assert done.code == 0, done.err
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["validation"]) for row in rows] == [False, True] * 2


def test_support_vectors_are_found_saved_and_not_resumed(train: Train, tmp_path: Path) -> None:
    svm = ("--set", "training.adaptation.method=svm", "--set", "model.readout=places")
    done = train(tmp_path / "run", *ALONE, *svm)
    assert done.code == 0, done.err
    assert done.out.startswith("trained on 12 runs, final loss ")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {
        "begun.json",
        "history.csv",
        "model",
        "novelty.json",
        "run.json",
    }
    assert load_run(tmp_path / "run", "cpu").classifier.model_.readout.bias != 0
    finished = train(tmp_path / "run", *ALONE, *svm, "--resume")
    assert finished.code == 2
    assert "which is finished" in finished.err
    other = train(tmp_path / "other", *ALONE, *svm[:2])
    assert other.code == 2
    assert "readout must be places for the method svm, got regions" in other.err
    # What was left in the middle is begun anew.
    (tmp_path / "run" / "run.json").unlink()
    again = train(tmp_path / "run", *ALONE, *svm, "--resume")
    assert (again.code, again.out) == (0, done.out)


@pytest.mark.slow
def test_torchrun_takes_the_command(cache: Cache, train: Train, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = [str(option) for option in QUICK]
    done = subprocess.run(
        [*command, "-m", "neuro", "train", str(cache.root), "--out", str(tmp_path / "two"), *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alone = train(tmp_path / "one", *QUICK)
    assert done.stdout.replace("two", "one") == alone.out
    two, one = (read_calibration(tmp_path / name) for name in ("two", "one"))
    assert two is not None
    assert one is not None
    assert two.threshold == pytest.approx(one.threshold, abs=1e-3)
    found, wanted = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-4)
