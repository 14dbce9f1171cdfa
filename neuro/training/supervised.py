"""Fit a brain Transformer to labelled runs: random clips, classes that weigh equally, one part of it or all.

Letters: B clips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model import BrainTransformer, run_logit
from neuro.model.config import ReadoutKind
from neuro.model.encoder import BrainEncoder
from neuro.tokens import RunTokens
from neuro.training.clips import LabelledBatch, LabelledClips
from neuro.training.config import FROZEN, Adaptation, Method, TrainingConfig
from neuro.training.examples import Examples
from neuro.training.frozen import FrozenBatch, FrozenClips, FrozenReadout
from neuro.training.held_out import Who, held_out
from neuro.training.keeping import Keep
from neuro.training.loop import Listeners, fit
from neuro.training.support_vectors import fit_places
from vision.adapt import add_lora, class_weights, merge_lora, picture_tower
from vision.training.run_folder import Progress

Labels = NDArray[np.int64]

# Methods that are particular -> the readouts that they can fit.
READABLE: dict[Method, tuple[ReadoutKind, ...]] = {
    "linear": ("regions", "places", "class", "mean"),
    "attentive": ("attention",),
    "svm": ("places",),
}

__all__ = ["Classification", "TrainingConfig", "positive_weight", "train", "train_on"]


class Classification(nn.Module):
    """`LabelledBatch` -> loss of each clip (B,): binary cross-entropy, on soft targets where clips are mixed.

    Args:
        model: batch -> logits (B,).
        positive_weight: how much a positive counts, of a negative's 1.
    """

    def __init__(self, model: nn.Module, positive_weight: float):
        super().__init__()
        self.model = model
        self.positive_weight = positive_weight

    def train(self, mode: bool = True) -> Self:
        """As ever, but what is frozen drops nothing."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, BrainEncoder) and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def forward(self, batch: LabelledBatch | FrozenBatch) -> torch.Tensor:
        """Losses (B,), in float32 whatever the model computes in."""
        logits_B = self.model(batch.tokens).float()
        weight = torch.full_like(logits_B, self.positive_weight)
        return F.binary_cross_entropy_with_logits(
            logits_B, batch.target_B, pos_weight=weight, reduction="none"
        )


def train(
    model: BrainTransformer,
    runs: Sequence[RunTokens],
    labels: Labels,
    config: TrainingConfig,
    *,
    seed: int,
    who: Who | None = None,
    keep: Keep | None = None,
    listeners: Listeners | None = None,
) -> Progress:
    """Train in place; classes weigh equally, whatever their counts.

    Args:
        model: on the device to train on; afterwards a plain model in evaluation mode.
        runs: all cut alike.
        labels: 0 or 1, one a run.
        config: how.
        seed: of order, clips, augmentation, and of who is held out to watch.
        who: the person and site of each run; needed where some are held out.
        keep: where to keep the training, and whether to resume it.
        listeners: who is told of steps and epochs.

    Returns:
        Losses of steps and epochs, and the best epoch.

    Raises:
        ParameterError: too few people to hold some out, a method that the readout does not fit, or what `fit`
            refuses.
        StoppedError: a signal asked for it; the run is saved.
    """
    trained, watched = np.arange(len(runs)), np.arange(0)
    if config.validation_share:
        trained, watched = held_out(labels, who, config.validation_share, seed=seed)
    weight = positive_weight(labels[trained])
    if config.adaptation.method == "svm":
        with _learning(model, config.adaptation, seed):
            return fit_places(model, runs, labels, config, seed=seed, keep=keep, listeners=listeners)
    shown = [runs[int(i)] for i in trained]

    def validate() -> float:
        logits = torch.tensor([run_logit(model, runs[int(i)]) for i in watched])
        truth = torch.tensor(labels[watched], dtype=logits.dtype)
        return float(F.binary_cross_entropy_with_logits(logits, truth, pos_weight=torch.tensor(weight)))

    return train_on(
        model,
        LabelledClips(runs=shown, labels=labels[trained], config=config, seed=seed),
        weight,
        keep=keep,
        validate=validate if len(watched) else None,
        listeners=listeners,
    )


def train_on(
    model: BrainTransformer,
    clips: LabelledClips,
    weight: float,
    *,
    around: Callable[[nn.Module], nn.Module] | None = None,
    keep: Keep | None = None,
    validate: Callable[[], float] | None = None,
    listeners: Listeners | None = None,
) -> Progress:
    """Train in place on clips that somebody has chosen.

    Args:
        model: on the device to train on; afterwards a plain model in evaluation mode.
        clips: with the configuration and the seed.
        weight: how much a positive counts, of a negative's 1.
        around: what the objective is put into, such as a penalty; batch -> losses (B,), too.
        keep: where to keep the training, and whether to resume it.
        validate: called after each epoch; lower is better.
        listeners: who is told of steps and epochs.

    Raises:
        ParameterError: a method that the readout does not fit, or what `fit` refuses.
        StoppedError: a signal asked for it; the run is saved.
    """
    config = clips.config
    with _learning(model, config.adaptation, clips.seed):
        whole: nn.Module = model
        examples: Examples = clips
        if config.adaptation.method in FROZEN and clips.are_plain:
            examples, whole = FrozenClips.of(model, clips), FrozenReadout(model)
        objective: nn.Module = Classification(whole, weight)
        return fit(
            objective if around is None else around(objective),
            examples,
            config,
            seed=clips.seed,
            keep=keep,
            validate=validate,
            listeners=listeners,
        )


def positive_weight(labels: Labels) -> float:
    """How much a positive counts, of a negative's 1, for both labels to weigh equally."""
    negative, positive = class_weights(torch.from_numpy(np.asarray(labels, dtype=np.int64)), 2).tolist()
    return positive / negative if positive and negative else 1.0


@contextmanager
def _learning(model: BrainTransformer, adaptation: Adaptation, seed: int) -> Iterator[None]:
    """Inside, only what the method names requires a gradient; afterwards the model is a plain one.

    Raises:
        ParameterError: the method wants another readout, or blocks that the trunk has not.
    """
    readout = model.encoder.config.readout
    *others, last = READABLE.get(adaptation.method, (readout,))
    if readout not in (*others, last):
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise ParameterError("readout", must_be=f"{wanted} for the method {adaptation.method}", got=readout)
    if adaptation.method in FROZEN:
        model.encoder.requires_grad_(False)
    elif adaptation.method == "lora":
        model.encoder.backbone.requires_grad_(False)
        add_lora(picture_tower(model.encoder.backbone), adaptation.lora, seed=seed)
    try:
        yield
    finally:
        merge_lora(model)
        model.requires_grad_(True)
