"""Shared Vision Transformers and CLIP models behind one contract: `load_backbone(name)`."""
