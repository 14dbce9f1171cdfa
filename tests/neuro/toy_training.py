"""A small thing to train: a line through points, whose samples are functions of seed, epoch and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Points:
    """Inputs (B, 3) and what is to be said of them (B,)."""

    x_B3: torch.Tensor
    y_B: torch.Tensor

    def to(self, device: torch.device) -> Points:
        return Points(self.x_B3.to(device), self.y_B.to(device))


class ToyExamples:
    """Noisy points of a curve; `asked` notes which places were asked for."""

    def __init__(self, count: int = 22, seed: int = 0):
        self.count, self.seed = count, seed
        self.asked: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.count

    def batch(self, places: Sequence[int], epoch: int) -> Points:
        self.asked += [(epoch, place) for place in places]
        drawn = [np.random.default_rng([self.seed, epoch, place]).standard_normal(3) for place in places]
        x_B3 = torch.tensor(np.array(drawn), dtype=torch.float32)
        return Points(x_B3, torch.sin(x_B3.sum(1)) + x_B3[:, 0])


class ToyObjective(nn.Module):
    """`Points` -> squared errors (B,); an idle weight lies beside, as parts of a trunk do."""

    def __init__(self, dropout: float = 0.0, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 1)
        self.drop = nn.Dropout(dropout)
        self.idle = nn.Parameter(torch.ones(4))
        with torch.no_grad():
            for p in (*self.first.parameters(), *self.last.parameters()):
                p.copy_(torch.randn(p.shape, generator=generator) * 0.5)

    def forward(self, batch: Points) -> torch.Tensor:
        said_B = self.last(self.drop(torch.tanh(self.first(batch.x_B3))))[:, 0]
        return (said_B - batch.y_B).square()


def weights(objective: ToyObjective) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in objective.named_parameters()}
