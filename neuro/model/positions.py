"""Places in mm and seconds (B, N, 4) -> sine-cosine position codes (B, N, D).

The codes depend on the place alone, not on a token's number: another voxel size, field of view, repetition
time or run length needs no retraining and no interpolation (after Vaswani et al. 2017, arXiv 1706.03762).
Letters: B clips, N tokens, D width, F wavelengths of an axis, A = 4 F.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class Band:
    """Shortest and longest wavelength of the space axes (mm) and of the time axis (seconds)."""

    shortest_mm: float
    longest_mm: float
    shortest_s: float
    longest_s: float


# Codes that are added may repeat within a few cubes: the longer waves tell the repeats apart.
ADDED = Band(shortest_mm=20.0, longest_mm=400.0, shortest_s=4.0, longest_s=1200.0)
AXES = 4


def position_codes(positions_BN4: torch.Tensor, dim: int) -> torch.Tensor:
    """Codes (B, N, `dim`): sines, then cosines, of each axis at its wavelengths; zeros fill the rest.

    An axis that is not known (NaN) has zeros, which no known place has.

    Raises:
        ParameterError: too few numbers for a sine and a cosine of each axis.
    """
    count = dim // (2 * AXES)
    if not count:
        raise ParameterError("width of the tokens", must_be=f"{2 * AXES} or more, for their places", got=dim)
    phase_BNA = phases(positions_BN4, count, ADDED)
    known_BNA = phase_BNA.isfinite()
    codes_BND = torch.cat([phase_BNA.sin(), phase_BNA.cos()], dim=-1)
    codes_BND = torch.where(torch.cat([known_BNA, known_BNA], dim=-1), codes_BND, 0.0)
    return torch.nn.functional.pad(codes_BND, (0, dim - codes_BND.shape[-1]))


def phases(positions_BN4: torch.Tensor, count: int, band: Band) -> torch.Tensor:
    """Angles (B, N, A) in radians, axis by axis (x, y, z, time), at `count` wavelengths each; NaN stays."""
    # In float32 whatever the model's type: half precision knows no angle of a thousand radians. And made
    # where they are used, since copying them from the processor would make it wait.
    place_BN41 = positions_BN4.float().unsqueeze(-1)
    space_F = _frequencies(band.shortest_mm, band.longest_mm, count, place_BN41.device)
    time_F = _frequencies(band.shortest_s, band.longest_s, count, place_BN41.device)
    angles = [place_BN41[..., :3, :] * space_F, place_BN41[..., 3:, :] * time_F]
    return torch.cat(angles, dim=-2).flatten(-2)


def _frequencies(shortest: float, longest: float, count: int, device: torch.device) -> torch.Tensor:
    """Radians a unit (F,), for wavelengths from the shortest to the longest, evenly in their logarithm."""
    if count == 1:  # the middle one
        return torch.full((1,), 2 * math.pi / math.sqrt(shortest * longest), device=device)
    step = math.log(longest / shortest) / (count - 1)
    return (2 * math.pi / shortest) * torch.exp(-step * torch.arange(count, device=device))
