"""Token batches -> embedded tokens with their places -> a shared Transformer trunk -> tokens (B, N, D).

Letters: B clips, N tokens, P prefix tokens (class, registers), D trunk width, K chosen places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model.config import ModelConfig
from neuro.model.embedding import TokenEmbedding
from neuro.model.positions import position_codes
from neuro.tokens.batch import TokenBatch
from neuro.tokens.run_tokens import TokenLayout
from vision.backbones import Backbone

POSITION_GAIN = 0.5  # places are told about half as loudly as contents


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoded:
    """What the trunk made of a batch: its prefix tokens (B, P, D), P may be 0, and the brain's (B, N, D)."""

    prefix_BPD: torch.Tensor
    tokens_BND: torch.Tensor


class BrainEncoder(nn.Module):
    """`TokenBatch` -> `Encoded`.

    Args:
        backbone: a private copy of any model that takes tokens; its blocks are used as they are.
        layout: of the tokens.
        config: positions, attention, drop path.

    Raises:
        ParameterError: the backbone takes no tokens.
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
        self.embedding = TokenEmbedding(backbone, layout)
        self.position_gain = nn.Parameter(torch.tensor(POSITION_GAIN))

    @property
    def width(self) -> int:
        """D."""
        return self.backbone.embed_dim

    def forward(self, batch: TokenBatch, places_BK: torch.Tensor | None = None) -> Encoded:
        """Tokens through the trunk; its own prefix tokens take part.

        Args:
            batch: the tokens.
            places_BK: which places they are, where `batch` holds chosen ones only.
        """
        tokens_BND = self.embedding(batch, places_BK)
        tokens_BND = tokens_BND + self.position_gain * position_codes(batch.positions_BN4, self.width)
        prefix_BPD = self.backbone.prefix_1PD.expand(len(tokens_BND), -1, -1)
        count = prefix_BPD.shape[1]
        mask_BN = F.pad(batch.mask_BN, (count, 0), value=True) if batch.padded else None
        out_BND = self.backbone.embed(torch.cat([prefix_BPD, tokens_BND], dim=1), mask_BN=mask_BN)
        return Encoded(prefix_BPD=out_BND[:, :count], tokens_BND=out_BND[:, count:])
