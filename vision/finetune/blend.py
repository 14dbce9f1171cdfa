"""The model before and after, and the one between them that is kept: weights put together and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from vision.backbones.backbone import Backbone
from vision.finetune.trainee import TowerTrainee
from vision.finetune.validation import Score, Validation
from vision.finetune.wise_ft import ALPHAS, choose_alpha, interpolate


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores on validation, None where there is none.

    Attributes:
        before: the model as it was.
        tuned: as training left it.
        result: as it is kept.
        alpha: share of the way from `before` to `tuned` at which `result` lies.
    """

    before: Score | None
    tuned: Score | None
    result: Score | None
    alpha: float


class Blend:
    """Remembers a model as it is now, to put it together with what it becomes."""

    def __init__(self, backbone: Backbone, validation: Validation | None):
        self.backbone, self.validation = backbone, validation
        self.before = _weights(backbone)
        self.scores = {0.0: self._score()}

    def settle(self, alpha: float | Literal["auto"]) -> Scored:
        """Give the model the weights at `alpha` between then and now, and measure it there."""
        after = _weights(self.backbone)
        self.scores[1.0] = self._score()
        if alpha == "auto":
            alpha = self._best(after)
        self._take(after, alpha)
        return Scored(before=self.scores[0.0], tuned=self.scores[1.0], result=self.scores[alpha], alpha=alpha)

    def _best(self, after: dict[str, torch.Tensor]) -> float:
        assert self.validation is not None
        recall_of = {}
        for alpha in ALPHAS:
            self._take(after, alpha)
            score = self.scores[alpha]
            assert score is not None
            recall_of[alpha] = score.recall
        return choose_alpha(recall_of, len(self.validation.table.captions))

    def _take(self, after: dict[str, torch.Tensor], alpha: float) -> None:
        self.backbone.load_state_dict(interpolate(self.before, after, alpha))
        if alpha not in self.scores:
            self.scores[alpha] = self._score()

    def _score(self) -> Score | None:
        return None if self.validation is None else self.validation.score(TowerTrainee(self.backbone))


def _weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in backbone.state_dict().items()}
