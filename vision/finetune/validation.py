"""How well pictures and captions of some pairs find each other: contrastive loss and R@1, both ways.

Shape suffixes: B batch, E components of the joint space, P pictures, C captions, N pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vision.finetune.pair_table import PairTable
from vision.finetune.source import Source
from vision.finetune.trainee import Trainee
from vision.training.ahead import ahead

BLOCK = 1024  # queries compared with everything at a time

Contrast = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None], torch.Tensor
]


@dataclass(frozen=True, kw_only=True)
class Score:
    """What was measured on pairs.

    Attributes:
        loss: mean over batches as in training, in an order of its own.
        text_to_picture: R@1, share of captions whose nearest picture is one of theirs.
        picture_to_text: R@1, share of pictures whose nearest caption is one of theirs.
    """

    loss: float
    text_to_picture: float
    picture_to_text: float

    @property
    def recall(self) -> float:
        """Mean of both directions."""
        return (self.text_to_picture + self.picture_to_text) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Validation:
    """Pairs to measure on, and how."""

    table: PairTable
    source: Source
    contrast: Contrast
    batch_size: int
    device: torch.device

    @torch.no_grad()
    def score(self, trainee: Trainee) -> Score:
        """Embed every picture and every caption once, in fp32, and compare."""
        trainee.eval()
        image_PE = self._embed(trainee.embed_pictures, self.source.pictures, len(self.table.pictures))
        text_CE = self._embed(trainee.embed_captions, self.source.captions, len(self.table.captions))
        text_to_picture, picture_to_text = recall_at_1(image_PE, text_CE, self.table)
        return Score(
            loss=self._loss(trainee, image_PE, text_CE),
            text_to_picture=text_to_picture,
            picture_to_text=picture_to_text,
        )

    def _embed(
        self,
        embed: Callable[[torch.Tensor], torch.Tensor],
        take: Callable[[torch.Tensor], torch.Tensor],
        count: int,
    ) -> torch.Tensor:
        batches = ahead(take(rows) for rows in torch.split(torch.arange(count), self.batch_size))
        return torch.cat([embed(batch.to(self.device)) for batch in batches])

    def _loss(self, trainee: Trainee, image_PE: torch.Tensor, text_CE: torch.Tensor) -> float:
        total, table = 0.0, self.table
        for rows_B in table.batches(self.batch_size, seed=0, epoch=0):
            loss = self.contrast(
                image_PE[table.picture_N[rows_B]],
                text_CE[table.caption_N[rows_B]],
                trainee.log_scale.exp(),
                trainee.bias,
                table.known(rows_B).to(self.device),
            )
            total += float(loss) * len(rows_B)
        return total / len(table)


def recall_at_1(image_PE: torch.Tensor, text_CE: torch.Tensor, table: PairTable) -> tuple[float, float]:
    """R@1 of pictures found by captions, then of captions by pictures; a tie with a wrong one is a miss."""
    pictures, captions = torch.arange(len(image_PE)), torch.arange(len(text_CE))
    by_text: int = sum(
        _hits(text_CE[rows] @ image_PE.T, table.belong(pictures, rows).T)
        for rows in torch.split(captions, BLOCK)
    )
    by_picture: int = sum(
        _hits(image_PE[rows] @ text_CE.T, table.belong(rows, captions))
        for rows in torch.split(pictures, BLOCK)
    )
    return by_text / len(captions), by_picture / len(pictures)


def _hits(cosine_QK: torch.Tensor, right_QK: torch.Tensor) -> int:
    """How many of Q queries have a right one of K candidates above every wrong one."""
    right_QK = right_QK.to(cosine_QK.device)
    best_right_Q = cosine_QK.masked_fill(~right_QK, -torch.inf).amax(dim=1)
    best_wrong_Q = cosine_QK.masked_fill(right_QK, -torch.inf).amax(dim=1)
    return int((best_right_Q > best_wrong_Q).sum())
