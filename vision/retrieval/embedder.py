"""What picture search asks of a model: `vision.backbones.Backbone` has it, and so has any stand-in.

Shape legend: B batch, C channels, H W pixels, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from PIL import Image


class Embedder(Protocol):
    """A model with pictures and, where `has_text`, sentences in one space of `output_dim` components."""

    @property
    def name(self) -> str:
        """The name that `vision.backbones.load_backbone` knows it by."""

    @property
    def fingerprint(self) -> str:
        """Equal for models that give equal vectors."""

    @property
    def output_dim(self) -> int:
        """E, the length of a vector."""

    @property
    def has_text(self) -> bool:
        """Whether `encode_text` works."""

    @property
    def preprocess(self) -> Callable[[Image.Image], torch.Tensor]:
        """Picture -> pixels (C, H, W); called from several threads."""

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels -> unit vectors (B, E), fp32."""

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32."""
