"""How an encoder is pretrained, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from data.errors import ParameterError, UnknownNameError, nearest
from neuro.pretrain.contrastive import ContrastiveConfig
from neuro.pretrain.masked import MaskedConfig
from neuro.pretrain.masking import MaskConfig
from neuro.training.config import TrainingConfig

Objective = Literal["masked", "contrastive"]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How to pretrain.

    Attributes:
        objective: "masked" (guess hidden places) or "contrastive" (know two clips of a person).
        mask: how places are hidden.
        masked: what is guessed.
        contrastive: how alike is measured.
        training: of each phase. Its epochs are passes over as many samples as there are runs, times `clips`.
        held_out: share of the people of each cohort that the loss is measured on.
        seed: of initialisation, order, clips, masks and who is held out.
        device: "auto" takes cuda, then mps, then cpu.
    """

    objective: Objective = "masked"
    mask: MaskConfig = field(default_factory=MaskConfig)
    masked: MaskedConfig = field(default_factory=MaskedConfig)
    contrastive: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    held_out: float = 0.1
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        known = get_args(Objective)
        if self.objective not in known:
            choices = f"one of {', '.join(known)}"
            do = nearest(str(self.objective), known)
            raise UnknownNameError("objective", must_be=choices, got=repr(self.objective), do=do)
        if not 0 < self.held_out <= 0.5:
            raise ParameterError(
                "share of people held out", must_be="over 0 and at most 0.5", got=self.held_out
            )
        if self.training.mixup:
            raise ParameterError("mixup", must_be="0 without labels", got=self.training.mixup)
        method = self.training.adaptation.method
        if method not in ("full", "lora"):
            raise ParameterError("adaptation", must_be="full or lora in pretraining", got=method)

    def identity(self) -> dict[str, Any]:
        """All that the course of pretraining depends on, JSON-ready."""
        told = asdict(self)
        del told["device"]
        own = {"masked": ("mask", "masked"), "contrastive": ("contrastive",)}
        for name in {"mask", "masked", "contrastive"} - set(own[self.objective]):
            del told[name]  # of the objective that is not taken
        return {**told, "training": self.training.identity()}
