"""Tokens at their places (B, N, D) -> one logit (B,): a readout that knows where in the brain it looks.

A disease that touches one small region is lost in an average over hundreds of tokens. Here each token votes
with the inner product of what it says (a projection to R values) and how much that matters at its place (R
fields over the brain, kept on a lattice in MNI mm and interpolated linearly). The lattice is in mm, so other
voxel sizes and fields of view read the same fields.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# A box around the MNI152 brain, in mm (x, y, z); places outside take the value of the nearest face.
LOW_MM, HIGH_MM = (-76.0, -108.0, -72.0), (76.0, 80.0, 84.0)
VOTE_SCALE = 8.0


class RegionalReadout(nn.Module):
    """Tokens (B, N, D) and places (B, N, 4) -> logits (B,).

    Args:
        dim: width D of the tokens.
        rank: fields R.
        spacing_mm: distance of the lattice's nodes.
    """

    def __init__(self, dim: int, *, rank: int = 16, spacing_mm: float = 12.0):
        super().__init__()
        nodes = [round((high - low) / spacing_mm) + 1 for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
        self.say = nn.Linear(dim, rank)
        # grid_sample wants the axes slowest first: (1, R, z, y, x). Zero: at first no place matters.
        self.field_1RZYX = nn.Parameter(torch.zeros(1, rank, *reversed(nodes)))
        self.bias = nn.Parameter(torch.zeros(()))
        self.low_mm: torch.Tensor
        self.high_mm: torch.Tensor
        self.register_buffer("low_mm", torch.tensor(LOW_MM), persistent=False)
        self.register_buffer("high_mm", torch.tensor(HIGH_MM), persistent=False)

    def matter(self, positions_BN4: torch.Tensor) -> torch.Tensor:
        """The fields at each place (B, N, R)."""
        unit_BN3 = 2 * (positions_BN4[..., :3] - self.low_mm) / (self.high_mm - self.low_mm) - 1
        grid_1BN13 = unit_BN3.reshape(1, *unit_BN3.shape[:2], 1, 3)
        sampled_1RBN1 = F.grid_sample(self.field_1RZYX, grid_1BN13, align_corners=True, padding_mode="border")
        return sampled_1RBN1[0, :, :, :, 0].permute(1, 2, 0)

    def votes(
        self, tokens_BND: torch.Tensor, positions_BN4: torch.Tensor, mask_BN: torch.Tensor
    ) -> torch.Tensor:
        """What each token adds to the logit (B, N), 0 for padding; the bias is not in it."""
        votes_BN: torch.Tensor = (self.say(tokens_BND) * self.matter(positions_BN4)).sum(-1) * mask_BN
        scale_B1: torch.Tensor = VOTE_SCALE / mask_BN.sum(1, keepdim=True).clamp(min=1).sqrt()
        return votes_BN * scale_B1

    def forward(
        self, tokens_BND: torch.Tensor, positions_BN4: torch.Tensor, mask_BN: torch.Tensor
    ) -> torch.Tensor:
        """Tokens and places -> logits (B,)."""
        return self.votes(tokens_BND, positions_BN4, mask_BN).sum(1) + self.bias
