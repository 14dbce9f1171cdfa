"""How much each of R things matters at each place of the brain: learned fields, (B, N, R) for a batch.

Letters: B clips, W windows, S regions, N tokens, R fields; X Y Z nodes of a lattice.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.tokens.batch import TokenBatch

# A box around the MNI152 brain, in mm (x, y, z); places outside take the value of the nearest face.
LOW_MM, HIGH_MM = (-76.0, -108.0, -72.0), (76.0, 80.0, 84.0)


class Field(Protocol):
    """`TokenBatch` -> the fields at the place of each token (B, N, R). They begin at 0: no place matters."""

    def __call__(self, batch: TokenBatch) -> torch.Tensor:
        """The fields of each token."""


class LatticeField(nn.Module):
    """Kept on a lattice in MNI mm and interpolated linearly; a place that is not known (NaN) has 0.

    Other voxel sizes and fields of view read the same fields.

    Args:
        rank: fields R.
        spacing_mm: distance of the lattice's nodes.
    """

    def __init__(self, rank: int, *, spacing_mm: float = 12.0):
        super().__init__()
        nodes = [round((high - low) / spacing_mm) + 1 for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
        # grid_sample wants the axes slowest first: (1, R, z, y, x).
        self.nodes_1RZYX = nn.Parameter(torch.zeros(1, rank, *reversed(nodes)))
        self.low_mm: torch.Tensor
        self.high_mm: torch.Tensor
        self.register_buffer("low_mm", torch.tensor(LOW_MM), persistent=False)
        self.register_buffer("high_mm", torch.tensor(HIGH_MM), persistent=False)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """The fields of each token (B, N, R)."""
        unit_BN3 = 2 * (batch.positions_BN4[..., :3] - self.low_mm) / (self.high_mm - self.low_mm) - 1
        known_BN1 = unit_BN3.isfinite().all(-1, keepdim=True)
        unit_BN3 = torch.where(known_BN1, unit_BN3, 0.0).to(self.nodes_1RZYX.dtype)
        grid_1BN13 = unit_BN3.reshape(1, *unit_BN3.shape[:2], 1, 3)
        sampled_1RBN1 = F.grid_sample(self.nodes_1RZYX, grid_1BN13, align_corners=True, padding_mode="border")
        return sampled_1RBN1[0, :, :, :, 0].permute(1, 2, 0) * known_BN1


class RegionField(nn.Module):
    """One value a region: those of an atlas are known by their number, and their place need not be.

    Args:
        rank: fields R.
        regions: S.
    """

    def __init__(self, rank: int, regions: int):
        super().__init__()
        self.region_SR = nn.Parameter(torch.zeros(regions, rank))

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """The fields of each token (B, N, R).

        Raises:
            ParameterError: not all regions are there.
        """
        if batch.places != len(self.region_SR):
            raise ParameterError("regions", must_be=f"all {len(self.region_SR)} of them", got=batch.places)
        return self.region_SR.repeat(batch.windows, 1).expand(len(batch), -1, -1)
