"""Grad-CAM: the last maps of a convolutional tower, each by how much it helps the match.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
2017, arXiv 1610.02391.

Shape suffixes: C channels, H W pixels, F maps, R rows, C columns, E joint space.
"""

from __future__ import annotations

import torch

from data.errors import ParameterError
from vision.backbones import Backbone
from vision.backbones.spatial import MapLayout
from vision.explain.recording import SCALE


def grad_cam(
    backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pixels (1, C, H, W), unit target (E,) -> heat (R, C) >= 0, and the picture's vector (E,).

    ReLU(sum over maps of a_f * A_f): A the last maps before pooling, a_f the mean over places of the gradient
    of the model's `evidence` with respect to A_f (their equations 1 and 2).

    Raises:
        ParameterError: the model has no maps.
    """
    layout = backbone.spatial_layout
    if not isinstance(layout, MapLayout):
        raise ParameterError("model", must_be="a convolutional one", got=backbone.name)
    with torch.no_grad():
        features = backbone.spatial(pixels_1CHW)
        vector_E = backbone.pool(features)[0]
    features = features.detach().requires_grad_()
    score = SCALE * backbone.evidence(features, target_E)[0]
    (gradient,) = torch.autograd.grad(score, features)
    maps_1FRC = layout.channels_first(features.detach()).float()
    weights_1F11 = layout.channels_first(gradient).float().mean(dim=(2, 3), keepdim=True)
    return (weights_1F11 * maps_1FRC).sum(dim=1)[0].relu(), vector_E
