"""The brain Transformer as a classifier: tokens -> encoder -> readout -> logit of the positive class.

Letters: B clips, N tokens.
"""

from __future__ import annotations

import torch
from torch import nn

from neuro.model.config import ModelConfig
from neuro.model.encoder import BrainEncoder
from neuro.model.readouts import READOUTS
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
        ParameterError: the backbone takes no tokens, or has no class token to read.
    """

    def __init__(self, backbone: Backbone, layout: TokenLayout, config: ModelConfig | None = None):
        super().__init__()
        self.encoder = BrainEncoder(backbone, layout, config)
        self.readout = READOUTS[self.encoder.config.readout](self.encoder)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        logits_B: torch.Tensor = self.readout(self.encoder(batch), batch)
        return logits_B

    def votes(self, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N); with the readout's bias they add up to it.

        Raises:
            ParameterError: the readout's logit is no sum of votes.
        """
        return self.readout.votes(self.encoder(batch), batch)
