"""open_clip models as backbones: any architecture and tag, with the tag's own activation and preprocessing.

Shape suffixes: B batch, C channels, H W pixels, N tokens, P prefix tokens, D width, E joint width, F pooled.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

from data.errors import UnknownNameError, nearest
from vision.backbones import open_clip_data
from vision.backbones.backbone import Backbone, Origin, unit
from vision.backbones.preprocess import Preprocess
from vision.backbones.timm_vit import TimmTrunk
from vision.backbones.trunk import Trunk
from vision.backbones.weights import clip_files, fetch, unfit

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

    def run(self, tokens_BND: torch.Tensor, bias_B11N: torch.Tensor | None) -> torch.Tensor:
        """Tokens (B, N, D) -> (B, N, D): pre-norm if any, blocks, final norm if it precedes pooling."""
        tokens_BND = self.tower.ln_pre(tokens_BND)
        for block in self.tower.transformer.resblocks:
            tokens_BND = _run_block(block, tokens_BND, bias_B11N)
        if self.tower.attn_pool is None and not self.tower.final_ln_after_pool:
            tokens_BND = self.tower.ln_post(tokens_BND)
        return tokens_BND


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
        return self._features(pixels_BCHW).float()

    @torch.no_grad()
    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels (B, C, H, W) -> unit vectors (B, E), fp32, no gradient."""
        features_BF = self._features(pixels_BCHW)
        tower = self.model.visual
        if isinstance(tower, VisionTransformer):
            features_BF = features_BF if tower.proj is None else features_BF @ tower.proj
        elif isinstance(tower, TimmModel):
            features_BF = tower.head(features_BF)
        return unit(features_BF)

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
            self._tokenizer = _tokenizer(
                self.origin.architecture["model_cfg"]["text_cfg"], self._tokenizer_folder
            )
        return self._tokenizer

    def _features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        pixels_BCHW = self._as_input(pixels_BCHW)
        tower = self.model.visual
        features_BF: torch.Tensor
        if isinstance(tower, VisionTransformer) and self._trunk is not None:
            tokens_BND = self._trunk.picture_tokens(pixels_BCHW)
            features_BF = _pool(tower, tokens_BND)
        elif isinstance(tower, TimmModel) and self._trunk is not None:
            features_BF = tower.trunk.forward_head(self._trunk.picture_tokens(pixels_BCHW))
        else:
            features_BF = tower.trunk(pixels_BCHW) if isinstance(tower, TimmModel) else tower(pixels_BCHW)
        return features_BF


def build_open_clip(
    architecture: Mapping[str, Any],
    *,
    name: str,
    preprocess: Mapping[str, Any] | Preprocess,
    weights: Path | None,
    weights_sha256: str | None = None,
    tokenizer_folder: Path | None = None,
    seed: int = 0,
) -> OpenClipBackbone:
    """An open_clip model from its architecture and a file of weights.

    Args:
        architecture: {"model_cfg": as in open_clip's JSON files, "quick_gelu" as the weights want it}.
        name: what the backbone is called.
        preprocess: ours, or open_clip's keys (mean, std, interpolation, resize_mode, fill_color).
        weights: checkpoint in any layout that open_clip reads; None leaves seeded random ones, for a caller
            that loads its own.
        weights_sha256: of that file.
        tokenizer_folder: where a Hugging Face tokenizer was saved; from the hub otherwise.
        seed: of the initialisation.

    Raises:
        BadFileError: the weights do not fit the architecture.
        HubUnreachableError: the text tower's configuration has to come from the hub and cannot.
    """
    model: Any = _instantiate(architecture["model_cfg"], seed)
    if weights is not None:
        try:
            load_checkpoint(model, str(weights), strict=True, weights_only=True)
        except Exception as error:
            raise unfit(weights, f"weights of {name}", error) from error
    model.eval()
    if not isinstance(preprocess, Preprocess):
        preprocess = clip_preprocess(model.visual.image_size, preprocess)
    backbone = OpenClipBackbone(
        model,
        name=name,
        preprocess=preprocess,
        tokenizer_folder=tokenizer_folder,
        origin=Origin(
            kind="open_clip",
            architecture=copy.deepcopy(dict(architecture)),
            weights_sha256=weights_sha256,
            libraries=(f"open_clip-{open_clip.__version__.split('.')[0]}",),
        ),
    )
    backbone.mark_loaded()
    return backbone


def load_clip(rest: str) -> OpenClipBackbone:
    """Load what follows `clip:`, an architecture and a tag, with weights from the cache or the hub.

    Raises:
        UnknownNameError: open_clip knows no such architecture or no such tag of it.
        HubUnreachableError: neither in the cache nor to be had.
    """
    arch, tag = _arch_and_tag(rest)
    if tag is None:
        known = open_clip_data.tagged_names()
        raise UnknownNameError(
            "clip model", must_be="clip:ARCH/TAG", got=repr(f"clip:{rest}"), do=nearest(rest, known)
        )
    architecture, preprocess = describe_clip(rest)
    repo, filenames = clip_files(open_clip_data.tag_config(arch, tag))
    file = fetch(repo, filenames, wanted=f"weights of clip:{rest}")
    return build_open_clip(
        architecture,
        name=f"clip:{rest}",
        preprocess=preprocess,
        weights=file.path,
        weights_sha256=file.sha256,
    )


def describe_clip(model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Architecture and open_clip's preprocessing keys of "ARCH" or "ARCH/TAG".

    Where the tag states the activation that its weights were trained with (QuickGELU or GELU), that one is
    taken, whatever the architecture's own description says.

    Raises:
        UnknownNameError: open_clip knows no such architecture or no such tag of it.
    """
    arch, tag = _arch_and_tag(model)
    if arch not in open_clip_data.architecture_names():
        known = open_clip_data.architecture_names()
        raise UnknownNameError(
            "clip architecture", must_be="one that open_clip knows", got=repr(arch), do=nearest(arch, known)
        )
    config = open_clip_data.architecture(arch)
    stated = {} if tag is None else open_clip_data.tag_config(arch, tag)
    if tag is not None and not stated:
        known = tuple(name for name in open_clip_data.tagged_names() if name.startswith(f"{arch}/"))
        raise UnknownNameError(
            f"tag of {arch}", must_be="one with published weights", got=repr(tag), do=nearest(model, known)
        )
    config["quick_gelu"] = bool(stated.get("quick_gelu", config.get("quick_gelu", False)))
    return {"model_cfg": config}, stated


def _arch_and_tag(model: str) -> tuple[str, str | None]:
    arch, slash, tag = model.partition("/")
    return arch, tag if slash else None


def clip_preprocess(image_size: int | tuple[int, int], config: Mapping[str, Any]) -> Preprocess:
    """open_clip's preprocessing configuration of a tag, as ours."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    fill = config.get("fill_color") or 0
    return Preprocess(
        size=(size[0], size[1]),
        resize_to=(size[0], size[1]),
        resize_mode=config.get("resize_mode") or "shortest",
        interpolation=config.get("interpolation") or "bicubic",
        mean=tuple(config.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(config.get("std") or open_clip.OPENAI_DATASET_STD),
        fill=(fill, fill, fill),
    )


def _instantiate(model_cfg: Mapping[str, Any], seed: int) -> nn.Module:
    """The module that `open_clip.create_model` would make, with random weights and nothing downloaded."""
    config = copy.deepcopy(dict(model_cfg))
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in config["text_cfg"]:
        # The shape of such a text tower is itself a file of the hub: fail early and clearly without it.
        fetch(config["text_cfg"]["hf_model_name"], ["config.json"], wanted="the text tower's configuration")
        config["text_cfg"]["hf_model_pretrained"] = False
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    if "multimodal_cfg" in config:
        kind = open_clip.CoCa
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = kind(**config)
    return model


def _tokenizer(text_cfg: Mapping[str, Any], folder: Path | None) -> Any:
    options = dict(text_cfg.get("tokenizer_kwargs", {}))
    length = text_cfg.get("context_length", 77)
    source = text_cfg.get("hf_tokenizer_name")
    if not source:
        return open_clip.SimpleTokenizer(context_length=length, **options)
    if folder is None:
        fetch(source, ["tokenizer_config.json"], wanted="the text tower's tokenizer")
    return open_clip.tokenizer.HFTokenizer(
        str(folder or source),
        context_length=length,
        tokenizer_mode=text_cfg.get("tokenizer_mode"),
        **options,
    )


def _pool(tower: VisionTransformer, tokens_BND: torch.Tensor) -> torch.Tensor:
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
