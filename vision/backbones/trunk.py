"""The token half of a Vision Transformer tower, the same face for timm's and open_clip's.

Shape suffixes: B batch, C channels, H W pixels, N patches, P prefix tokens (class, registers), D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch.nn import functional as F

from data.errors import ParameterError

# A block: tokens (B, N, D), and what is added to the attention logits (B, 1, 1, N) or None -> (B, N, D).
Block = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
# How a block is run: (its number, the block, tokens, bias) -> tokens.
Around = Callable[[int, Block, torch.Tensor, torch.Tensor | None], torch.Tensor]


class Trunk(ABC):
    """What lies between a tower's pixels and its pooling; it refers to the tower's weights and owns none.

    Attributes:
        embed_dim: width D.
        num_heads: attention heads of a block.
        patch_size: (height, width) of a patch in pixels.
        grid_size: (rows, columns) of patches that the position codes were learned for.
    """

    embed_dim: int
    num_heads: int
    patch_size: tuple[int, int]
    grid_size: tuple[int, int]

    @property
    @abstractmethod
    def kernel(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Patch embedding: weight (D, C, p, p) and bias (D,) or None."""

    @property
    @abstractmethod
    def prefix(self) -> torch.Tensor:
        """Class and register tokens (1, P, D) with the position codes that the tower gives them."""

    @property
    @abstractmethod
    def positions(self) -> torch.Tensor:
        """Position codes (1, rows * columns, D) of `grid_size`, zeros where the tower has none."""

    @property
    @abstractmethod
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""

    @abstractmethod
    def enter(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """What comes before the blocks: a norm, if any."""

    @abstractmethod
    def leave(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """What comes after them: the final norm, if it precedes pooling."""

    def run(
        self, tokens_BND: torch.Tensor, bias_B11N: torch.Tensor | None, around: Around | None = None
    ) -> torch.Tensor:
        """Tokens (B, N, D) -> (B, N, D): pre-norm if any, blocks, final norm.

        Args:
            tokens_BND: tokens with their position codes already added.
            bias_B11N: added to the attention logits, 0 for real tokens and -inf for padding.
            around: runs each block in the caller's way; by default it is just called.
        """
        tokens_BND = self.enter(tokens_BND)
        for number, block in enumerate(self.blocks):
            if around is None:
                tokens_BND = block(tokens_BND, bias_B11N)
            else:
                tokens_BND = around(number, block, tokens_BND, bias_B11N)
        return self.leave(tokens_BND)

    def picture_positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """Position codes (1, rows * columns, D) of a grid of patches, resampled from `positions`."""
        if grid == self.grid_size:
            return self.positions
        # Interpolation wants channels first and full precision.
        codes_1DHW = self.positions.reshape(1, *self.grid_size, -1).permute(0, 3, 1, 2).float()
        codes_1DHW = F.interpolate(codes_1DHW, size=grid, mode="bicubic", antialias=True)
        return codes_1DHW.flatten(2).transpose(1, 2).to(self.positions.dtype)

    def picture_tokens(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> tokens (B, P + N, D) as the tower has them before pooling.

        Other sizes than the tower's own are fine, as long as they are whole patches.
        """
        (height, width), (rows, columns) = self.patch_size, pixels_BCHW.shape[-2:]
        if rows % height or columns % width:
            raise ParameterError(
                "picture size",
                must_be=f"a multiple of the patch size {self.patch_size}",
                got=(rows, columns),
                do="resize the picture",
            )
        weight_DCpp, bias_D = self.kernel
        grid = F.conv2d(pixels_BCHW, weight_DCpp, bias_D, stride=self.patch_size)
        tokens_BND = grid.flatten(2).transpose(1, 2) + self.picture_positions((grid.shape[2], grid.shape[3]))
        # Not `len`, which torch.export would take for a constant.
        prefix_BPD = self.prefix.expand(tokens_BND.shape[0], -1, -1)
        return self.run(torch.cat([prefix_BPD, tokens_BND], dim=1), None)
