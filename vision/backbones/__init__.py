"""Shared Vision Transformers and CLIP models behind one contract: `load_backbone(name)`."""

from vision.backbones.backbone import Backbone
from vision.backbones.patch_embed import PatchEmbedNd, inflate, patchify, unpatchify
from vision.backbones.preprocess import Preprocess
from vision.backbones.registry import load_backbone

__all__ = ["Backbone", "PatchEmbedNd", "Preprocess", "inflate", "load_backbone", "patchify", "unpatchify"]
