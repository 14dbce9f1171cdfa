"""A linear map on each frozen half, folded into the model's own projection when it has learned.

A projection ends in a linear map, and scaling to length 1 does not mind a factor: so unit(unit(x P) M) is
unit(x (P M)), and the model with P M in place of P gives to rounding what the probe gave.

Shape suffixes: B batch, E components of the joint space, I inputs of a projection, P pictures, T captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from data.errors import ParameterError
from vision.backbones.backbone import Backbone, unit
from vision.finetune.source import FileSource, Progress, VectorSource
from vision.finetune.trainee import HALVES, Trainee, half_of, open_clip_model
from vision.training.ahead import ahead


class ProbeTrainee(Trainee):
    """Unit vectors (B, E) of the frozen halves -> mapped unit vectors (B, E).

    A map is the identity and what is learned beside it, so that weight decay draws it towards no change.
    """

    def __init__(self, backbone: Backbone, *, halves: str = "both"):
        super().__init__()
        model: Any = open_clip_model(backbone)
        self.logit_scale = nn.Parameter(model.logit_scale.detach().clone())
        self.logit_bias = (
            None if model.logit_bias is None else nn.Parameter(model.logit_bias.detach().clone())
        )
        self._originals = {"logit_scale": model.logit_scale, "logit_bias": model.logit_bias}
        found = {half: find_projection(model, half) for half in HALVES[halves]}
        self._projections = {half: projection for half, projection in found.items() if projection is not None}
        if not self._projections:
            raise ParameterError(
                "model",
                must_be=f"one whose {halves} half ends in a linear projection, for a probe",
                got=backbone.name,
                do="take lora",
            )
        size = (backbone.output_dim, backbone.output_dim)
        self.maps = nn.ParameterDict(
            {half: nn.Parameter(model.logit_scale.new_zeros(size)) for half in self._projections}
        )

    @property
    def log_scale(self) -> nn.Parameter:
        """Begins as the model's own."""
        return self.logit_scale

    @property
    def bias(self) -> nn.Parameter | None:
        """Begins as the model's own."""
        return self.logit_bias

    def embed_pictures(self, pictures: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, E) -> mapped (B, E)."""
        return self._mapped("image", pictures)

    def embed_captions(self, captions: torch.Tensor) -> torch.Tensor:
        """Unit vectors (B, E) -> mapped (B, E)."""
        return self._mapped("text", captions)

    def _mapped(self, half: str, vectors_BE: torch.Tensor) -> torch.Tensor:
        if half not in self.maps:
            return vectors_BE
        return unit(vectors_BE + vectors_BE @ self.maps[half])

    @torch.no_grad()
    def settle(self) -> None:
        """Fold the maps into the projections; the probe itself becomes the identity again."""
        for half, projection in self._projections.items():
            projection.fold(self.maps[half])
            self.maps[half].zero_()
        for name, original in self._originals.items():
            if original is not None:
                original.copy_(getattr(self, name))


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """The last linear map of a half: a plain matrix (I, E), or a layer's weight (E, I) and bias (E,)."""

    weight: nn.Parameter
    bias: nn.Parameter | None = None
    is_layer: bool

    @torch.no_grad()
    def fold(self, learned_EE: torch.Tensor) -> None:
        """Follow the projection by the map v -> v + v @ learned."""
        rows = self.weight.T if self.is_layer else self.weight
        folded = rows + rows @ learned_EE
        self.weight.copy_(folded.T if self.is_layer else folded)
        if self.bias is not None:
            self.bias.copy_(self.bias + self.bias @ learned_EE)


def find_projection(model: nn.Module, half: str) -> Projection | None:
    """The projection that a half ends in; None where it ends in something else (attention pooling, say)."""
    in_pieces = half == "text" and not hasattr(model, "text")
    owner: Any = model if in_pieces else half_of(model, half)
    for name in (
        ("text_projection",) if in_pieces else ("proj", "text_projection", "head", "attnpool", "trunk")
    ):
        found: Any = getattr(owner, name, None)
        if isinstance(found, nn.Parameter):
            return Projection(weight=found, is_layer=False)
        if name == "trunk" and hasattr(found, "get_classifier"):
            found = found.get_classifier()  # timm's own classifier, where a tower projects by it
        if isinstance(found, nn.Module) and any(True for _ in found.parameters()):
            return _last_layer(found)
    return None


def _last_layer(module: nn.Module) -> Projection | None:
    """The linear layer that a head ends in: the head itself, or the last module that holds weights in it."""
    holders = [m for m in module.modules() if any(True for _ in m.parameters(recurse=False))]
    if not holders or not isinstance(holders[-1], nn.Linear):
        return None
    layer: Any = holders[-1]
    return Projection(weight=layer.weight, bias=layer.bias, is_layer=True)


@torch.no_grad()
def embed_frozen(
    backbone: Backbone, source: FileSource, *, batch_size: int, progress: Progress
) -> VectorSource:
    """Embed each picture and each caption of a table once."""
    pictures, captions = range(len(source.table.pictures)), range(len(source.table.captions))
    parts, done = [], 0
    for pixels_BCHW in ahead(
        source.pictures(rows) for rows in torch.split(torch.tensor(pictures), batch_size)
    ):
        parts.append(backbone.encode_image(pixels_BCHW))
        done += len(pixels_BCHW)
        progress("Embedding pictures", done, len(pictures))
    text_TE = backbone.encode_text([source.table.captions[number] for number in captions])
    return VectorSource(image_PE=torch.cat(parts), text_TE=text_TE)
