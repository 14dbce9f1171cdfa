"""One step of training: forward and backward in parts, over several processes, in the precision asked for.

A step's loss is the sum of its samples' losses over their number, however they are dealt out to processes and
to parts.
Letters: B samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import ParameterError
from neuro.training.config import TrainingConfig
from neuro.training.examples import Part, Share
from neuro.training.processes import launch
from vision.adapt import MovingAverage, layer_groups
from vision.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a step came to, the same in every process.

    Attributes:
        loss: mean of the batch's samples.
        gradient: norm before clipping.
        asked: whether any process was asked to stop.
    """

    loss: float
    gradient: float
    asked: bool


class _Held:
    """Carries a batch through Fabric and DDP untouched: they would copy it, or cast its positions to bf16."""

    def __init__(self, batch: Any):
        self.batch = batch


class _Opened(nn.Module):
    """`_Held` -> losses (B,) of the objective."""

    def __init__(self, objective: nn.Module):
        super().__init__()
        self.objective = objective

    def forward(self, held: _Held) -> torch.Tensor:
        """Losses (B,)."""
        losses_B: torch.Tensor = self.objective(held.batch)
        return losses_B


class Stepper:
    """The objective, its optimizer and average, ready on this process's device.

    Args:
        objective: batch -> losses (B,).
        config: of the training.
        seed: of what is drawn in the forward pass.
        total: steps of the whole training.

    Raises:
        ParameterError: nothing learns, or the device has not what is asked for.
    """

    def __init__(self, objective: nn.Module, config: TrainingConfig, *, seed: int, total: int):
        self.objective, self.config, self.seed, self.total = objective, config, seed, total
        self.fabric, self._precision = launch(config.machine, next(objective.parameters()).device)
        if config.machine.checkpointing:
            _checkpoint_activations(objective)
        options = config.optimizer
        groups = layer_groups(
            objective,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
            layer_decay=options.layer_decay,
        )
        opened: Any = _Opened(objective)
        if config.machine.compile:
            opened = torch.compile(opened)
        self.module, self.optimizer = self.fabric.setup(opened, torch.optim.AdamW(groups))
        self.average = MovingAverage(objective, decay=config.ema) if config.ema is not None else None

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return bool(self.fabric.is_global_zero)

    @property
    def share(self) -> Share:
        """Which samples of a batch are this process's own."""
        most = self.config.machine.micro_batch
        return Share(rank=self.fabric.global_rank, processes=self.fabric.world_size, most=most)

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        options = self.config.optimizer
        warmup = round(options.warmup * self.total)
        return learning_rate(step, total=self.total, warmup=warmup, peak=options.learning_rate)

    def step(self, number: int, size: int, parts: Sequence[Part], *, asked: bool = False) -> Told:
        """Step `number` (from 0), on this process's parts of a batch of `size`.

        Raises:
            ParameterError: the loss is no number.
        """
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(number) * group["scale"]
        # Drop path and the like are a function of the step: a resumed run draws them again.
        torch.manual_seed(_mixed(self.seed, number, self.fabric.global_rank))
        self.optimizer.zero_grad(set_to_none=True)
        told = self._backward(size, parts, asked)
        loss = float(told[0]) / size
        if not math.isfinite(loss):
            do = "take a lower learning rate, or precision fp32"
            raise ParameterError("loss", must_be="finite", got=loss, do=do)
        norm = self.fabric.clip_gradients(
            self.module, self.optimizer, max_norm=self.config.optimizer.clip_norm, error_if_nonfinite=False
        )
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        assert norm is not None
        return Told(loss=loss, gradient=float(norm), asked=bool(told[1] > 0))

    def _backward(self, size: int, parts: Sequence[Part], asked: bool) -> torch.Tensor:
        """Gradients of the batch's mean loss; over all processes, the sum of losses and who was asked."""
        fabric = self.fabric
        told = torch.zeros(2, dtype=torch.float32, device=fabric.device)
        told[1] = float(asked)
        for place, part in enumerate(parts):
            with fabric.no_backward_sync(self.module, enabled=place < len(parts) - 1):
                losses_B = self.module(_Held(part.batch.to(fabric.device))) * float(part.counted)
                # DDP takes the mean over processes, and the sum is wanted.
                fabric.backward(losses_B.sum() * (fabric.world_size / size))
            told[0] += losses_B.detach().sum()
        if fabric.world_size > 1:
            told = fabric.all_reduce(told, reduce_op="sum")  # type: ignore[assignment]
        return told.cpu()

    def agreed(self, value: float) -> float:
        """The first process's value, in all of them."""
        return float(self.fabric.broadcast(value))

    def weights(self) -> dict[str, torch.Tensor]:
        """Copies of what learns and of the buffers that are kept, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self._kept().items()}

    @torch.no_grad()
    def set_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `weights`."""
        for name, value in self._kept().items():
            value.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """All that the coming steps depend on."""
        return {
            "weights": self.weights(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "precision": self._precision.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.set_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self._precision.load_state_dict(state["precision"])

    def _kept(self) -> dict[str, torch.Tensor]:
        learning = {name for name, p in self.objective.named_parameters() if p.requires_grad}
        buffers = {name for name, _ in self.objective.named_buffers()}
        own = self.objective.state_dict()
        return {name: value for name, value in own.items() if name in learning | buffers}


def _mixed(*numbers: int) -> int:
    """One seed of several."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _checkpoint_activations(objective: nn.Module) -> None:
    """Have every part that can, compute its activations again in the backward pass.

    Raises:
        ParameterError: there is none.
    """
    able = [part for part in objective.modules() if hasattr(part, "checkpointing")]
    for part in able:
        part.checkpointing = True  # type: ignore[assignment]
    if not able:
        got = type(objective).__name__
        raise ParameterError("checkpointing", must_be="of a model with an encoder", got=got)
