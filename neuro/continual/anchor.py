"""Elastic weight consolidation: a pull back to the old weights, as strong as the old runs need each of them.

With F the mean Fisher information of M old runs at the old weights v, and N new ones, the loss becomes

    mean loss of the new + strength * (M / N) / 2 * sum_i F_i (w_i - v_i)^2

which for strength 1 is, up to a constant and divided by N, the log posterior that Laplace's approximation
gives when the old runs are the prior. Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3.
Letters: B samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from neuro.continual.importance import Importance


class Anchor(nn.Module):
    """() -> the penalty, a scalar.

    Args:
        model: where it is now is where it is pulled back to.
        importance: of its weights.
        factor: what the sum over weights is multiplied by.
    """

    def __init__(self, model: nn.Module, importance: Importance, factor: float):
        super().__init__()
        self.factor = factor
        # In a plain list: registered here as well, weights would stand twice in the state of the objective.
        self._held: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = [
            (p, p.detach().clone(), importance.weights[name].to(p.device))
            for name, p in model.named_parameters()
        ]

    def forward(self) -> torch.Tensor:
        """Of the weights that learn; others stay where they are."""
        terms = [(f * (p.float() - start).square()).sum() for p, start, f in self._held if p.requires_grad]
        penalty: torch.Tensor = self.factor * torch.stack(terms).sum()
        return penalty


class Anchored(nn.Module):
    """Batch -> losses (B,) of an objective, each with the penalty: their mean has it once."""

    def __init__(self, objective: nn.Module, anchor: Anchor):
        super().__init__()
        self.objective, self.anchor = objective, anchor

    def forward(self, batch: Any) -> torch.Tensor:
        """Losses (B,)."""
        losses_B: torch.Tensor = self.objective(batch)
        penalised_B: torch.Tensor = losses_B + self.anchor()
        return penalised_B


def factor(strength: float, *, old: int, new: int) -> float:
    """What the weighted sum of squares is multiplied by, for so many old and new runs."""
    return strength * old / new / 2
