"""`neuro train`: train the brain Transformer on a whole cohort, for `neuro predict`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from neuro.commands.options import (
    BackboneName,
    CacheFolder,
    Changes,
    Device,
    Epochs,
    InitFrom,
    Out,
    PresetName,
    Resume,
    Seed,
    chosen_preset,
    study_config,
)
from neuro.defaults import PRESETS


def train(
    cache: CacheFolder,
    out: Out,
    preset: PresetName = PRESETS[0],
    changes: Changes = None,
    init_from: InitFrom = None,
    resume: Resume = False,
    backbone: BackboneName = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "auto",
    importance: Annotated[
        bool,
        typer.Option(
            help="Also write how much each weight matters (fisher.safetensors, as large as the model): then"
            " `neuro update` can hold on to them without these scans."
        ),
    ] = True,
    calibrate: Annotated[
        bool,
        typer.Option(
            help="Also calibrate its probabilities: trains five times more, each time without a fifth of the"
            " people."
        ),
    ] = True,
) -> None:
    """Train the brain Transformer on a whole cohort, for `neuro predict`.

    With several processes: torchrun --nproc-per-node 4 -m neuro train …
    """
    from neuro.classifier.train_run import open_training
    from neuro.commands.training_bar import training_bar
    from vision.training.ranks import is_first, own_device

    chosen = chosen_preset(preset, changes, backbone=backbone, epochs=epochs, init_from=init_from)
    start = None if init_from is None else str(init_from)
    config = study_config(chosen, init_from=start, seed=seed, device=own_device(device))
    training = open_training(cache, out, config, resume=resume, importance=importance, calibrate=calibrate)
    if is_first() and calibrate:
        print(f"One training of all, then {training.folds} of fewer people, to calibrate.", file=sys.stderr)
    with training_bar() as listeners:
        losses = training.run(listeners)
    if is_first():
        print(f"trained on {len(training.cache)} runs, final loss {losses[-1]:.3f}; saved in {out}")
        print("This loss is of those runs: `neuro evaluate` says how well unseen people are told apart.")
