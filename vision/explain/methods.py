"""The ways of explaining, by name, and which of them a model has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vision.backbones import Backbone
from vision.backbones.spatial import MapLayout, TokenLayout
from vision.explain.attention_attribution import attention_attribution
from vision.explain.attention_gradient import attention_gradient
from vision.explain.grad_cam import grad_cam
from vision.explain.grad_eclip import grad_eclip
from vision.explain.patch_similarity import patch_similarity

# (model, normalised pixels (1, C, H, W), unit target (E,)) -> heat (R, C) >= 0, the picture's vector (E,)
Heat = Callable[[Backbone, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of explaining, what it is in a few words, and the features that it needs."""

    heat: Heat
    about: str
    layout: type[TokenLayout] | type[MapLayout]


# Best first, by the pointing game of benchmarks/pointing.py.
METHODS: dict[str, Method] = {
    "attention-attribution": Method(
        heat=attention_attribution,
        about="attention that is paid to each patch, times its gradient (Hao et al. 2021)",
        layout=TokenLayout,
    ),
    "grad-eclip": Method(
        heat=grad_eclip,
        about="values that the last attention reads, by their gradient (Zhao et al. 2024)",
        layout=TokenLayout,
    ),
    "attention-gradient": Method(
        heat=attention_gradient,
        about="attention through all layers, by its gradient (Chefer et al. 2021)",
        layout=TokenLayout,
    ),
    "patch-similarity": Method(
        heat=patch_similarity, about="cosine of each patch alone, for comparison", layout=TokenLayout
    ),
    "grad-cam": Method(
        heat=grad_cam,
        about="last maps of a convolutional tower, by their gradient (Selvaraju et al. 2017)",
        layout=MapLayout,
    ),
}


def methods_for(backbone: Backbone) -> tuple[str, ...]:
    """Names of the methods that this model has, best first; none where its features have no places."""
    layout = getattr(backbone, "spatial_layout", None)  # stand-ins for a model have none
    return tuple(name for name, method in METHODS.items() if isinstance(layout, method.layout))
