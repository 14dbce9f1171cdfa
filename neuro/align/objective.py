"""The encoder, its head and the sentences as one objective, for `neuro.training.loop.fit`.

Letters: b pairs of this process, B of all, R runs, S sentences, E components of the text space.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import nn

from neuro.align.bank import SentenceBank
from neuro.align.clips import AlignedBatch
from neuro.align.head import TextHead
from neuro.align.losses import LOSSES
from neuro.model import BrainEncoder
from neuro.pretrain.gather import gathered
from neuro.tokens import TokenBatch

MOST_SCALE = 100.0  # as CLIP holds it


class BrainText(nn.Module):
    """`TokenBatch` -> unit vectors in the text space (B, E).

    Args:
        encoder: of brains.
        head: from its tokens to the text space.
        scale: what cosines are multiplied with; it is learned.
    """

    def __init__(self, encoder: BrainEncoder, head: TextHead, *, scale: float):
        super().__init__()
        self.encoder, self.head = encoder, head
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Unit vectors (B, E), float32."""
        vectors_BE: torch.Tensor = self.head(self.encoder(batch).tokens_BND, batch)
        return vectors_BE

    @property
    def scale(self) -> torch.Tensor:
        """What cosines are multiplied with, ()."""
        return self.log_scale.exp().clamp(max=MOST_SCALE)


class Alignment(nn.Module):
    """`AlignedBatch` -> one loss a pair (b,).

    The text tower is not trained: its vectors were computed beforehand (LiT, Zhai et al. 2022, arXiv
    2111.07991), so whatever else it has learned to understand stays. Under distributed training the other
    answers are those of all processes; a step in parts (`micro_batch`) sees those of each part alone.

    Args:
        model: brains to the text space.
        bank: sentences, and whom they hold of.
        loss: a key of `LOSSES`.
    """

    def __init__(self, model: BrainText, bank: SentenceBank, loss: str = "infonce"):
        super().__init__()
        self.model, self.loss = model, LOSSES[loss]
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=loss == "siglip")
        self.vectors_SE: torch.Tensor
        self.truth_RS: torch.Tensor
        self.register_buffer("vectors_SE", torch.from_numpy(bank.vectors_SE), persistent=False)
        self.register_buffer("truth_RS", torch.from_numpy(bank.truth_RS), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """As ever, but a frozen encoder drops nothing."""
        super().train(mode)
        if not any(p.requires_grad for p in self.model.encoder.parameters()):
            self.model.encoder.eval()
        return self

    def forward(self, batch: AlignedBatch) -> torch.Tensor:
        """Losses (b,)."""
        own_bE = self.model(batch.tokens)
        if not self.training:  # a validation is each process's own
            return self._losses(own_bE, batch.run_B, batch.sentence_B)
        brain_BE, start = gathered(own_bE)
        run_B, _ = gathered(batch.run_B)
        sentence_B, _ = gathered(batch.sentence_B)
        return self._losses(brain_BE, run_B, sentence_B)[start : start + len(own_bE)]

    def _losses(self, brain_BE: torch.Tensor, run_B: torch.Tensor, sentence_B: torch.Tensor) -> torch.Tensor:
        cosines_BB = brain_BE @ self.vectors_SE[sentence_B].T
        truth_BB = self.truth_RS[run_B][:, sentence_B]
        return self.loss(cosines_BB, truth_BB, self.model.scale, self.bias)
