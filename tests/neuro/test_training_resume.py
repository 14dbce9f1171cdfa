"""A run that was interrupted and resumed is the uninterrupted one, and what is written of it is whole."""

from __future__ import annotations

import csv
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import BadFileError, FingerprintMismatchError, ParameterError
from neuro.training.config import MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners, fit
from vision.training.run_folder import Progress

from .toy_training import ToyExamples, ToyObjective, weights


class PowerError(Exception):
    """The power went."""


OPTIMIZER = OptimizerConfig(learning_rate=0.05, warmup=0.2)
HARD = TrainingConfig(
    epochs=6,
    batch_size=8,
    optimizer=OPTIMIZER,
    ema=0.8,
    validation_share=0.2,
    patience=2,
    machine=MachineConfig(checkpoint_steps=2),
)


def hard(folder: Path | None, *, fail_after: int = 0, resume: bool = False, **changes: Any) -> Any:
    """A training with all that a checkpoint must hold, which the power may leave after so many steps."""
    objective = ToyObjective(dropout=0.3)
    keep = Keep(folder=folder, identity={"data": "toy"}, resume=resume) if folder is not None else None

    def on_step(done: int, total: int, loss: float) -> None:
        if done == fail_after:
            raise PowerError

    def validate() -> float:
        return abs(float(objective.first.weight.detach().sum()))

    config = replace(HARD, **changes)
    progress = fit(
        objective,
        ToyExamples(),
        config,
        seed=3,
        keep=keep,
        validate=validate,
        listeners=Listeners(on_step=on_step),
    )
    return progress, weights(objective)


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[Progress, dict[str, torch.Tensor]]:
    return hard(None)


@pytest.mark.parametrize("fail_after", [1, 2, 3, 7, 9])
def test_a_resumed_run_is_the_uninterrupted_one(fail_after: int, uninterrupted: Any, tmp_path: Path) -> None:
    """To the bit: losses, validations, the best epoch, early stopping, the average, what was dropped."""
    with pytest.raises(PowerError):
        hard(tmp_path / "run", fail_after=fail_after)
    progress, found = hard(tmp_path / "run", resume=True)
    expected, wanted = uninterrupted
    assert progress.step_losses == expected.step_losses
    assert progress.epochs == expected.epochs
    assert progress.best.epoch == expected.best.epoch
    for name, weight in found.items():
        assert torch.equal(weight, wanted[name])


def test_a_run_that_stopped_early_stays_so(uninterrupted: Any, tmp_path: Path) -> None:
    assert len(uninterrupted[0].epochs) < HARD.epochs
    hard(tmp_path / "run")
    progress, found = hard(tmp_path / "run", resume=True)
    assert progress.step_losses == uninterrupted[0].step_losses
    for name, weight in found.items():
        assert torch.equal(weight, uninterrupted[1][name])


def test_what_only_changes_the_way_may_change_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(PowerError):
        hard(tmp_path / "run", fail_after=4)
    with pytest.raises(FingerprintMismatchError, match=r"training\.ema 0\.8 there, 0\.9 here"):
        hard(tmp_path / "run", resume=True, ema=0.9)
    with pytest.raises(ParameterError, match=r"holds a run; go on with --resume"):
        hard(tmp_path / "run")
    progress, _ = hard(tmp_path / "run", resume=True, machine=MachineConfig(micro_batch=4))
    assert len(progress.epochs) > 1


def test_there_must_be_an_unfinished_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no run"):
        hard(tmp_path / "none", resume=True)
    hard(tmp_path / "run")
    keep = Keep(folder=tmp_path / "run", identity={"data": "toy"}, resume=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    keep.finish()
    assert not (tmp_path / "run" / "training.pt").exists()
    with pytest.raises(ParameterError, match=r"finished; begin from its weights with --init-from"):
        keep.require_ready()


def test_what_a_killed_process_was_writing_goes(tmp_path: Path) -> None:
    hard(tmp_path / "run")
    (tmp_path / "run" / ".training.1-1.partial.pt").write_text("half")
    (tmp_path / "run" / ".model.1-1.partial").mkdir()
    (tmp_path / "run" / ".model.1-1.partial" / "weights").write_text("half")
    hard(tmp_path / "run", resume=True)
    assert list((tmp_path / "run").glob(".*")) == []


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    hard(tmp_path / "run")
    path = tmp_path / "run" / "training.pt"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadFileError, match="checkpoint"):
        hard(tmp_path / "run", resume=True)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_history_has_a_row_a_step_and_is_as_far_as_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(PowerError):
        hard(tmp_path / "run", fail_after=8)
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 7))  # steps 7 and 8 were after the checkpoint
    assert [int(row["epoch"]) for row in rows] == [1, 1, 1, 2, 2, 2]
    hard(tmp_path / "run", resume=True)
    rows = history(tmp_path / "run")
    progress = hard(None)[0]
    assert [float(row["loss"]) for row in rows] == progress.step_losses
    ends = [float(row["validation"]) for row in rows if row["validation"]]
    assert ends == [record["validation"] for record in progress.epochs]
    assert max(float(row["learning_rate"]) for row in rows) == OPTIMIZER.learning_rate


def test_tensorboard_has_the_same(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    machine = MachineConfig(tensorboard=True, checkpoint_steps=2)
    with pytest.raises(PowerError):
        hard(tmp_path / "run", fail_after=8, machine=machine)
    progress, _ = hard(tmp_path / "run", resume=True, machine=machine)
    read = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    told = [event.value for event in read.Scalars("loss")]
    np.testing.assert_allclose(told, progress.step_losses, rtol=1e-6)
    ends = [3 * (i + 1) for i in range(len(progress.epochs))]
    assert [event.step for event in read.Scalars("validation")] == ends


def test_outside_the_main_thread_nobody_handles_signals(tmp_path: Path, uninterrupted: Any) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with ThreadPoolExecutor(1) as pool:
        progress, _ = pool.submit(hard, tmp_path / "run").result()
    assert progress.step_losses == uninterrupted[0].step_losses
    hard(tmp_path / "again")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
