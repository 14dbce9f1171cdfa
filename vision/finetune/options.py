"""What a fine-tuning is told: what changes its result, and what only changes how it gets there."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from data.errors import ParameterError, UnknownNameError, nearest
from vision.adapt import LoraOptions
from vision.training.precision import PRECISIONS

METHODS = ("probe", "lora", "full")
LOSSES = ("clip", "siglip")
HALVES = ("both", "image", "text")
WATCHED = ("loss", "recall")
LEARNING_RATES = {"probe": 1e-3, "lora": 1e-4, "full": 1e-5}


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """What is trained, on what, and when it ends.

    Attributes:
        method: "probe", a linear map on each frozen half; "lora", low-rank updates of its blocks; "full".
        loss: "clip" or "siglip".
        halves: which of the two learn: "both", "image" or "text".
        epochs: most passes over the pairs.
        batch_size: pairs that are contrasted with one another; batches of a pass are equal to within one.
        lr: highest learning rate; None is the method's own (`LEARNING_RATES`).
        weight_decay: of AdamW, on matrices; a probe decays towards the map that changes nothing.
        warmup: share of all steps in which the rate rises; then it falls as a cosine, to zero.
        clip_norm: largest norm of the gradient.
        crop: least share of a picture that a random crop keeps in training; 1 crops nothing.
        val_share: share of pictures kept for validation, where no pairs are given for it; 0 for none.
        patience: epochs without improvement after which it stops; None never stops early.
        watch: what must improve on validation: "loss", or "recall" (R@1, mean of both directions).
        precision: "auto" is bf16 on CUDA and fp32 elsewhere; weights stay fp32 throughout.
        wise_ft: share of the way from the old weights to the new that is gone; "auto" chooses on validation.
        lora: rank and scale of the updates.
        seed: of the split, the order, the crops, dropout and the updates' beginning.
    """

    method: str = "lora"
    loss: str = "clip"
    halves: str = "both"
    epochs: int = 10
    batch_size: int = 64
    lr: float | None = None
    weight_decay: float = 0.1
    warmup: float = 0.1
    clip_norm: float = 1.0
    crop: float = 1.0
    val_share: float = 0.1
    patience: int | None = 3
    watch: str = "loss"
    precision: str = "auto"
    wise_ft: float | Literal["auto"] = 0.5
    lora: LoraOptions = field(default_factory=LoraOptions)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("method", METHODS),
            ("loss", LOSSES),
            ("halves", HALVES),
            ("watch", WATCHED),
            ("precision", PRECISIONS),
        ):
            _one_of(name, getattr(self, name), known)
        _require("epochs", self.epochs >= 1, "a positive integer", self.epochs)
        _require("batch_size", self.batch_size >= 2, "2 or more", self.batch_size)
        _require("lr", self.lr is None or 0 < self.lr < math.inf, "positive", self.lr)
        _require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more", self.weight_decay)
        _require("warmup", 0 <= self.warmup <= 1, "a share from 0 to 1", self.warmup)
        _require("clip_norm", self.clip_norm > 0, "positive", self.clip_norm)
        _require("crop", 0 < self.crop <= 1, "a share above 0, up to 1", self.crop)
        _require("val_share", 0 <= self.val_share < 1, "a share from 0 to below 1", self.val_share)
        _require("patience", self.patience is None or self.patience >= 1, "1 or more", self.patience)
        _require("wise_ft", _is_share(self.wise_ft), 'a share from 0 to 1, or "auto"', self.wise_ft)
        if self.method == "probe" and self.crop < 1:
            raise ParameterError(
                "crop", must_be="1 for a probe, which embeds each picture once", got=self.crop, do="take lora"
            )

    @property
    def peak(self) -> float:
        """The highest learning rate."""
        return self.lr if self.lr is not None else LEARNING_RATES[self.method]

    def identity(self) -> dict[str, Any]:
        """All that the course of training depends on, JSON-ready (`wise_ft` comes after it)."""
        told = asdict(self) | {"lr": self.peak}
        del told["wise_ft"]
        return told


@dataclass(frozen=True, kw_only=True)
class Machine:
    """How the work is done: another choice gives the same result, to rounding.

    Attributes:
        micro_batch: pairs embedded at a time; None is the whole batch. The contrast is the whole batch's
            in any case, at the cost of embedding twice.
        workers: threads that decode pictures.
        checkpoint_steps: also keep a checkpoint every so many steps, beside that of each epoch.
        skip_bad: leave out pictures that cannot be read, instead of stopping before training.
    """

    micro_batch: int | None = None
    workers: int = 4
    checkpoint_steps: int | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        for name in ("micro_batch", "workers", "checkpoint_steps"):
            value = getattr(self, name)
            _require(name, value is None or value >= 1, "a positive integer", value)


def _is_share(value: object) -> bool:
    return value == "auto" or (isinstance(value, int | float) and 0 <= value <= 1)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        choices = f"one of {', '.join(known)}"
        raise UnknownNameError(name, must_be=choices, got=repr(value), do=nearest(value, known))


def _require(name: str, holds: bool, must_be: str, got: object) -> None:
    if not holds:
        raise ParameterError(name, must_be=must_be, got=got)
