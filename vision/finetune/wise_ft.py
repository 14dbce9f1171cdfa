"""WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): between the weights before and after fine-tuning.

A fine-tuned model forgets some of what it could do without examples. The weights on the straight line between
the two often keep most of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

State = Mapping[str, torch.Tensor]

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def interpolate(before: State, after: State, alpha: float) -> dict[str, torch.Tensor]:
    """(1 - alpha) * before + alpha * after, tensor by tensor; whole numbers (counters) come from after."""
    return {
        key: torch.lerp(before[key].to(tensor.device), tensor, alpha)
        if tensor.is_floating_point() and alpha < 1
        else tensor.clone()
        for key, tensor in after.items()
    }


def choose_alpha(recall_of: Mapping[float, float], count: int) -> float:
    """The least alpha whose recall is within one standard error of the best one's.

    Validation pairs alone would always ask for more fine-tuning; what they cannot tell apart is settled in
    favour of the weights that have forgotten less.

    Args:
        recall_of: alpha -> recall on validation, 0 to 1.
        count: how many queries it was measured on.
    """
    best = max(recall_of.values())
    error = math.sqrt(best * (1 - best) / count)
    return min(alpha for alpha, recall in recall_of.items() if recall >= best - error)
