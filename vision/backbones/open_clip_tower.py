"""open_clip models as backbones: any architecture and tag, with the tag's own activation and preprocessing.

Shape suffixes: B batch, C channels, H W pixels, N tokens, P prefix tokens, D width, E joint width, F pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

from vision.backbones.backbone import Backbone, Origin, unit
from vision.backbones.open_clip_text import build_tokenizer
from vision.backbones.preprocess import Preprocess
from vision.backbones.spatial import MapLayout, SpatialLayout, timm_layout
from vision.backbones.timm_vit import TimmTrunk
from vision.backbones.trunk import Block, Trunk

TEXT_BATCH = 256


class OpenClipTrunk(Trunk):
    """The trunk of open_clip's own `VisionTransformer`."""

    def __init__(self, tower: VisionTransformer):
        self.tower = tower
        self.embed_dim = tower.conv1.out_channels
        self.num_heads = tower.transformer.resblocks[0].attn.num_heads
        self.patch_size = tower.patch_size
        self.grid_size = tower.grid_size

    @property
    def kernel(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Patch embedding: weight (D, C, p, p), no bias."""
        return self.tower.conv1.weight, None

    @property
    def prefix(self) -> torch.Tensor:
        """The class token (1, 1, D) with its position code."""
        token_1D: torch.Tensor = self.tower.class_embedding + self.tower.positional_embedding[:1]
        return token_1D.unsqueeze(0)

    @property
    def positions(self) -> torch.Tensor:
        """Position codes (1, rows * columns, D)."""
        codes_ND: torch.Tensor = self.tower.positional_embedding[1:]
        return codes_ND.unsqueeze(0)

    @property
    def blocks(self) -> list[Block]:
        """The blocks, first to last."""
        return [partial(_run_block, block) for block in self.tower.transformer.resblocks]

    def enter(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """The norm before the blocks, if any."""
        normed_BND: torch.Tensor = self.tower.ln_pre(tokens_BND)
        return normed_BND

    def leave(self, tokens_BND: torch.Tensor) -> torch.Tensor:
        """The final norm, if it precedes pooling."""
        if self.tower.attn_pool is not None or self.tower.final_ln_after_pool:
            return tokens_BND
        normed_BND: torch.Tensor = self.tower.ln_post(tokens_BND)
        return normed_BND


def _run_block(block: Any, tokens_BND: torch.Tensor, bias_B11N: torch.Tensor | None) -> torch.Tensor:
    out_BND: torch.Tensor
    if bias_B11N is None or not isinstance(block, ResidualAttentionBlock):
        out_BND = block(tokens_BND, attn_mask=bias_B11N)
        return out_BND
    # The block's own mask would be one (N, N) matrix per head and sample; one row for all does.
    normed_BND = block.ln_1(tokens_BND)
    attended_BND = block.attn(
        normed_BND, normed_BND, normed_BND, need_weights=False, key_padding_mask=bias_B11N[:, 0, 0]
    )[0]
    out_BND = tokens_BND + block.ls_1(attended_BND)
    out_BND = out_BND + block.ls_2(block.mlp(block.ln_2(out_BND)))
    return out_BND


class OpenClipBackbone(Backbone):
    """A dual encoder; ViT towers, open_clip's own and timm's, take tokens too."""

    has_text = True

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        preprocess: Preprocess,
        origin: Origin,
        tokenizer_folder: Path | None = None,
    ):
        config = origin.architecture["model_cfg"]
        super().__init__(
            name=name,
            output_dim=int(config["embed_dim"]),
            feature_dim=_feature_dim(model.visual, int(config["embed_dim"])),
            preprocess=preprocess,
            origin=origin,
        )
        self.model = model
        self._tokenizer_folder = tokenizer_folder
        self._tokenizer: Any = None
        if type(model.visual) is VisionTransformer:
            self._trunk = OpenClipTrunk(model.visual)
        elif isinstance(model.visual, TimmModel) and TimmTrunk.supports(model.visual.trunk):
            self._trunk = TimmTrunk(model.visual.trunk)

    @torch.no_grad()
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> pooled features (B, F) before the projection, fp32, no gradient.

        Towers that are neither ViTs nor timm models (ResNets) pool and project in one; theirs are projected.
        """
        return self._pooled(self.spatial(pixels_BCHW)).float()

    def spatial(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> tokens or maps before pooling; differentiable."""
        pixels_BCHW = self._as_input(pixels_BCHW)
        tower = self.model.visual
        features: torch.Tensor
        if self._trunk is not None:
            features = self._trunk.picture_tokens(pixels_BCHW)
        elif isinstance(tower, TimmModel):
            features = tower.trunk.forward_features(pixels_BCHW)
        else:
            features = tower.stem(pixels_BCHW)
            for layer in (tower.layer1, tower.layer2, tower.layer3, tower.layer4):
                features = layer(features)
        return features

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Tokens or maps -> unit vectors (B, E), fp32; differentiable."""
        features_BF = self._pooled(features)
        tower = self.model.visual
        if isinstance(tower, VisionTransformer):
            features_BF = features_BF if tower.proj is None else features_BF @ tower.proj
        elif isinstance(tower, TimmModel):
            features_BF = tower.head(features_BF)
        return unit(features_BF)

    @property
    def spatial_layout(self) -> SpatialLayout | None:
        """How the features of `spatial` lie over the picture."""
        if self._trunk is not None:
            return super().spatial_layout
        tower = self.model.visual
        return timm_layout(tower.trunk) if isinstance(tower, TimmModel) else MapLayout()

    @torch.no_grad()
    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32, no gradient; longer ones are cut at the tower's length."""
        if not sentences:
            return torch.zeros(0, self.output_dim, device=self.device)
        ids_BL = self.tokenizer(list(sentences)).to(self.device)
        parts = [self.model.encode_text(part_BL) for part_BL in ids_BL.split(TEXT_BATCH)]
        return unit(torch.cat(parts))

    @property
    def tokenizer(self) -> Any:
        """open_clip's tokenizer for the text tower: sentences -> ids (B, L)."""
        if self._tokenizer is None:
            self._tokenizer = build_tokenizer(
                self.origin.architecture["model_cfg"]["text_cfg"], self._tokenizer_folder
            )
        return self._tokenizer

    def _pooled(self, features: torch.Tensor) -> torch.Tensor:
        """What `spatial` gives -> features (B, F) before the projection."""
        tower = self.model.visual
        features_BF: torch.Tensor
        if isinstance(tower, VisionTransformer):
            features_BF = _pool_tokens(tower, features)
        elif isinstance(tower, TimmModel):
            features_BF = tower.trunk.forward_head(features)
        else:
            features_BF = tower.attnpool(features)
        return features_BF


def _pool_tokens(tower: VisionTransformer, tokens_BND: torch.Tensor) -> torch.Tensor:
    """What `VisionTransformer._pool` does after the final norm, which the trunk has already applied."""
    pooled_BF: torch.Tensor
    if tower.attn_pool is not None or tower.final_ln_after_pool:
        pooled_BF = tower._pool(tokens_BND)[0]
    else:
        pooled_BF = tower._global_pool(tokens_BND)[0]
    return pooled_BF


def _feature_dim(tower: Any, output_dim: int) -> int:
    if isinstance(tower, VisionTransformer):
        return int(tower.ln_post.normalized_shape[0])
    if isinstance(tower, TimmModel):
        # Without a head here the model's own classifier is the projection, and features come out of it.
        return int(tower.trunk.num_features) if len(tower.head) else output_dim
    return output_dim
