"""Fit a brain Transformer to labelled runs: random clips, AdamW, one cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.defaults import EPOCHS
from neuro.model import BrainTransformer
from neuro.tokens import RunTokens, collate


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train.

    Attributes:
        epochs: passes over the runs; each pass sees one random clip of every run.
        batch_size: clips a step.
        learning_rate: highest rate of the cycle.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
    """

    epochs: int = EPOCHS
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ParameterError(name, must_be="positive", got=getattr(self, name))
        if self.weight_decay < 0:
            raise ParameterError("weight_decay", must_be="0 or more", got=self.weight_decay)


def train(
    model: BrainTransformer,
    runs: Sequence[RunTokens],
    labels: np.ndarray,
    config: TrainingConfig,
    *,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train in place; the mean loss of each epoch comes back.

    Classes weigh equally, whatever their counts. `on_epoch(number, loss)` is called after each pass.
    """
    device = next(model.parameters()).device
    rng = np.random.default_rng(seed)
    steps = config.epochs * -(-len(runs) // config.batch_size)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps)
    positive_weight = torch.tensor(float((labels == 0).sum() / max((labels == 1).sum(), 1)), device=device)
    losses = []
    model.train()
    for epoch in range(config.epochs):
        total = 0.0
        order = rng.permutation(len(runs))
        for chosen in np.array_split(order, -(-len(runs) // config.batch_size)):
            loss = _step(model, [runs[i] for i in chosen], labels[chosen], positive_weight, rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            cycle.step()
            total += float(loss.detach()) * len(chosen)
        losses.append(total / len(runs))
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    model.eval()
    return losses


def _step(
    model: BrainTransformer,
    runs: list[RunTokens],
    labels: np.ndarray,
    positive_weight: torch.Tensor,
    rng: np.random.Generator,
) -> torch.Tensor:
    batch = collate([run.clip(int(rng.integers(0, run.last_start() + 1))) for run in runs])
    batch = batch.to(positive_weight.device)
    target_B = torch.as_tensor(labels, dtype=torch.float32, device=positive_weight.device)
    return F.binary_cross_entropy_with_logits(model(batch), target_B, pos_weight=positive_weight)


@torch.inference_mode()
def run_logit(model: BrainTransformer, run: RunTokens) -> float:
    """The mean logit over the consecutive clips that cover a run."""
    device = next(model.parameters()).device
    return float(model(collate(run.clips()).to(device)).mean())
