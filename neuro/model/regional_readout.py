"""Tokens at their places (B, N, D) -> one logit (B,): a readout that knows where in the brain it looks.

A disease that touches one small region is lost in an average over hundreds of tokens. Here each token votes
with the inner product of what it says (a projection to R values) and how much that matters at its place (R
fields over the brain, see `neuro.model.fields`).
Letters: B clips, N tokens, D width, R fields.
"""

from __future__ import annotations

import torch
from torch import nn

from neuro.model.encoder import Encoded
from neuro.model.fields import Field, LatticeField
from neuro.model.readout import Readout
from neuro.tokens.batch import TokenBatch

VOTE_SCALE = 8.0
RANK = 16


class RegionalReadout(Readout):
    """Tokens and their places -> logits (B,).

    Args:
        dim: width D of the tokens.
        rank: R.
        field: how much the R things matter at a place; over MNI space by default.
    """

    def __init__(self, dim: int, *, rank: int = RANK, field: Field | None = None):
        super().__init__()
        self.say = nn.Linear(dim, rank)
        self.matter = field or LatticeField(rank)
        self.offset = nn.Parameter(torch.zeros(()))

    def votes(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N), 0 for padding."""
        votes_BN: torch.Tensor = (self.say(encoded.tokens_BND) * self.matter(batch)).sum(-1) * batch.mask_BN
        scale_B1: torch.Tensor = VOTE_SCALE / batch.mask_BN.sum(1, keepdim=True).clamp(min=1).sqrt()
        return votes_BN * scale_B1

    def forward(self, encoded: Encoded, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        return self.votes(encoded, batch).sum(1) + self.bias

    @property
    def bias(self) -> torch.Tensor:
        """What the logit is without any vote, ()."""
        return self.offset
