"""Tokens at their places (B, N, D) -> one logit (B,), linear in all of them: a weight a place and a value.

Nothing is pooled: each place has D weights of its own, many more than there are people. They are for a
frozen encoder and a machine with a margin (`neuro.training.support_vectors`); AdamW takes them as well.
Letters: B clips, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import nn

from neuro.model.encoder import Encoded
from neuro.model.fields import LatticeField, RegionField
from neuro.model.readout import Readout
from neuro.tokens.batch import TokenBatch

SPACING_MM = 24.0  # of the lattice, where there are no regions: D weights a node


class PlaceReadout(Readout):
    """Tokens and their places -> logits (B,): the mean, over tokens, of their products with the field there.

    Args:
        dim: width D of the tokens.
        regions: how many there are; 0 where places are in mm, and the field is one over MNI space.
    """

    def __init__(self, dim: int, *, regions: int = 0):
        super().__init__()
        self.matter = RegionField(dim, regions) if regions else LatticeField(dim, spacing_mm=SPACING_MM)
        self.offset = nn.Parameter(torch.zeros(()))

    @property
    def weight(self) -> nn.Parameter:
        """The field's values: logits are linear in them, and so are features in their gradients."""
        (weight,) = self.matter.parameters()
        return weight

    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N), 0 for padding."""
        votes_BN: torch.Tensor = (encoded.tokens_BND * self.matter(batch)).sum(-1) * batch.mask_BN
        return votes_BN / batch.mask_BN.sum(1, keepdim=True).clamp(min=1)

    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        return self.votes(encoded, batch).sum(1) + self.bias

    @property
    def bias(self) -> torch.Tensor:
        """What the logit is without any vote, ()."""
        return self.offset
