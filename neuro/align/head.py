"""What an encoder made of clips -> unit vectors in the space of a text tower.

An effect in one small region is lost in a mean over hundreds of tokens. So pooling knows where it looks, as
the regional readout does (`neuro.model.regional_readout`): R fields over the brain say how much a place
matters, and R values are pooled, each over its own places. A linear map takes them to the text space, from
the mean sentence on: what a brain says is how it differs from the mean.
Letters: B clips, N tokens, D width, R fields, S sentences, E components of the text space.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from neuro.model import BrainEncoder
from neuro.model.fields import LatticeField, RegionField
from neuro.model.regional_readout import VOTE_SCALE
from neuro.tokens import TokenBatch

RANK = 16


class RegionalPool(nn.Module):
    """Tokens (B, N, D) and their places -> (B, R).

    Args:
        encoder: whose tokens these are.
        rank: R.
    """

    def __init__(self, encoder: BrainEncoder, rank: int):
        super().__init__()
        self.say = nn.Linear(encoder.width, rank)
        regions = encoder.layout.regions
        self.matter = RegionField(rank, regions) if regions else LatticeField(rank)

    def forward(self, tokens_BND: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
        """Values (B, R); padding adds nothing."""
        said_BNR = self.say(tokens_BND) * self.matter(batch) * batch.mask_BN[..., None]
        count_B1 = batch.mask_BN.sum(1, keepdim=True).clamp(min=1)
        pooled_BR: torch.Tensor = said_BNR.sum(1) * (VOTE_SCALE / count_B1.sqrt())
        return pooled_BR


class TextHead(nn.Module):
    """Tokens (B, N, D) -> unit vectors (B, E), float32.

    Args:
        encoder: whose tokens these are.
        sentences_SE: unit vectors of the sentences to be trained on. The mean is where every brain begins,
            and the ways in which they differ most are the first that it can go.
        rank: R.
        gain: length of the steps that fields make in the text space at first.
    """

    def __init__(
        self, encoder: BrainEncoder, sentences_SE: NDArray[np.float32], *, rank: int = RANK, gain: float = 1.0
    ):
        super().__init__()
        self.pool = RegionalPool(encoder, rank)
        mean_E = sentences_SE.mean(axis=0)
        self.anchor_E = nn.Parameter(torch.from_numpy(np.array(mean_E, dtype=np.float32)))
        self.out = nn.Linear(rank, len(mean_E), bias=False)
        with torch.no_grad():
            self.out.weight.copy_(_first_map(sentences_SE - mean_E, rank, gain))

    def forward(self, tokens_BND: torch.Tensor, batch: TokenBatch) -> torch.Tensor:
        """Unit vectors (B, E)."""
        vector_BE = self.anchor_E + self.out(self.pool(tokens_BND, batch).float())
        return F.normalize(vector_BE, dim=-1)


def _first_map(centred_SE: NDArray[np.float32], rank: int, gain: float) -> torch.Tensor:
    """Fields to the text space (E, R): each to all main ways of the sentences, towards or away at random.

    So what a few ways need is an average over all fields, and begins as gently as a classifier's vote does.
    Ways of less spread get less, in proportion; there are no more of them than fields.
    """
    _, spread_K, ways_KE = np.linalg.svd(centred_SE, full_matrices=False)
    kept = min(rank, len(spread_K))
    share_K = torch.from_numpy(spread_K[:kept] / max(float(spread_K[0]), 1e-12))
    signs_KR = torch.randint(2, (kept, rank)).float() * 2 - 1
    return gain * torch.from_numpy(ways_KE[:kept]).T @ (share_K[:, None] * signs_KR)
