"""Places in mm and seconds (B, N, 4) -> sine-cosine position codes (B, N, D).

The codes depend on the place alone, not on a token's number: another voxel size, field of view, repetition
time or run length needs no retraining and no interpolation (after Vaswani et al. 2017, arXiv 1706.03762).
"""

from __future__ import annotations

import math

import torch

SHORTEST_MM, LONGEST_MM = 20.0, 400.0
SHORTEST_S, LONGEST_S = 4.0, 1200.0


def position_codes(positions_BN4: torch.Tensor, dim: int) -> torch.Tensor:
    """Sines and cosines of each axis at geometrically spaced wavelengths, padded with zeros to `dim`."""
    count = dim // 8  # four axes, a sine and a cosine each
    space = _wavelengths(SHORTEST_MM, LONGEST_MM, count)
    time = _wavelengths(SHORTEST_S, LONGEST_S, count)
    frequency_4F = 2 * math.pi / torch.stack([space, space, space, time]).to(positions_BN4.device)
    phase_BNA = (positions_BN4.unsqueeze(-1) * frequency_4F).flatten(-2)
    codes = torch.cat([phase_BNA.sin(), phase_BNA.cos()], dim=-1)
    return torch.nn.functional.pad(codes, (0, dim - codes.shape[-1]))


def _wavelengths(shortest: float, longest: float, count: int) -> torch.Tensor:
    return torch.logspace(math.log10(shortest), math.log10(longest), count)
