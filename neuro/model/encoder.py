"""Token batches -> embedded tokens with their places -> a shared Transformer trunk -> tokens (B, N, D).

Letters: B clips, N tokens, P prefix tokens (class, registers), T = P + N, D trunk width, K chosen places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model.block_running import BlockRunning, Pass
from neuro.model.config import ModelConfig
from neuro.model.embedding import TokenEmbedding
from neuro.model.grouping import groupings
from neuro.model.positions import position_codes
from neuro.tokens.batch import TokenBatch
from neuro.tokens.run_tokens import TokenLayout
from vision.adapt import depth_rates
from vision.backbones import Backbone, load_backbone

POSITION_GAIN = 0.5  # places are told about half as loudly as contents


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """What the trunk made of a batch: its prefix tokens (B, P, D), P may be 0, and the brain's (B, N, D)."""

    prefix_BPD: torch.Tensor
    tokens_BND: torch.Tensor


def fresh_encoder(
    layout: TokenLayout, config: ModelConfig, *, seed: int = 0, device: str = "auto"
) -> BrainEncoder:
    """An encoder around a private copy of `config`'s backbone; what is new in it begins by `seed`.

    Raises:
        ParameterError: the backbone takes no tokens, or has too few blocks to take turns.
    """
    backbone = load_backbone(config.backbone, device=device, shared=False, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainEncoder(backbone, layout, config).to(backbone.device)


class BrainEncoder(nn.Module):
    """`TokenBatch` -> `Encoded`.

    Attributes:
        backbone: the trunk and its prefix tokens.
        embedding: signals and amplitudes -> tokens.
        checkpointing: set it to True to keep no activations of the blocks in training but to compute them
            a second time for the gradients; the numbers are the same.

    Args:
        backbone: a private copy of any model that takes tokens; its blocks are used as they are.
        layout: of the tokens.
        config: positions, attention, drop path.

    Raises:
        ParameterError: the backbone takes no tokens, or has too few blocks to take turns.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout, config: ModelConfig | None = None):
        super().__init__()
        if not backbone.has_tokens:
            raise ParameterError(
                "backbone",
                must_be="a Vision Transformer that takes tokens",
                got=backbone.name,
                do="take a `timm:vit_…`, a `clip:ViT-…` or a `scratch:vit_…`",
            )
        self.backbone = backbone
        self.layout = layout
        self.config = config or ModelConfig()
        if self.config.attention == "factorised" and backbone.depth < 2:
            raise ParameterError(
                "attention", must_be="joint for a backbone of one block", got=self.config.attention
            )
        self.embedding = TokenEmbedding(backbone, layout)
        # Places are told once: by codes that are added, or by turning queries and keys.
        added = self.config.positions == "sincos"
        self.position_gain = nn.Parameter(torch.tensor(POSITION_GAIN)) if added else None
        self.checkpointing = False

    @property
    def width(self) -> int:
        """D."""
        return self.backbone.embed_dim

    @property
    def prefix(self) -> int:
        """P."""
        return self.backbone.prefix_1PD.shape[1]

    def forward(self, batch: TokenBatch, places_BK: torch.Tensor | None = None) -> Encoded:
        """Tokens through the trunk; its own prefix tokens take part.

        Args:
            batch: the tokens.
            places_BK: which places they are, where `batch` holds chosen ones only.

        Raises:
            ParameterError: the batch does not fit the layout, or the places cannot be told to this backbone.
        """
        tokens_BND = self.embedding(batch, places_BK)
        if self.position_gain is not None:
            codes_BND = position_codes(batch.positions_BN4, self.width)
            tokens_BND = tokens_BND + self.position_gain * codes_BND.to(self.position_gain.dtype)
        prefix_BPD = self.backbone.prefix_1PD.expand(tokens_BND.shape[0], -1, -1)
        count = prefix_BPD.shape[1]
        mask_BT = F.pad(batch.mask_BN, (count, 0), value=True) if batch.padded else None
        out_BTD = self.backbone.embed(
            torch.cat([prefix_BPD, tokens_BND], dim=1),
            mask_BN=mask_BT,
            around=self._running(batch, mask_BT, count),
        )
        return Encoded(prefix_BPD=out_BTD[:, :count], tokens_BND=out_BTD[:, count:])

    def _running(self, batch: TokenBatch, mask_BT: torch.Tensor | None, count: int) -> BlockRunning:
        depth, positions_BT4 = self.backbone.depth, None
        if self.config.positions == "rotary":
            positions_BT4 = F.pad(batch.positions_BN4, (0, 0, count, 0), value=float("nan"))
        return BlockRunning(
            Pass(mask_BT=mask_BT, positions_BT4=positions_BT4),
            groupings(self.config.attention, depth=depth, windows=batch.windows, prefix=count),
            drop_rates=depth_rates(self.config.drop_path if self.training else 0.0, depth),
            checkpointing=self.checkpointing,
        )
