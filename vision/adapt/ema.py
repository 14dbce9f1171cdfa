"""A moving average of the weights that learn: steadier than the last step's (Polyak and Juditsky 1992).

torch's `AveragedModel` would copy a whole model, frozen backbone and all, and knows no warm-up; its averaging
is used, not its copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from data.errors import ParameterError


class MovingAverage:
    """average <- decay * average + (1 - decay) * weight, for every parameter that requires a gradient.

    It begins as the weights are, on their device, in float32 at least. Buffers are not averaged.

    Args:
        module: whose weights are averaged; make the average when what learns, and where, is settled.
        decay: what remains of the average at a step, 0 or more and below 1.
        warm_up: begin with (1 + t) / (10 + t) at update t from 0, up to `decay`, so that the random beginning
            is soon forgotten (as TensorFlow's ExponentialMovingAverage with `num_updates`).

    Raises:
        ParameterError: no such decay, or nothing that learns.
    """

    def __init__(self, module: nn.Module, *, decay: float = 0.999, warm_up: bool = True):
        if not 0 <= decay < 1:
            raise ParameterError("decay of the average", must_be="0 or more and below 1", got=decay)
        self.decay, self.warm_up, self.updates = decay, warm_up, 0
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self._weights:
            raise ParameterError("model to average", must_be="one with weights that learn", got="none")
        self._averages = {
            name: p.detach().to(torch.promote_types(p.dtype, torch.float32), copy=True)
            for name, p in self._weights.items()
        }
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of now into the average; call it after each step of the optimiser."""
        self._require_own_weights("update")
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warm_up else self.decay
        averages = list(self._averages.values())
        weights = [p.detach().to(a.dtype) for p, a in zip(self._weights.values(), averages, strict=True)]
        get_ema_multi_avg_fn(decay)(averages, weights, self.updates)  # type: ignore[no-untyped-call]
        self.updates += 1

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards its own again, to the bit."""
        self._require_own_weights("averaged")
        own = {name: p.detach().clone() for name, p in self._weights.items()}
        self._swapped = True
        try:
            self._write(self._averages)
            yield
        finally:
            self._write(own)
            self._swapped = False

    def state_dict(self) -> dict[str, Any]:
        """The number of updates and copies of the averages, by the parameters' names."""
        return {
            "updates": self.updates,
            "averages": {name: average.clone() for name, average in self._averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ParameterError: it is of other weights.
        """
        found = {name: tuple(average.shape) for name, average in state["averages"].items()}
        wanted = {name: tuple(average.shape) for name, average in self._averages.items()}
        if found != wanted:
            odd = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
            raise ParameterError(
                "state of the average",
                must_be="of the weights that learn",
                got=f"{len(odd)} that differ, {odd[0]} among them",
            )
        for name, average in self._averages.items():
            average.copy_(state["averages"][name])
        self.updates = int(state["updates"])

    @torch.no_grad()
    def _write(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._weights.items():
            parameter.copy_(values[name])

    def _require_own_weights(self, what: str) -> None:
        if self._swapped:
            raise RuntimeError(f"{what}() inside averaged(): the model has the average for weights now")
