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

import pytest
import torch

from data.caches.cache import Cache
from neuro.cli import main
from neuro.run_folder import load_run
from neuro.training import loop

from .conftest import TINY_BACKBONE

Train = Callable[..., Any]
QUICK = ("--backbone", TINY_BACKBONE, "--epochs", 2, "--device", "cpu", "--set", "training.batch_size=4")


@pytest.fixture
def train(run_command: Any, cache: Cache) -> Train:
    return lambda out, *options: run_command(main, "neuro", "train", cache.root, "--out", out, *options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_run(folder, "cpu").classifier.model_.state_dict()


def test_it_leaves_a_model_and_its_history(train: Train, tmp_path: Path) -> None:
    done = train(tmp_path / "run", *QUICK)
    assert done.code == 0, done.err
    assert done.out.startswith("trained on 12 runs, final loss ")
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "begun.json",
        "fisher.safetensors",
        "history.csv",
        "model",
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
    options = (*QUICK, "--set", "training.machine.checkpoint_steps=1")
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
    assert train(tmp_path / "first", *QUICK, *shape).code == 0
    still = ("--device", "cpu", "--epochs", 1, "--set", "training.adaptation.method=linear")
    begun = train(tmp_path / "second", *still, "--init-from", tmp_path / "first")
    assert begun.code == 0, begun.err
    found, wanted = weights(tmp_path / "second"), weights(tmp_path / "first")
    same = [name for name in wanted if torch.equal(found[name], wanted[name])]
    assert same == [name for name in wanted if name.startswith("encoder.")]
    classifier = load_run(tmp_path / "second", "cpu").classifier
    assert classifier.model_.encoder.config.positions == "rotary"
    assert classifier.spec_.frames == 10
    both = train(tmp_path / "third", *QUICK, "--init-from", tmp_path / "first")
    assert both.code == 2
    assert "--backbone must be left out with --init-from" in both.err
    nothing = train(tmp_path / "third", *still, "--init-from", tmp_path / "none")
    assert nothing.code == 2
    assert "encoder must be a folder that `neuro pretrain` or `neuro train` wrote" in nothing.err


def test_people_are_watched_who_are_not_trained_on(train: Train, tmp_path: Path) -> None:
    watched = ("--set", "training.validation_share=0.34", "--set", "training.patience=1")
    done = train(tmp_path / "run", *QUICK, *watched)
    assert done.code == 0, done.err
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["validation"]) for row in rows] == [False, True] * 2


def test_support_vectors_are_found_saved_and_not_resumed(train: Train, tmp_path: Path) -> None:
    svm = ("--set", "training.adaptation.method=svm", "--set", "model.readout=places")
    done = train(tmp_path / "run", *QUICK, *svm)
    assert done.code == 0, done.err
    assert done.out.startswith("trained on 12 runs, final loss ")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"begun.json", "history.csv", "model", "run.json"}
    assert load_run(tmp_path / "run", "cpu").classifier.model_.readout.bias != 0
    finished = train(tmp_path / "run", *QUICK, *svm, "--resume")
    assert finished.code == 2
    assert "which is finished" in finished.err
    other = train(tmp_path / "other", *QUICK, *svm[:2])
    assert other.code == 2
    assert "readout must be places for the method svm, got regions" in other.err
    # What was left in the middle is begun anew.
    (tmp_path / "run" / "run.json").unlink()
    again = train(tmp_path / "run", *QUICK, *svm, "--resume")
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
    found, wanted = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-4)
