"""timm's Vision Transformers as backbones: pretrained by name, or random on purpose.

Shape suffixes: B batch, C channels, H W pixels, N tokens, P prefix tokens, D width (= E = F here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from data.errors import ParameterError, UnknownNameError, nearest
from vision.backbones.backbone import Backbone, Origin, unit
from vision.backbones.preprocess import Preprocess
from vision.backbones.spatial import SpatialLayout, timm_layout
from vision.backbones.trunk import Block, Trunk
from vision.backbones.weights import fetch, timm_files, unfit


class TimmTrunk(Trunk):
    """The trunk of a timm `VisionTransformer`; `supports` says whether a model has one."""

    def __init__(self, model: VisionTransformer):
        self.model = model
        self.embed_dim = model.embed_dim
        self.patch_size = model.patch_embed.patch_size
        self.grid_size = model.patch_embed.grid_size
        attention = next(m for m in model.blocks[0].modules() if hasattr(m, "num_heads"))
        self.num_heads = attention.num_heads

    @staticmethod
    def supports(model: nn.Module) -> bool:
        """Whether a model is a plain ViT: no rotary codes, no convolutional stem, no norm in the stem."""
        stem: Any = getattr(model, "patch_embed", None)
        return (
            type(model) is VisionTransformer
            and type(stem) is PatchEmbed
            and isinstance(stem.norm, nn.Identity)
            and not stem.dynamic_img_pad
        )

    @property
    def kernel(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Patch embedding: weight (D, C, p, p) and bias (D,) or None."""
        proj = self.model.patch_embed.proj
        weight_DCpp: torch.Tensor = proj.weight
        return weight_DCpp, proj.bias

    @property
    def prefix(self) -> torch.Tensor:
        """Class and register tokens (1, P, D), with position codes where the model gives them some."""
        model = self.model
        tokens = [t for t in (model.cls_token, model.reg_token) if t is not None]
        if not tokens:
            return self.kernel[0].new_zeros(1, 0, self.embed_dim)
        prefix_1PD: torch.Tensor = torch.cat(tokens, dim=1)
        if model.pos_embed is None or model.no_embed_class:
            return prefix_1PD
        codes_1PD: torch.Tensor = model.pos_embed[:, : model.num_prefix_tokens]
        return prefix_1PD + codes_1PD

    @property
    def positions(self) -> torch.Tensor:
        """Position codes (1, rows * columns, D), zeros where the model has none."""
        model = self.model
        if model.pos_embed is None:
            return self.kernel[0].new_zeros(1, math.prod(self.grid_size), self.embed_dim)
        codes: torch.Tensor = (
            model.pos_embed if model.no_embed_class else model.pos_embed[:, model.num_prefix_tokens :]
        )
        return codes

    @property
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return [partial(_run_block, block) for block in self.model.blocks]

    def enter(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """The norm before the blocks, if any."""
        normed_BND: torch.Tensor = self.model.norm_pre(tokens_BND)
        return normed_BND

    def leave(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """The final norm."""
        normed_BND: torch.Tensor = self.model.norm(tokens_BND)
        return normed_BND


def _run_block(block: Any, tokens_BND: torch.Tensor, bias_B11N: torch.Tensor | None) -> torch.Tensor:
    out_BND: torch.Tensor = block(tokens_BND, attn_mask=bias_B11N)
    return out_BND


class TimmBackbone(Backbone):
    """A timm model without its classifier; plain ViTs take tokens too, all others pictures only."""

    def __init__(self, model: Any, *, name: str, preprocess: Preprocess, origin: Origin):
        width = int(model.num_features)
        super().__init__(name=name, output_dim=width, feature_dim=width, preprocess=preprocess, origin=origin)
        self.model = model
        if TimmTrunk.supports(model):
            self._trunk = TimmTrunk(model)

    @torch.no_grad()
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> the model's pooled features (B, D), fp32, no gradient."""
        features_BD: torch.Tensor = self.model.forward_head(self.spatial(pixels_BCHW), pre_logits=True)
        return features_BD.float()

    def spatial(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> tokens or maps before pooling; differentiable."""
        pixels_BCHW = self._as_input(pixels_BCHW)
        if self._trunk is not None:
            return self._trunk.picture_tokens(pixels_BCHW)
        features: torch.Tensor = self.model.forward_features(pixels_BCHW)
        return features

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens or maps -> unit vectors (B, D), fp32; differentiable."""
        return unit(self.model.forward_head(features, pre_logits=True))

    @property
    def spatial_layout(self) -> SpatialLayout | None:
        """How the features of `spatial` lie over the picture."""
        return timm_layout(self.model) if self._trunk is None else super().spatial_layout


def build_timm(
    architecture: Mapping[str, Any],
    *,
    name: str,
    seed: int = 0,
    weights: Path | None = None,
    weights_sha256: str | None = None,
    preprocess: Preprocess | None = None,
) -> TimmBackbone:
    """A timm model from its architecture: with the weights of a file, or seeded random ones without.

    Args:
        architecture: {"arch": timm's name, with or without a tag, "args": keyword arguments for it}.
        name: what the backbone is called.
        seed: of the random initialisation.
        weights: checkpoint in any layout that timm reads for that architecture.
        weights_sha256: of that file.
        preprocess: what travels with the weights; timm's own for that architecture by default.

    Raises:
        UnknownNameError: timm has no such architecture.
        ParameterError: the architecture does not take these arguments.
        BadFileError: the weights do not fit the architecture.
    """
    arch, args = architecture["arch"], dict(architecture.get("args", {}))
    if not timm.is_model(arch):
        known = timm.list_models()
        raise UnknownNameError(
            "timm architecture", must_be="one that timm knows", got=repr(arch), do=nearest(arch, known)
        )
    model: Any = _create(arch, args, seed=seed, weights=weights)
    model.eval()
    backbone = TimmBackbone(
        model,
        name=name,
        preprocess=preprocess or timm_preprocess(model),
        origin=Origin(
            kind="timm",
            architecture={"arch": arch, "args": args},
            weights_sha256=weights_sha256,
            libraries=(f"timm-{timm.__version__.split('.')[0]}",),
        ),
    )
    backbone.mark_loaded()
    return backbone


def load_timm(rest: str) -> TimmBackbone:
    """Load what follows `timm:`, a model name with or without a tag, with weights from the cache or the hub.

    Raises:
        UnknownNameError: timm has no such model, or no weights for it.
        HubUnreachableError: neither in the cache nor to be had.
    """
    config = _pretrained_config(rest)
    if not config.hf_hub_id:
        raise ParameterError(
            f"timm:{rest}",
            must_be="on the hub",
            got=f"a download at {config.url}",
            do=f"fetch that file and load local:FILE?arch=timm:{rest}",
        )
    repo, filenames = timm_files(config)
    file = fetch(repo, filenames, wanted=f"weights of timm:{rest}")
    full_name = f"{config.architecture}.{config.tag}" if config.tag else rest
    return build_timm(
        {"arch": full_name, "args": {}}, name=f"timm:{rest}", weights=file.path, weights_sha256=file.sha256
    )


def _pretrained_config(name: str) -> Any:
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    except RuntimeError:  # a known architecture with a tag that it does not have
        config = None
    if config is None or not config.has_weights:
        known = timm.list_pretrained()
        raise UnknownNameError(
            "timm model", must_be="one with published weights", got=repr(name), do=nearest(name, known)
        )
    return config


def timm_preprocess(model: nn.Module) -> Preprocess:
    """The evaluation transform that timm states for a model, at the picture size that it was built for."""
    built_for = getattr(getattr(model, "patch_embed", None), "img_size", None)
    cfg = timm.data.resolve_data_config({"input_size": (3, *built_for)} if built_for else {}, model=model)
    height, width = cfg["input_size"][1:]
    mode = {"squash": "squash", "border": "longest"}.get(cfg["crop_mode"], "shortest")
    return Preprocess(
        size=(height, width),
        resize_to=(math.floor(height / cfg["crop_pct"]), math.floor(width / cfg["crop_pct"])),
        resize_mode=mode,
        interpolation=cfg["interpolation"],
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
        fill=tuple(round(255 * m) for m in cfg["mean"]) if mode == "longest" else (0, 0, 0),
    )


def _create(arch: str, args: dict[str, Any], *, seed: int, weights: Path | None) -> nn.Module:
    # Weights are loaded with the classifier they came with: timm checks nothing when it is left out.
    headless = {"num_classes": 0} if weights is None else {}
    overlay = {"file": str(weights), "custom_load": weights.suffix == ".npz"} if weights else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: Any = timm.create_model(
                arch, pretrained=weights is not None, pretrained_cfg_overlay=overlay, **headless, **args
            )
        except Exception as error:
            if weights is not None:
                raise unfit(weights, f"weights of {arch}", error) from error
            if not isinstance(error, TypeError | AssertionError | ValueError):
                raise
            raise ParameterError(
                f"architecture {arch}", must_be="given arguments it takes", got=f"{args} ({error})"
            ) from error
    if weights is not None:
        model.reset_classifier(0)
    created: nn.Module = model
    return created
