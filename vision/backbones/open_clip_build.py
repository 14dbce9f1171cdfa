"""open_clip models by name: the right architecture, activation, weights and preprocessing, or an error."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint
from torch import nn

from data.errors import UnknownNameError, nearest
from vision.backbones import open_clip_data
from vision.backbones.backbone import Origin
from vision.backbones.open_clip_text import require_text_config
from vision.backbones.open_clip_tower import OpenClipBackbone
from vision.backbones.preprocess import Preprocess
from vision.backbones.weights import clip_files, fetch, unfit


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
        require_text_config(config["text_cfg"]["hf_model_name"])
        config["text_cfg"]["hf_model_pretrained"] = False
    kind = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    if "multimodal_cfg" in config:
        kind = open_clip.CoCa
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = kind(**config)
    return model
