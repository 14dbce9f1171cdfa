"""How brains are aligned with words, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from data.errors import ParameterError
from neuro.align.head import RANK
from neuro.align.objective import MOST_SCALE
from neuro.align.sentences import SentenceConfig
from neuro.defaults import FOLDS
from neuro.model import ModelConfig
from neuro.tokens import TokenSpec, TubeletSpec, spec_as_dict
from neuro.training.config import TrainingConfig

Loss = Literal["infonce", "siglip"]
METHODS = ("full", "linear")  # of the encoder: all of it learns, or none of it
TEXT = "embedded:lite"


@dataclass(frozen=True, kw_only=True)
class AlignConfig:
    """What is aligned with what, and how.

    Attributes:
        text: the model whose text half is taken as it is.
        sentences: which facts are told, in which words.
        loss: "infonce" or "siglip".
        rank: fields over the brain of the head.
        scale: what cosines are multiplied with at first.
        brief: share of the samples that are told the first fact alone; the others tell it with more or none.
        tokens: how runs are cut; with `init_from` as the encoder wants it.
        model: what the encoder is like; with `init_from` its own.
        training: how; its method is "full", or "linear" for a frozen encoder.
        init_from: folder of an encoder to begin with.
        folds: by person, stratified by label and site.
        seed: of folds and trainings.
        device: "auto" takes cuda, then mps, then cpu.
    """

    text: str = TEXT
    sentences: SentenceConfig = field(default_factory=SentenceConfig)
    loss: Loss = "infonce"
    rank: int = RANK
    scale: float = 20.0
    brief: float = 0.5
    tokens: TokenSpec = field(default_factory=TubeletSpec)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    init_from: str | None = None
    folds: int = FOLDS
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.loss not in get_args(Loss):
            raise ParameterError("loss", must_be=f"one of {', '.join(get_args(Loss))}", got=repr(self.loss))
        if self.rank < 1:
            raise ParameterError("rank", must_be="positive", got=self.rank)
        if not 0 < self.scale <= MOST_SCALE:
            raise ParameterError("scale", must_be=f"over 0 and at most {MOST_SCALE:g}", got=self.scale)
        if not 0 <= self.brief <= 1:
            raise ParameterError("brief", must_be="a share from 0 to 1", got=self.brief)
        method, mixup = self.training.adaptation.method, self.training.mixup
        if method not in METHODS:
            raise ParameterError("adaptation.method", must_be=f"one of {', '.join(METHODS)}", got=method)
        if mixup:
            raise ParameterError("mixup", must_be="0: half a person has no sentence", got=mixup)

    @property
    def is_frozen(self) -> bool:
        """Whether the encoder stays as it is."""
        return self.training.adaptation.method == "linear"

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, JSON-ready; where an encoder lies is told apart from it."""
        told = {
            name: getattr(self, name) for name in ("text", "loss", "rank", "scale", "brief", "folds", "seed")
        }
        return {
            **told,
            "sentences": asdict(self.sentences),
            "tokens": spec_as_dict(self.tokens),
            "model": asdict(self.model),
            "training": self.training.identity(),
            "init_from": self.init_from,
        }
