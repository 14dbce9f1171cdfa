"""A linear support vector machine over all tokens of a frozen encoder, by place, found in one go.

A run's logit is linear in the field of `PlaceReadout`, so the gradient of the logit by the field is the run's
features: the mean over clips of its tokens, where the field has a value for each region; the same, shared
out among the nodes around each token, where it lies on a lattice in mm. The margin then is the logit, and
the votes of places add up to it.
Letters: R runs, F values of the field.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from neuro.model import BrainTransformer
from neuro.model.place_readout import PlaceReadout
from neuro.model.run_reading import run_batches
from neuro.tokens import RunTokens
from neuro.training.config import TrainingConfig
from neuro.training.keeping import Keep
from neuro.training.logs import write_history
from neuro.training.loop import Listeners
from neuro.training.processes import launch
from vision.adapt import fit_linear_svm
from vision.training.run_folder import Progress


def fit_places(
    model: BrainTransformer,
    runs: Sequence[RunTokens],
    labels: NDArray[np.int64],
    config: TrainingConfig,
    *,
    seed: int,
    keep: Keep | None = None,
    listeners: Listeners | None = None,
) -> Progress:
    """Fit the readout in place; the encoder stays as it is. Every process does the same work.

    Args:
        model: with the readout "places", on the device to work on; afterwards in evaluation mode.
        runs: all cut alike.
        labels: 0 or 1, one a run.
        config: how; of the machine only its processes count, as all is done in fp32.
        seed: told in the folder; nothing is drawn.
        keep: where the run is kept. There is no checkpoint: one to resume is fitted again.
        listeners: who is told, once.

    Returns:
        One epoch, whose training loss is the mean hinge loss of the runs.

    Raises:
        ParameterError: one label alone, features that are the same for all runs, or what `Keep.open` refuses.
        BadFileError, FingerprintMismatchError: what `Keep.open` refuses.
    """
    readout = model.readout
    assert isinstance(readout, PlaceReadout)
    model.eval()
    fabric, _ = launch(config.machine, readout.weight.device)
    if keep is not None:
        keep.open(config, seed=seed, samples=len(runs), is_first=fabric.is_global_zero)
        fabric.barrier()  # the first process must not finish a run that another has not opened yet
    features_RF = torch.stack([run_features(model, run) for run in runs])
    machine = fit_linear_svm(features_RF, torch.from_numpy(labels), c=config.adaptation.svm_c)
    with torch.no_grad():
        readout.weight.copy_(machine.weight.reshape(readout.weight.shape))
        readout.bias.copy_(machine.bias[0])
        margin_R = machine(features_RF)[:, 0] * torch.from_numpy(2 * labels - 1)
    loss = float((1 - margin_R).clamp(min=0).mean())
    progress = Progress(epochs=[{"epoch": 1, "train_loss": loss}])
    if fabric.is_global_zero:
        if keep is not None:
            write_history(keep.folder, progress, [], 1)
        if listeners is not None and listeners.on_epoch is not None:
            listeners.on_epoch(0, loss)
    return progress


def run_features(model: BrainTransformer, run: RunTokens) -> torch.Tensor:
    """What the field of a "places" readout is multiplied with in a run's logit (F,), float32 on the CPU.

    Args:
        model: in evaluation mode, with that readout.
        run: its consecutive clips are averaged, as in its logit.
    """
    readout = model.readout
    assert isinstance(readout, PlaceReadout)
    features = torch.zeros_like(readout.weight)
    for batch in run_batches(model, run):
        with torch.no_grad():
            encoded = model.encoder(batch)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(readout(encoded, batch).sum(), readout.weight)
        features += gradient
    return features.flatten().cpu() / len(run.clip_starts())
