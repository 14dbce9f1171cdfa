"""The half of a backbone that sees pictures or takes tokens."""

from __future__ import annotations

from torch import nn

from vision.backbones.backbone import Backbone


def picture_tower(backbone: Backbone) -> nn.Module:
    """The half that sees pictures or takes tokens: all of a timm model, `visual` of an open_clip one."""
    model: nn.Module = backbone.get_submodule("model")
    tower = getattr(model, "visual", model)
    assert isinstance(tower, nn.Module)
    return tower
