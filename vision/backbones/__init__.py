"""Shared Vision Transformers and CLIP models behind one contract: `load_backbone(name)`."""

from vision.backbones.backbone import Backbone
from vision.backbones.catalog import KnownModel, known_models
from vision.backbones.checkpoint import save_backbone
from vision.backbones.patch_embed import PatchEmbedNd, inflate, patchify, unpatchify
from vision.backbones.preprocess import Preprocess
from vision.backbones.registry import load_backbone

__all__ = [
    "Backbone",
    "KnownModel",
    "PatchEmbedNd",
    "Preprocess",
    "inflate",
    "known_models",
    "load_backbone",
    "patchify",
    "save_backbone",
    "unpatchify",
]
