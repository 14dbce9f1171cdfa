"""What picture search asks of a model: `vision.backbones.Backbone` has it, and so has any stand-in.

Shape legend: B N batch, C channels, H W pixels, E components of the joint space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from vision.store.vector_store import Vectors

if TYPE_CHECKING:
    import torch

Pixels = npt.NDArray[np.uint8]

NOT_EMBEDDED = "a picture that the model cannot embed"  # said of one whose vector is not finite


class PicturePreprocess(Protocol):
    """What `vision.backbones.Preprocess` does; pickled, as it runs in processes of its own."""

    @property
    def resized_side(self) -> int:
        """The number of pixels that a picture's shorter side is scaled to, or more."""

    def pixels(self, picture_HWC: Pixels) -> Pixels:
        """RGB picture (H, W, 3) -> pixels (3, H, W), 8-bit."""

    def normalise(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """8-bit pixels (B, 3, H, W) -> what `encode_image` takes, on the same device."""


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
    def preprocess(self) -> PicturePreprocess:
        """From pictures to what `encode_image` takes."""

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels -> unit vectors (B, E), fp32."""

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32."""


def embed_pixels(embedder: Embedder, pixels_NCHW: Pixels) -> Vectors:
    """8-bit pixels (N, 3, H, W) -> unit vectors (N, E); they are normalised on the model's device.

    A model that is not on the CPU says so by an attribute `device`.
    """
    import torch

    pixels = torch.from_numpy(pixels_NCHW).to(getattr(embedder, "device", "cpu"))
    vectors_NE: Vectors = embedder.encode_image(embedder.preprocess.normalise(pixels)).cpu().numpy()
    return vectors_NE


def embed_texts(embedder: Embedder, sentences: Sequence[str]) -> Vectors:
    """Sentences -> unit vectors (N, E); models cut them into batches themselves."""
    vectors_NE: Vectors = embedder.encode_text(list(sentences)).cpu().numpy()
    return vectors_NE
