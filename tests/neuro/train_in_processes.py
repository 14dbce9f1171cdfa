"""Train small brain Transformers in as many processes as torchrun started; a script of the tests.

Argument: a folder for the runs and what came of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from neuro.training.config import Adaptation, MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners
from neuro.training.supervised import train
from tests.neuro.toy_runs import toy_cohort, toy_model
from vision.training.ranks import is_first

OPTIMIZER = OptimizerConfig(learning_rate=1e-2)
TRAININGS = {
    # Seven runs in batches of at most three: with four processes, some have nothing to do in every step.
    "uneven": TrainingConfig(epochs=3, batch_size=3, optimizer=OPTIMIZER),
    "mixed": TrainingConfig(
        epochs=2,
        batch_size=7,
        mixup=0.5,
        ema=0.9,
        optimizer=OPTIMIZER,
        machine=MachineConfig(micro_batch=1),
    ),
    "lora": TrainingConfig(epochs=2, batch_size=4, optimizer=OPTIMIZER, adaptation=Adaptation(method="lora")),
    "svm": TrainingConfig(epochs=1, adaptation=Adaptation(method="svm")),
}


def trained(name: str, folder: Path) -> dict[str, Any]:
    """One of the trainings: its losses, and the weights at its end."""
    runs, labels = toy_cohort(7)
    model = toy_model(runs[0], readout="places" if name == "svm" else "regions")
    keep = Keep(folder=folder, identity={})
    listeners = Listeners(on_epoch=lambda number, loss: print(name, number))
    progress = train(model, runs, labels, TRAININGS[name], seed=0, keep=keep, listeners=listeners)
    return {"losses": progress.step_losses, "weights": model.state_dict()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    found = {name: trained(name, out / name) for name in TRAININGS}
    if is_first():
        torch.save(found, out / "found.pt")
