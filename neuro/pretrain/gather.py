"""Rows of every process of a distributed training, as one tensor that gradients flow through.

`torch.distributed.all_gather` alone gives the other processes' rows without a gradient, and the loss would
then pull at a part of the pairs only. Letters: b rows of this process, B of all, E any width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def gathered(rows_bE: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Rows (b, E) -> rows of all processes (B, E), in the order of their ranks, and where this one's begin.

    Processes may hold different numbers of rows. Alone, a process gets its own rows back.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows_bE, 0
    own = torch.tensor([len(rows_bE)], device=rows_bE.device)
    counts = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    sizes = [int(count) for count in counts]
    rows_BE: torch.Tensor = _Gather.apply(rows_bE, tuple(sizes))
    return rows_BE, sum(sizes[: dist.get_rank()])


class _Gather(torch.autograd.Function):
    """Forward: all rows. Backward: what every process's loss says about this one's, summed."""

    @staticmethod
    def forward(ctx: Any, rows_bE: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
        ctx.sizes = sizes
        most = max(sizes)
        padded = rows_bE.new_zeros(most, *rows_bE.shape[1:])
        padded[: len(rows_bE)] = rows_bE
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return torch.cat([rows[:size] for rows, size in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient_BE: torch.Tensor) -> tuple[torch.Tensor, None]:
        total_BE = gradient_BE.contiguous().clone()
        dist.all_reduce(total_BE)
        start = sum(ctx.sizes[: dist.get_rank()])
        return total_BE[start : start + ctx.sizes[dist.get_rank()]], None
