"""How a brain Transformer is trained, as data: one frozen dataclass for each concern."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from data.errors import ParameterError, UnknownNameError, nearest
from neuro.defaults import EPOCHS
from neuro.training.augment import AugmentConfig
from vision.adapt import LoraOptions
from vision.training.precision import PRECISIONS

Method = Literal["full", "lora", "linear", "attentive", "svm"]
FROZEN = ("linear", "attentive", "svm")  # methods that leave the encoder as it is
OF_STEPS = ("compile", "checkpointing", "micro_batch", "checkpoint_steps", "tensorboard")  # of the machine
WHOLE = ("auto", "fp32")  # precisions in which "svm", which is always in fp32, is not another


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its schedule: a linear warm-up, then half a cosine down to zero.

    Attributes:
        learning_rate: the highest.
        weight_decay: of matrices; gains, biases and codes do not decay.
        layer_decay: factor of the rate from one block to the one before it; 1 gives all the same.
        warmup: share of all steps in which the rate rises.
        clip_norm: largest norm of the gradient.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    warmup: float = 0.3
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "clip_norm"):
            _require(name, getattr(self, name) > 0, "positive", getattr(self, name))
        _require("weight_decay", self.weight_decay >= 0, "0 or more", self.weight_decay)
        _require("layer_decay", 0 < self.layer_decay <= 1, "above 0 and at most 1", self.layer_decay)
        _require("warmup", 0 <= self.warmup <= 1, "a share from 0 to 1", self.warmup)


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What of the model learns.

    Attributes:
        method: "full", all of it; "lora", low-rank updates of the blocks, the embeddings and the readout;
            "linear", a linear readout on the frozen encoder; "attentive", a readout that attends, on it;
            "svm", a linear support vector machine over all tokens of the frozen encoder, by place, found in
            one go: epochs, batches, clips and the optimizer do not count.
        lora: rank and scale of the updates.
        svm_c: what a run on the wrong side of its margin costs "svm"; 100 is nearly a hard margin.
    """

    method: Method = "full"
    lora: LoraOptions = field(default_factory=LoraOptions)
    svm_c: float = 100.0

    def __post_init__(self) -> None:
        _one_of("method", self.method, get_args(Method))
        _require("svm_c", 0 < self.svm_c < math.inf, "positive and finite", self.svm_c)


@dataclass(frozen=True, kw_only=True)
class MachineConfig:
    """How the work is done: but for `precision`, another choice gives the same result, to rounding.

    Attributes:
        precision: "auto" is bf16 on CUDA and fp32 elsewhere; weights stay fp32 throughout.
        compile: let torch.compile make one program of the model; worth it for long trainings.
        checkpointing: compute activations a second time instead of keeping them: memory for time.
        micro_batch: samples at a time within a step, of each process; None is all.
        deterministic: take only operations that give the same bits each time, where a GPU has others.
        checkpoint_steps: save every so many steps, beside each epoch.
        tensorboard: also log for TensorBoard (needs the extra `logs`).
    """

    precision: str = "auto"
    compile: bool = False
    checkpointing: bool = False
    micro_batch: int | None = None
    deterministic: bool = False
    checkpoint_steps: int | None = None
    tensorboard: bool = False

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        for name in ("micro_batch", "checkpoint_steps"):
            value = getattr(self, name)
            _require(name, value is None or value >= 1, "a positive integer", value)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train.

    Attributes:
        epochs: passes over the runs.
        batch_size: clips a step, of all processes together.
        clips: random clips of each run in a pass.
        mixup: alpha of the Beta distribution that shares are drawn from; 0 for none.
        ema: decay of a moving average of the weights, which is what is validated and kept; None for none.
        validation_share: share of the people held out to watch, grouped by person and stratified; 0 for none.
        patience: epochs without improvement after which it stops; None trains to the end. In either case
            the best weights are kept, where there is a validation.
        optimizer: AdamW and its schedule.
        augment: how clips are changed at random.
        adaptation: what learns.
        machine: how the work is done.
    """

    epochs: int = EPOCHS
    batch_size: int = 8
    clips: int = 1
    mixup: float = 0.0
    ema: float | None = None
    validation_share: float = 0.0
    patience: int | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    adaptation: Adaptation = field(default_factory=Adaptation)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "clips"):
            value = getattr(self, name)
            _require(name, isinstance(value, int) and value >= 1, "a positive integer", value)
        _require("mixup", self.mixup >= 0, "0 or more", self.mixup)
        _require("ema", self.ema is None or 0 <= self.ema < 1, "0 or more and below 1", self.ema)
        share = self.validation_share
        _require("validation_share", 0 <= share <= 0.5, "a share from 0 to 0.5", share)
        _require("patience", self.patience is None or self.patience >= 1, "1 or more", self.patience)
        if self.patience is not None and not share:
            raise ParameterError(
                "patience",
                must_be="left out without a validation",
                got=self.patience,
                do="give a validation_share",
            )
        if self.adaptation.method == "svm":
            self._require_nothing_stepped()

    def _require_nothing_stepped(self) -> None:
        asked = {
            "validation_share": self.validation_share or None,
            "mixup": self.mixup or None,
            "ema": self.ema,
            "augment": self.augment if self.augment != AugmentConfig() else None,
            "machine.precision": None if self.machine.precision in WHOLE else self.machine.precision,
            **{f"machine.{name}": getattr(self.machine, name) or None for name in OF_STEPS},
        }
        given = {name: value for name, value in asked.items() if value is not None}
        if given:
            raise ParameterError(
                " and ".join(given),
                must_be="left out for the method svm",
                got=", ".join(map(str, given.values())),
                do="it is found in one go, with no steps to watch or vary; or take the method linear",
            )

    def identity(self) -> dict[str, Any]:
        """All that the course of training depends on, JSON-ready."""
        told = asdict(self)
        told["machine"] = {"precision": self.machine.precision}
        return told


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        choices = f"one of {', '.join(known)}"
        raise UnknownNameError(name, must_be=choices, got=repr(value), do=nearest(str(value), known))


def _require(name: str, holds: bool, must_be: str, got: object) -> None:
    if not holds:
        raise ParameterError(name, must_be=must_be, got=got)
