"""Small models of every kind that can be adapted: backbones, and a brain's model that holds one."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vision.backbones import Backbone, PatchEmbedNd, load_backbone
from vision.backbones.open_clip_build import build_open_clip

VISION: dict[str, Any] = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def clip(vision: dict[str, Any]) -> Backbone:
    config = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": TEXT, "quick_gelu": False}
    return build_open_clip({"model_cfg": config}, name="clip:tiny", preprocess={}, weights=None, seed=1)


def scratch() -> Backbone:
    return load_backbone("scratch:vit_tiny_patch16_224/img_size=32,embed_dim=48,depth=2", device="cpu")


MODELS = {
    "open_clip": lambda: clip(VISION),
    "open_clip's own attention": lambda: clip(VISION | {"qk_norm": True, "scale_heads": True}),
    "timm tower": lambda: clip({"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160}),
    "timm": scratch,
}


class Brain(nn.Module):
    """Patches (B, N, 64) -> logits (B, 2), through a backbone between layers of its own."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        width = backbone.embed_dim
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.time_layers = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(1))
        self.backbone = backbone
        weight, bias = backbone.patch_kernel
        self.embed_signal = PatchEmbedNd.from_kernel(weight, bias, patch_size=(4, 4, 4), in_channels=1)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))

    def forward(self, patches_BNV: torch.Tensor) -> torch.Tensor:
        tokens_BND = self.embed_signal.embed_patches(patches_BNV)
        for layer in self.time_layers:
            tokens_BND = tokens_BND + layer(tokens_BND, tokens_BND, tokens_BND)[0]
        logits_B2: torch.Tensor = self.head(self.backbone.embed(tokens_BND).mean(1))
        return logits_B2


def disturb(parameters: list[nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
