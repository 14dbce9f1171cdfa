"""LoRA: a low-rank update of each weight of the blocks learns, and the weights stay as they are.

Hu et al. 2021, arXiv 2106.09685. It works on a backbone, on a model that holds one, and on a row of blocks.

Shape suffixes: O outputs, I inputs, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from data.errors import ParameterError

ATTENTION_WEIGHT = "in_proj_weight"  # queries, keys and values in one, in torch's and open_clip's attention


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """How large the updates are: W + (alpha / rank) B A, A of (rank, inputs) and B of (outputs, rank)."""

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ParameterError("rank", must_be="a positive integer", got=self.rank)
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ParameterError("alpha", must_be="positive", got=self.alpha)


class LowRankUpdate(nn.Module):
    """Weight (O, I) -> W + scale * B A, (O, I). B begins at zero, so that the model begins as it was."""

    def __init__(self, weight_OI: torch.Tensor, options: LoraOptions, generator: torch.Generator):
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.scale = options.alpha / options.rank
        bound = 1 / math.sqrt(inputs)
        down_RI = torch.empty(options.rank, inputs).uniform_(-bound, bound, generator=generator)
        self.down_RI = nn.Parameter(down_RI.to(weight_OI))
        self.up_OR = nn.Parameter(weight_OI.new_zeros(outputs, options.rank))

    def forward(self, weight_OI: torch.Tensor) -> torch.Tensor:
        """Weight (O, I) -> updated weight (O, I)."""
        return weight_OI + self.scale * (self.up_OR @ self.down_RI).to(weight_OI.dtype)


def add_lora(module: nn.Module, options: LoraOptions | None = None, *, seed: int = 0) -> list[nn.Parameter]:
    """Freeze a model and give the attention and MLP weights of its blocks trainable low-rank updates.

    The weights themselves are parametrised, rather than the layers wrapped: `nn.MultiheadAttention` never
    calls its projections but reads their weights, so a wrapped layer would be passed by without a word.

    Args:
        module: a whole model, a part such as `picture_tower(backbone)`, or a row of blocks; changed in place.
            All of it is frozen, heads too: give the part that holds the blocks where a head is to learn.
        options: rank and scale.
        seed: of the updates' beginning.

    Returns:
        The new parameters, the only ones of `module` that learn.

    Raises:
        ParameterError: there is no block with such weights (a convolutional network, say).
    """
    options, generator = options or LoraOptions(), torch.Generator().manual_seed(seed)
    targets = list(_block_weights(module))
    if not targets:
        raise ParameterError(
            "model",
            must_be="one with Transformer blocks, for LoRA",
            got=type(module).__name__,
            do="train all of it, or a probe",
        )
    module.requires_grad_(False)
    updates = []
    for layer, name in targets:
        update = LowRankUpdate(getattr(layer, name).detach(), options, generator)
        # unsafe=True leaves out a trial run for each weight; the shape is right by construction.
        parametrize.register_parametrization(layer, name, update, unsafe=True)
        updates += list(update.parameters())
    return updates


def merge_lora(module: nn.Module) -> None:
    """Write the updates into the weights: a plain model again, with the same outputs and state's names."""
    for layer in list(module.modules()):
        if not isinstance(layer, parametrize.ParametrizationList) and parametrize.is_parametrized(layer):
            for name in _updated(layer):
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)


def _updated(layer: nn.Module) -> list[str]:
    found: list[str] = []
    for name, chain in layer.parametrizations.items():  # type: ignore[operator, union-attr]
        if any(isinstance(step, LowRankUpdate) for step in chain):
            found.append(name)
    return found


def _block_weights(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Weights of linear layers and joint attention weights, in numbered blocks.

    Heads stand outside them. A numbered layer that is linear itself is a head's, and no block.
    """
    for path, layer in module.named_modules():
        *above, last = path.split(".")
        inside = any(part.isdigit() for part in above)
        if (inside or last.isdigit()) and isinstance(getattr(layer, ATTENTION_WEIGHT, None), nn.Parameter):
            yield layer, ATTENTION_WEIGHT
        if inside and isinstance(layer, nn.Linear) and not parametrize.is_parametrized(layer):
            yield layer, "weight"
