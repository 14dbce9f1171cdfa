"""How a trained run goes on with a new site, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from data.errors import ParameterError, UnknownNameError, nearest
from neuro.defaults import EWC_STRENGTH
from neuro.training.config import TrainingConfig

Strategy = Literal["naive", "replay", "ewc", "replay+ewc", "cumulative"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
IN_WORDS: dict[Strategy, str] = {
    "naive": "go on with the new site alone",
    "replay": "go on with the new site, old runs among its own",
    "ewc": "go on with the new site, held back where the old sites need the weights",
    "replay+ewc": "both",
    "cumulative": "train afresh on everybody, the upper bound",
}
OF_OLD_RUNS: tuple[Strategy, ...] = ("replay", "replay+ewc", "cumulative")
OF_IMPORTANCE: tuple[Strategy, ...] = ("ewc", "replay+ewc")
RATE = 0.3  # of the first training's: what is learned already is not to be learned again


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """How to go on.

    Attributes:
        training: of the update; of `cumulative` the parent's own stands instead.
        memory: old runs that are replayed, evenly of each site and label; None takes all that there are.
        share: of the clips of an epoch that are old ones, where runs are replayed.
        strength: of the pull back to the old weights; 1 is what Bayes' rule gives the old runs (see
            `neuro.continual.anchor`), and holds nearly nothing: a model that is sure of the runs that it was
            trained on has hardly any Fisher information there.
        seed: of all that is drawn.
    """

    training: TrainingConfig = field(default_factory=TrainingConfig)
    memory: int | None = None
    share: float = 0.5
    strength: float = EWC_STRENGTH
    seed: int = 0

    def __post_init__(self) -> None:
        _require("memory", self.memory is None or self.memory >= 2, "2 or more", self.memory)
        _require("share", 0 < self.share < 1, "above 0 and below 1", self.share)
        _require("strength", self.strength >= 0, "0 or more", self.strength)


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How much worse an old site may get before an update is refused.

    Attributes:
        auc: largest fall of the AUC.
        log_loss: largest rise of the log loss, in nats.
    """

    auc: float = 0.05
    log_loss: float = 0.1

    def __post_init__(self) -> None:
        _require("margin of the AUC", 0 <= self.auc < 1, "0 or more and below 1", self.auc)
        _require("margin of the log loss", self.log_loss >= 0, "0 or more", self.log_loss)


def training_of_update(parent: TrainingConfig | None) -> TrainingConfig:
    """The parent's training at a lower rate, to its end: nobody is held out to watch it.

    Watching people of the new site would choose the epoch that knows that site best, and forget the others.
    """
    parent = parent or TrainingConfig()
    slower = replace(parent.optimizer, learning_rate=RATE * parent.optimizer.learning_rate)
    return replace(parent, optimizer=slower, validation_share=0.0, patience=None)


def known(name: str) -> Strategy:
    """A strategy by its name.

    Raises:
        UnknownNameError: there is none of it.
    """
    for strategy in STRATEGIES:
        if strategy == name:
            return strategy
    choices = f"one of {', '.join(STRATEGIES)}"
    raise UnknownNameError("--strategy", must_be=choices, got=name, do=nearest(name, STRATEGIES))


def as_facts(config: UpdateConfig) -> dict[str, Any]:
    """JSON-ready."""
    return {**asdict(config), "training": config.training.identity()}


def _require(name: str, holds: bool, must_be: str, got: object) -> None:
    if not holds:
        raise ParameterError(name, must_be=must_be, got=got)
