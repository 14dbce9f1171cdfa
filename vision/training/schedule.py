"""The learning rate of a step: a linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math


def learning_rate(step: int, *, total: int, warmup: int, peak: float) -> float:
    """The rate of step `step` (from 0) of `total`, of which the first `warmup` lead up to `peak`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * share))
