"""Patch embedding in two, three or more dimensions: dense grids or ready-cut patches -> tokens.

Shape suffixes: B batch, C channels, N patches, D embedding width, V values in a patch (C * prod(patch_size)).

Axis order: a grid is (B, C, *spatial) with the picture plane last: (height, width) for pictures, (depth,
height, width) for volumes, and any further axes before those. Patches are numbered row-major over the spatial
axes (the last axis runs fastest); inside a patch the values are channel first, then the patch's own axes in
the same order, which is how a convolution kernel (D, C, *patch_size) flattens.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from data.errors import ParameterError


class PatchEmbedNd(nn.Module):
    """Grid (B, C, *spatial) -> tokens (B, N, D), or cut patches (B, N, V) -> (B, N, D), by one linear map.

    Args:
        patch_size: voxels per patch along each spatial axis, e.g. (16, 16) or (4, 4, 4).
        in_channels: channels C of the grid.
        embed_dim: width D of the tokens.
        bias: whether the linear map has a bias.
    """

    def __init__(self, patch_size: tuple[int, ...], in_channels: int, embed_dim: int, *, bias: bool = True):
        super().__init__()
        _require_positive("patch_size", patch_size)
        _require_positive("in_channels and embed_dim", (in_channels, embed_dim))
        self.patch_size = tuple(patch_size)
        self.in_channels = in_channels
        self.embed_dim = embed_dim
        self.proj = nn.Linear(in_channels * math.prod(patch_size), embed_dim, bias=bias)

    @classmethod
    def from_kernel(
        cls,
        weight_DCpp: torch.Tensor,
        bias_D: torch.Tensor | None,
        *,
        patch_size: tuple[int, ...],
        in_channels: int,
    ) -> PatchEmbedNd:
        """An embedding inflated from a backbone's picture kernel (see `inflate`); its weights are copies."""
        weight = inflate(weight_DCpp, patch_size, in_channels)
        embed = cls(patch_size, in_channels, weight.shape[0], bias=bias_D is not None)
        with torch.no_grad():
            embed.proj.weight.copy_(weight.flatten(1))
            if bias_D is not None:
                embed.proj.bias.copy_(bias_D)
        return embed

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Dense grid (B, C, *spatial) -> tokens (B, N, D), patches row-major.

        Raises:
            ParameterError: the grid has other channels or axes, or is no whole number of patches.
        """
        return self.embed_patches(patchify(grid, self.patch_size))

    def embed_patches(self, patches_BNV: torch.Tensor) -> torch.Tensor:
        """Patches already cut (B, N, V) -> tokens (B, N, D); the layout of V is the one `patchify` writes."""
        if patches_BNV.shape[-1] != self.proj.in_features:
            raise ParameterError(
                "a patch",
                must_be=f"{self.in_channels} x {self.patch_size} = {self.proj.in_features} values",
                got=f"{patches_BNV.shape[-1]} values",
            )
        tokens_BND: torch.Tensor = self.proj(patches_BNV)
        return tokens_BND


def patchify(grid: torch.Tensor, patch_size: tuple[int, ...]) -> torch.Tensor:
    """Grid (B, C, *spatial) -> patches (B, N, V).

    Raises:
        ParameterError: another number of axes than `patch_size` has, or no whole number of patches.
    """
    spatial = tuple(grid.shape[2:])
    if len(spatial) != len(patch_size) or any(s % p for s, p in zip(spatial, patch_size, strict=True)):
        raise ParameterError(
            "grid",
            must_be=f"a whole number of patches of {tuple(patch_size)} along each spatial axis",
            got=f"{spatial}",
            do="pad or crop it first",
        )
    batch, channels = grid.shape[:2]
    n = len(patch_size)
    # (B, C, g1, p1, g2, p2, ...) -> (B, g1, g2, ..., C, p1, p2, ...)
    split = [size for s, p in zip(spatial, patch_size, strict=True) for size in (s // p, p)]
    order = [0, *range(2, 2 + 2 * n, 2), 1, *range(3, 3 + 2 * n, 2)]
    cut = grid.reshape(batch, channels, *split).permute(order)
    return cut.reshape(batch, math.prod(cut.shape[1 : 1 + n]), channels * math.prod(patch_size))


def unpatchify(
    patches_BNV: torch.Tensor, patch_size: tuple[int, ...], grid_size: tuple[int, ...]
) -> torch.Tensor:
    """Patches (B, N, V) -> grid (B, C, *spatial), the exact inverse of `patchify`.

    Args:
        patches_BNV: patches in row-major order.
        patch_size: voxels per patch along each axis.
        grid_size: patches along each axis; their product is N.
    """
    batch, count, values = patches_BNV.shape
    if math.prod(grid_size) != count or len(grid_size) != len(patch_size) or values % math.prod(patch_size):
        raise ParameterError(
            "patches",
            must_be=f"prod{tuple(grid_size)} of C x prod{tuple(patch_size)} values",
            got=f"{count} of {values} values",
        )
    n = len(patch_size)
    channels = values // math.prod(patch_size)
    cut = patches_BNV.reshape(batch, *grid_size, channels, *patch_size)
    # (B, g1, g2, ..., C, p1, p2, ...) -> (B, C, g1, p1, g2, p2, ...)
    order = [0, n + 1, *(axis for k in range(n) for axis in (1 + k, n + 2 + k))]
    spatial = [g * p for g, p in zip(grid_size, patch_size, strict=True)]
    return cut.permute(order).reshape(batch, channels, *spatial)


def inflate(weight_DCpp: torch.Tensor, patch_size: tuple[int, ...], in_channels: int) -> torch.Tensor:
    """Picture kernel (D, C, p, p) -> kernel (D, in_channels, *patch_size) that sees the same things.

    - In the plane (the last two axes) the kernel is resized by the pseudo-inverse, as in FlexiViT (Beyer et
      al. 2023, arXiv 2212.08013): a patch enlarged embeds exactly as the original, which interpolating the
      kernel itself does not give. The resize that is inverted is area averaging, since a voxel is the mean
      over its volume; unlike the bilinear one it also keeps constant patches exact when the patch shrinks.
    - Channels: equal channel counts are kept as they are; otherwise the sum over the picture's channels is
      shared out equally, so that a grey picture repeated over the channels embeds the same.
    - Further axes (depth, time) get the kernel divided by their length, as in I3D (Carreira and Zisserman
      2017, arXiv 1705.07750): a volume constant along them embeds as its picture.

    Args:
        weight_DCpp: kernel of a patch embedding for pictures.
        patch_size: (height, width), or further axes before those.
        in_channels: channels of the new kernel.
    """
    _require_positive("patch_size", patch_size)
    _require_positive("in_channels", (in_channels,))
    if len(patch_size) < 2:
        raise ParameterError("patch_size", must_be="two or more axes", got=tuple(patch_size))
    *further, height, width = patch_size
    kernel = weight_DCpp.detach().double()
    undo_height = torch.linalg.pinv(_area_resize(kernel.shape[2], height).to(kernel.device))
    undo_width = torch.linalg.pinv(_area_resize(kernel.shape[3], width).to(kernel.device))
    kernel = torch.einsum("dcab,ah,bw->dchw", kernel, undo_height, undo_width)
    if in_channels != kernel.shape[1]:
        kernel = (kernel.sum(1, keepdim=True) / in_channels).expand(-1, in_channels, -1, -1)
    for _ in further:
        kernel = kernel.unsqueeze(2)
    kernel = kernel.expand(*kernel.shape[:2], *further, height, width) / math.prod(further)
    return kernel.to(weight_DCpp.dtype)


def _area_resize(old: int, new: int) -> torch.Tensor:
    """Matrix (new, old) that averages `old` equal cells of a line into `new` ones, weighted by overlap."""
    # Counted in whole units of 1 / (old * new) of the line, so that the overlaps are exact.
    new_edges = torch.arange(new + 1) * old
    old_edges = torch.arange(old + 1) * new
    low = torch.maximum(new_edges[:-1, None], old_edges[None, :-1])
    high = torch.minimum(new_edges[1:, None], old_edges[None, 1:])
    return (high - low).clamp(min=0).double() / old


def _require_positive(what: str, values: tuple[int, ...]) -> None:
    if not values or any(not isinstance(v, int) or v < 1 for v in values):
        raise ParameterError(what, must_be="positive whole numbers", got=values)
