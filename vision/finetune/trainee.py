"""What learns: two halves that give unit vectors, and the scale and bias of their cosines.

Shape suffixes: B batch, C channels, H W pixels, L token ids, E components of the joint space.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Self

import torch
from torch import nn

from data.errors import ParameterError
from vision.adapt import LoraOptions, add_lora, merge_lora
from vision.backbones.backbone import Backbone, unit

# What SigLIP begins with (Zhai et al. 2023, section 3): scale 10 and bias -10.
SIGLIP_LOG_SCALE, SIGLIP_BIAS = 2.302585092994046, -10.0
HALVES = {"both": ("image", "text"), "image": ("image",), "text": ("text",)}
LARGEST_LOG_SCALE = 4.605170185988092  # ln 100, as CLIP caps it (Radford et al. 2021, section 2.5)


class Trainee(nn.Module, ABC):
    """Two halves; what of them learns is what requires a gradient."""

    @property
    @abstractmethod
    def log_scale(self) -> nn.Parameter:
        """Logarithm of what cosines are multiplied with."""

    @property
    @abstractmethod
    def bias(self) -> nn.Parameter | None:
        """What is added to the multiplied cosines, or None."""

    @abstractmethod
    def embed_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """What a source gives for pictures -> unit vectors (B, E), fp32, differentiable."""

    @abstractmethod
    def embed_captions(self, captions: torch.Tensor) -> torch.Tensor:
        """What a source gives for captions -> unit vectors (B, E), fp32, differentiable."""

    @abstractmethod
    def settle(self) -> None:
        """Leave what was learned in the backbone, as a plain model of the architecture it had."""

    def learning(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def train(self, mode: bool = True) -> Self:
        """As ever, but batch normalisation keeps its statistics.

        Those of a fine-tuning batch are poor, and parts of a batch would each have their own.
        """
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        return self

    @torch.no_grad()
    def cap_scale(self) -> None:
        """Keep the scale from growing beyond 100, where training becomes unstable."""
        self.log_scale.clamp_(max=LARGEST_LOG_SCALE)


class TowerTrainee(Trainee):
    """Pixels (B, C, H, W) and token ids (B, L) through the towers themselves: full fine-tuning, and LoRA."""

    def __init__(
        self, backbone: Backbone, *, halves: str = "both", lora: LoraOptions | None = None, seed: int = 0
    ):
        super().__init__()
        self.model: Any = open_clip_model(backbone)
        self.has_updates = lora is not None
        self.model.requires_grad_(False)
        for half in HALVES[halves]:
            if lora is None:
                _train_half(self.model, half)
            else:
                add_lora(half_of(self.model, half), lora, seed=seed + (half == "text"))
        for parameter in (self.log_scale, self.bias):
            if parameter is not None:
                parameter.requires_grad_(True)

    @property
    def log_scale(self) -> nn.Parameter:
        """The model's own."""
        found: nn.Parameter = self.model.logit_scale
        return found

    @property
    def bias(self) -> nn.Parameter | None:
        """The model's own, where it has one."""
        found: nn.Parameter | None = self.model.logit_bias
        return found

    def embed_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> unit vectors (B, E)."""
        return unit(self.model.encode_image(pictures))

    def embed_captions(self, captions: torch.Tensor) -> torch.Tensor:
        """Token ids (B, L) -> unit vectors (B, E)."""
        return unit(self.model.encode_text(captions))

    def settle(self) -> None:
        """Merge LoRA's updates, where there are any."""
        if self.has_updates:
            merge_lora(self.model)
        self.model.requires_grad_(True)
        self.eval()


def open_clip_model(backbone: Backbone) -> nn.Module:
    """The two-tower model inside a backbone.

    Raises:
        ParameterError: the model has no two halves that can be trained and saved.
    """
    if backbone.origin.kind != "open_clip":
        got = "pictures only" if not backbone.has_text else "two halves that were never one model"
        raise ParameterError(
            "model to fine-tune",
            must_be="one with a picture and a text half, of open_clip's",
            got=f"{backbone.name}, which has {got}",
            do="take a clip: model (`vision models clip` lists them), or local:PATH of one",
        )
    return backbone.get_submodule("model")


def half_of(model: nn.Module, half: str) -> nn.Module:
    """The Transformer or tower of a half; open_clip's first kind of model keeps its text half in pieces."""
    names = ("visual",) if half == "image" else ("text", "transformer")
    found: nn.Module = next(getattr(model, name) for name in names if hasattr(model, name))
    return found


def _train_half(model: nn.Module, half: str) -> None:
    for name, parameter in model.named_parameters():
        if name.startswith("visual.") == (half == "image"):
            parameter.requires_grad_(True)


def give_bias(backbone: Backbone) -> None:
    """Give a model that was trained without one a bias for SigLIP's loss, kept when it is saved.

    Scale and bias begin as the paper has them; they say nothing about directions, so nothing else changes.
    """
    model: Any = open_clip_model(backbone)
    if model.logit_bias is not None:
        return
    with torch.no_grad():
        model.logit_scale.fill_(SIGLIP_LOG_SCALE)
    model.logit_bias = nn.Parameter(torch.full_like(model.logit_scale, SIGLIP_BIAS))
    architecture = dict(backbone.origin.architecture)
    architecture["model_cfg"] = {**architecture["model_cfg"], "init_logit_bias": SIGLIP_BIAS}
    backbone.origin = replace(backbone.origin, architecture=architecture)
