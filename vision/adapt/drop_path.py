"""Stochastic depth: in training a residual block is left out of some samples, and scaled up in the others.

Huang et al. 2016, arXiv 1603.09382.

Shape suffixes: B batch, ___ any further axes.
"""

from __future__ import annotations

import torch

from data.errors import ParameterError


def dropped(
    output_B___: torch.Tensor,
    input_B___: torch.Tensor,
    rate: float,
    *,
    training: bool = True,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """What a residual block gave for its input -> the same shape, with the block left out of some samples.

    It is x + keep / (1 - rate) * (block(x) - x), with `keep` 0 at the rate `rate` and else 1, for each
    sample. Its mean over the draws is block(x).

    Args:
        output_B___: block(x), whatever the block does besides adding to x.
        input_B___: x, of the same shape.
        rate: share of samples that the block is left out of, 0 or more and below 1.
        training: False gives block(x) itself.
        generator: what is drawn from; by default torch's own state, which gradient checkpointing replays
            (a generator it does not).

    Raises:
        ParameterError: no such rate, or shapes that differ.
    """
    _check_rate(rate)
    if output_B___.shape != input_B___.shape:
        got = f"{tuple(output_B___.shape)} for {tuple(input_B___.shape)}"
        raise ParameterError("a residual block's output", must_be="of its input's shape", got=got)
    if not training or rate == 0:
        return output_B___
    place = input_B___.device if generator is None else generator.device
    draw_B = torch.rand(input_B___.shape[0], generator=generator, device=place)
    scale_B = (draw_B >= rate).to(input_B___) / (1 - rate)
    return input_B___ + scale_B.reshape(-1, *[1] * (input_B___.ndim - 1)) * (output_B___ - input_B___)


def depth_rates(rate: float, depth: int) -> tuple[float, ...]:
    """The rate of each block, first to last: rising linearly to `rate`, block l of L having rate * l / L.

    Raises:
        ParameterError: no such rate, or no blocks.
    """
    _check_rate(rate)
    if depth < 1:
        raise ParameterError("depth", must_be="one block or more", got=depth)
    return tuple(rate * block / depth for block in range(1, depth + 1))


def _check_rate(rate: float) -> None:
    if not 0 <= rate < 1:
        raise ParameterError("drop path rate", must_be="0 or more and below 1", got=rate)
