"""What training costs in FLOP: one real forward pass, counted -> FLOP of a whole training.

A multiplication and an addition are two. torch counts matrix products, convolutions and attention as they are
called; norms, softmax and activations, some per cent of a small Transformer, are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from data.errors import ParameterError

FORWARD_AND_BACKWARD = 3  # the gradient by inputs and that by weights each cost one forward pass
# Fused attention that torch's counter does not know, and would take as free: the CPU's own.
UNCOUNTED_ATTENTION = ("_scaled_dot_product_flash_attention_for_cpu",)


def forward_flops(forward: Callable[[], object]) -> int:
    """FLOP of one call, counted while it runs.

    Args:
        forward: calls the model on a real batch, e.g. `lambda: model(batch)`. It is called once, without
            gradients. For masked pretraining it must go through encoder and decoder with their masks.

    Raises:
        ParameterError: nothing that costs anything was called, as in a compiled model.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_attention()) as counter:
        forward()
    flops = int(counter.get_total_flops())
    if flops == 0:
        raise ParameterError(
            "forward pass",
            must_be="one with matrix products that can be counted",
            got="one with none",
            do="count an eager model, before torch.compile or export",
        )
    return flops


def training_flops(forward: Callable[[], object], *, times: float) -> float:
    """FLOP of training: three times the forward pass, as often as it is done.

    Three is right where every weight is trained. What checkpointing computes twice does not count: it is not
    what the model needs (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).

    Args:
        forward: as in `forward_flops`.
        times: how many such batches training goes through; a fraction where the last is smaller.

    Raises:
        ParameterError: `times` is not positive, or nothing was counted.
    """
    if not times > 0:
        raise ParameterError("times", must_be="positive", got=times)
    return float(FORWARD_AND_BACKWARD * times * forward_flops(forward))


def _attention() -> dict[Any, Any]:
    """torch's own formula for attention, for the kinds that its counter leaves out."""
    from torch.utils.flop_counter import sdpa_flop_count

    def count(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    return {
        getattr(torch.ops.aten, name): count for name in UNCOUNTED_ATTENTION if hasattr(torch.ops.aten, name)
    }
