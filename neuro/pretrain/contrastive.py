"""Two clips of a person are alike, clips of other people are not: NT-Xent (SimCLR, arXiv 2002.05709).

What two clips of one person share is what stays with the person from minute to minute: how strongly places
fluctuate and how they are coupled; not the phase of the signal, which is new in each clip.
Letters: b pairs of this process, B of all, N tokens, D width of the encoder, E of the projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.pretrain.gather import gathered
from neuro.tokens import TokenBatch


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig:
    """How alike is measured.

    Attributes:
        temperature: of the cosines.
        width: of the projection, in which cosines are taken and which is thrown away afterwards.
    """

    temperature: float = 0.1
    width: int = 64

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ParameterError("temperature", must_be="positive", got=self.temperature)
        if self.width < 2:
            raise ParameterError("projection width", must_be="2 or more", got=self.width)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairBatch:
    """Two clips of each person drawn, and who it is.

    Attributes:
        first, second: clips of the same person, row by row.
        person_B: int64, a number for each person, the same wherever the person comes up.
    """

    first: TokenBatch
    second: TokenBatch
    person_B: torch.Tensor

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: torch.device | str) -> PairBatch:
        """The same pairs on another device."""
        return PairBatch(
            first=self.first.to(device),
            second=self.second.to(device),
            person_B=self.person_B.to(device, non_blocking=True),
        )


class ContrastiveModelling(nn.Module):
    """`PairBatch` -> one loss a pair (b,).

    Under distributed training the negatives are those of all processes. A step in parts (`micro_batch`) sees
    the negatives of each part alone.

    Args:
        encoder: what is to learn.
        config: temperature and width.
    """

    def __init__(self, encoder: BrainEncoder, config: ContrastiveConfig | None = None):
        super().__init__()
        self.config = config or ContrastiveConfig()
        self.encoder = encoder
        self.projection = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.GELU(), nn.Linear(encoder.width, self.config.width)
        )

    def forward(self, batch: PairBatch) -> torch.Tensor:
        """Losses (b,)."""
        first_bE, second_bE = self.project(batch.first), self.project(batch.second)
        both_b2E = torch.stack([first_bE, second_bE], dim=1)
        if not self.training:  # a validation is each process's own
            return nt_xent(both_b2E, batch.person_B, temperature=self.config.temperature)
        both_B2E, start = gathered(both_b2E)
        person_B, _ = gathered(batch.person_B)
        losses_B = nt_xent(both_B2E, person_B, temperature=self.config.temperature)
        return losses_B[start : start + len(first_bE)]

    def project(self, tokens: TokenBatch) -> torch.Tensor:
        """Clips -> unit vectors (b, E), float32."""
        tokens_bND = self.encoder(tokens).tokens_BND
        weight_bN1 = tokens.mask_BN[..., None].to(tokens_bND.dtype)
        mean_bD = (tokens_bND * weight_bN1).sum(1) / weight_bN1.sum(1).clamp(min=1)
        return F.normalize(self.projection(mean_bD).float(), dim=-1)


def nt_xent(pairs_B2E: torch.Tensor, person_B: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Normalised, temperature-scaled cross-entropy of each pair (B,): the mean over its two directions.

    -log(exp(s(i, j) / t) / sum over k of exp(s(i, k) / t)), with k over j and all clips of other people;
    other clips of the same person are left out of the sum. A pair with nobody to tell it from has loss 0.

    Args:
        pairs_B2E: unit vectors, the two clips of each pair.
        person_B: who each pair is of.
        temperature: t.
    """
    count = len(pairs_B2E)
    rows_QE = pairs_B2E.transpose(0, 1).flatten(0, 1)  # all first clips, then all second ones
    person_Q = person_B.repeat(2)
    partner_Q = torch.arange(2 * count, device=rows_QE.device).roll(count)
    cosines_QQ = rows_QE @ rows_QE.T / temperature
    same_QQ = person_Q[:, None] == person_Q[None, :]
    same_QQ[torch.arange(2 * count, device=rows_QE.device), partner_Q] = False
    logits_QQ = cosines_QQ.masked_fill(same_QQ, float("-inf"))
    losses_Q = F.cross_entropy(logits_QQ, partner_Q, reduction="none")
    losses_B: torch.Tensor = losses_Q.reshape(2, count).mean(0)
    return losses_B
