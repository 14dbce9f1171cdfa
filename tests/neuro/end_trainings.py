"""Trainings that are ended by signals in the middle, and resumed; a script of the tests.

One process imports torch, and each training is a fork of it. Prints, as JSON, what became of each: its exit
code (negative: the signal that killed it) and the lines that it printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import lightning_fabric  # noqa: F401 - so that the forks need not
import torch

from neuro.training.config import MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners, fit
from tests.neuro.toy_training import Points, ToyExamples, ToyObjective
from vision.training.interruption import StoppedError

CONFIG = TrainingConfig(
    epochs=6,
    batch_size=8,
    ema=0.8,
    optimizer=OptimizerConfig(learning_rate=0.05),
    machine=MachineConfig(checkpoint_steps=2),
)


class Slow(ToyObjective):
    """The toy, with a pause in each step; it may hang in the second."""

    passes, hangs = 0, False

    def forward(self, batch: Points) -> torch.Tensor:
        time.sleep(600 if self.hangs and self.passes else 0.02)
        self.passes += 1
        return super().forward(batch)


def train(folder: Path, *, resume: bool, hang: bool) -> int:
    """What a command does: its exit code."""
    objective = Slow(dropout=0.3)
    objective.hangs = hang
    keep = Keep(folder=folder, identity={}, resume=resume)
    listeners = Listeners(on_step=lambda done, total, loss: print("step", done, flush=True))
    try:
        progress = fit(objective, ToyExamples(), CONFIG, seed=3, keep=keep, listeners=listeners)
    except StoppedError as stopped:
        print(stopped, flush=True)
        return stopped.exit_code
    keep.finish()
    weights = b"".join(p.detach().numpy().tobytes() for p in objective.parameters())
    print(hashlib.sha256(weights).hexdigest(), progress.step_losses, flush=True)
    return 0


def attempt(
    folder: Path, *signals: int, after: str = "", resume: bool = False, hang: bool = False
) -> tuple[int, list[str]]:
    """One training in a fork, which gets signals after it has printed a line."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, sys.stdout.fileno())
        try:
            os._exit(train(folder, resume=resume, hang=hang))
        finally:
            os._exit(99)
    os.close(writing)
    lines = []
    with os.fdopen(reading) as told:
        for line in told:
            lines.append(line.rstrip())
            if lines[-1] == after:
                for number in signals:
                    os.kill(child, number)
                    time.sleep(0.2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1)])  # imports half of torch, which the forks need not
    out, found = Path(sys.argv[1]), {}
    found["undisturbed"] = attempt(out / "undisturbed")
    for name in ("SIGTERM", "SIGINT", "SIGKILL"):
        number = signal.Signals[name]
        found[name] = attempt(out / name, number, after="step 5")
        found[f"{name}, resumed"] = attempt(out / name, resume=True)
    found["twice"] = attempt(out / "twice", signal.SIGTERM, signal.SIGTERM, after="step 1", hang=True)
    print(json.dumps(found))
