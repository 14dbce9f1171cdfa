"""How a tower's last features, before it pools them, lie over the picture: as tokens, or as a map.

Shape suffixes: B batch, P prefix tokens (class, registers), N patches, D width, F maps, R rows, C columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Features (B, P + N, D): `prefix` tokens, then patches row by row in a `grid` of (rows, columns)."""

    prefix: int
    grid: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class MapLayout:
    """Features (B, F, R, C), or (B, R, C, F) where `channels_last`."""

    channels_last: bool = False

    def channels_first(self, features: torch.Tensor) -> torch.Tensor:
        """Features in this layout -> (B, F, R, C)."""
        return features.permute(0, 3, 1, 2) if self.channels_last else features


SpatialLayout = TokenLayout | MapLayout


def timm_layout(model: Any) -> SpatialLayout | None:
    """What a timm model's `forward_features` gives; None where it cannot be told.

    timm says of a model with maps how large they are (`pool_size`), and of one with tokens how many of them
    are no patches and in what grid the others lie.
    """
    if getattr(model, "output_fmt", None) == "NHWC":
        return MapLayout(channels_last=True)
    prefix = getattr(model, "num_prefix_tokens", None)
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if prefix is not None and grid is not None:
        return TokenLayout(prefix=prefix, grid=(int(grid[0]), int(grid[1])))
    return MapLayout() if model.default_cfg.get("pool_size") else None
