"""The brain Transformer as a classifier: tokens -> encoder -> readout -> logit of the positive class.

Letters: B clips, N tokens.
"""

from __future__ import annotations

import torch
from torch import nn

from neuro.model.config import ModelConfig
from neuro.model.encoder import BrainEncoder
from neuro.model.readout import RegionalReadout
from neuro.tokens.batch import TokenBatch
from neuro.tokens.run_tokens import TokenLayout
from vision.backbones import Backbone


class BrainTransformer(nn.Module):
    """`TokenBatch` -> logit of the positive class (B,).

    Args:
        backbone: a private copy of any model that takes tokens.
        layout: of the tokens.
        config: what the encoder and the readout are like.

    Raises:
        ParameterError: the backbone takes no tokens.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout, config: ModelConfig | None = None):
        super().__init__()
        self.encoder = BrainEncoder(backbone, layout, config)
        self.readout = RegionalReadout(self.encoder.width)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        encoded = self.encoder(batch)
        logits_B: torch.Tensor = self.readout(encoded.tokens_BND, batch.positions_BN4, batch.mask_BN)
        return logits_B

    def votes(self, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N)."""
        return self.readout.votes(self.encoder(batch).tokens_BND, batch.positions_BN4, batch.mask_BN)
