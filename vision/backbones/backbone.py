"""The contract that every model keeps, for pictures and for brains alike.

Shape suffixes: B batch, C channels, H W pixels, N tokens, P prefix tokens (class, registers), D trunk width,
E joint embedding width, F feature width.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError
from vision.backbones.preprocess import Preprocess
from vision.backbones.spatial import SpatialLayout, TokenLayout
from vision.backbones.trunk import Around, Trunk


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from, as data: enough to build it again and to tell it from any other.

    Args:
        kind: "timm", "open_clip" or "embedded".
        architecture: JSON-ready description that the kind's builder understands.
        weights_sha256: of the weights' file, where it is known; None for weights made here.
        libraries: what changes the numbers besides the weights, e.g. ("timm-1",).
    """

    kind: str
    architecture: Mapping[str, Any]
    weights_sha256: str | None
    libraries: tuple[str, ...]


class Backbone(nn.Module, ABC):
    """A picture model with up to three ways in: pixels, sentences, tokens.

    Attributes:
        name: the name it was loaded by.
        embed_dim: width D of the trunk's tokens; where there is no trunk, the same as `output_dim`.
        output_dim: width E of `encode_image` and `encode_text`.
        feature_dim: width F of `image_features`.
        image_size: (height, width) in pixels that `preprocess` gives.
        patch_size: (height, width) of a patch in pixels; None without a trunk.
        num_heads: attention heads of the trunk; 0 without one.
        depth: blocks of the trunk; 0 without one.
        preprocess: PIL.Image -> pixels (C, H, W), float32; `preprocess.describe()` says what it does.
        has_text: whether `encode_text` works.
        has_tokens: whether `embed` and what belongs to it work.
        origin: what the model is made of.
    """

    has_text: bool = False

    def __init__(
        self, *, name: str, output_dim: int, feature_dim: int, preprocess: Preprocess, origin: Origin
    ) -> None:
        super().__init__()
        self.name = name
        self.output_dim = output_dim
        self.feature_dim = feature_dim
        self.preprocess = preprocess
        self.origin = origin
        self._trunk: Trunk | None = None
        self._loaded_state = 0
        self._digest: tuple[int, str] | None = None

    # --- what it is ---------------------------------------------------------------------------------------

    @property
    def has_tokens(self) -> bool:
        """Whether the model has a Transformer trunk that takes tokens."""
        return self._trunk is not None

    @property
    def embed_dim(self) -> int:
        """Width D of the trunk's tokens, or `output_dim` where there is no trunk."""
        return self._trunk.embed_dim if self._trunk is not None else self.output_dim

    @property
    def num_heads(self) -> int:
        """Attention heads of a block of the trunk, 0 without a trunk."""
        return self._trunk.num_heads if self._trunk is not None else 0

    @property
    def depth(self) -> int:
        """Blocks of the trunk, 0 without a trunk."""
        return len(self._trunk.blocks) if self._trunk is not None else 0

    @property
    def patch_size(self) -> tuple[int, int] | None:
        """(height, width) of a patch in pixels, None without a trunk."""
        return self._trunk.patch_size if self._trunk is not None else None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of what `preprocess` gives."""
        return self.preprocess.size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype

    @property
    def fingerprint(self) -> str:
        """Kind and 16 hexadecimal digits: equal for equal weights, architecture, preprocessing and libraries.

        Not in it: the name (a checkpoint may move), the device and the dtype (half precision moves a cosine
        by less than 0.001). Weights changed since loading, by training say, give another fingerprint; such
        weights, and those made here, are hashed as they are, type and all.
        """
        parts = [
            self.origin.kind,
            self.weights_digest(),
            _canonical(self.origin.architecture),
            self.preprocess.describe(),
            *self.origin.libraries,
        ]
        return f"{self.origin.kind}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:16]}"

    def mark_loaded(self) -> None:
        """Say that the weights are now those of `origin`; loaders call this last."""
        self._loaded_state = self._state()

    def _state(self) -> int:
        # Every in-place change of a tensor, an optimiser's step among them, raises its version counter.
        return sum(t._version for t in (*self.parameters(), *self.buffers()))

    def weights_digest(self) -> str:
        """SHA-256 that stands for the weights: of their file, or of the tensors if they changed since."""
        state = self._state()
        if self.origin.weights_sha256 is not None and state == self._loaded_state:
            return self.origin.weights_sha256
        if self._digest is None or self._digest[0] != state:
            self._digest = (state, state_sha256(self))
        return self._digest[1]

    # --- pixels and sentences -----------------------------------------------------------------------------

    @abstractmethod
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> pooled features (B, F) before any projection; fp32, no gradient, any length.

        Pictures of other sizes than `image_size` are fine (whole patches, where the model has patches).
        """

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels (B, C, H, W) -> unit vectors (B, E), fp32, no gradient."""
        with torch.no_grad():
            return self.image_vectors(pixels_BCHW)

    def image_vectors(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """`encode_image`, differentiable: pixels (B, C, H, W) -> unit vectors (B, E), fp32."""
        return self.pool(self.spatial(pixels_BCHW))

    @abstractmethod
    def spatial(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> the features that the tower pools, in `spatial_layout`; differentiable."""

    @abstractmethod
    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """What `spatial` gives -> unit vectors (B, E), fp32; differentiable.

        Tokens may be fewer or more than a picture's, as long as the prefix is there.
        """

    def evidence(self, features: torch.Tensor, target_E: torch.Tensor) -> torch.Tensor:
        """What `spatial` gives, unit vector (E,) -> how much speaks for it (B,), to take gradients of.

        It is the cosine, unless a model has something that says more about what the picture holds.
        """
        return self.pool(features) @ target_E

    @property
    def spatial_layout(self) -> SpatialLayout | None:
        """How the features of `spatial` lie over the picture; None where that cannot be told."""
        if self._trunk is None:
            return None
        (height, width), (patch_height, patch_width) = self.image_size, self._trunk.patch_size
        grid = (height // patch_height, width // patch_width)
        return TokenLayout(prefix=self._trunk.prefix.shape[1], grid=grid)

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E) in the space of `encode_image`, fp32, no gradient.

        Raises:
            ParameterError: the model has no text half.
        """
        raise ParameterError(
            "model",
            must_be="one with a text half",
            got=f"{self.name}, which knows pictures only",
            do="use a clip: model or embedded:lite",
        )

    # --- tokens -------------------------------------------------------------------------------------------

    def embed(
        self,
        tokens_BND: torch.Tensor,
        positions_BND: torch.Tensor | None = None,
        mask_BN: torch.Tensor | None = None,
        around: Around | None = None,
    ) -> torch.Tensor:
        """Tokens (B, N, D) -> tokens (B, N, D) through the Transformer trunk alone, differentiable.

        The trunk is the tower's pre-norm where it has one, its blocks, and its final norm. No class token is
        put in front and no position code is added but those that are given.

        Args:
            tokens_BND: embedded patches, with `prefix_1PD` in front if the pooling needs it.
            positions_BND: position codes, broadcastable to the tokens; added to them.
            mask_BN: bool, True for real tokens; nothing attends to the others, whose outputs mean nothing.
            around: runs each block in the caller's way (see `vision.backbones.trunk.Around`).

        Raises:
            ParameterError: no trunk, or shapes that do not fit.
        """
        trunk = self._require_trunk()
        if tokens_BND.ndim != 3 or tokens_BND.shape[-1] != trunk.embed_dim:
            raise ParameterError(
                "tokens", must_be=f"of shape (B, N, {trunk.embed_dim})", got=tuple(tokens_BND.shape)
            )
        if positions_BND is not None:
            tokens_BND = tokens_BND + positions_BND
        bias_B11N = None if mask_BN is None else attention_bias(mask_BN, tokens_BND)
        return trunk.run(tokens_BND, bias_B11N, around)

    @property
    def prefix_1PD(self) -> torch.Tensor:  # noqa: N802 (a shape suffix)
        """Class and register tokens (1, P, D) with the tower's own position codes; P may be 0."""
        return self._require_trunk().prefix

    @property
    def patch_kernel(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Picture patch embedding: weight (D, C, p, p), and bias (D,) or None."""
        return self._require_trunk().kernel

    def picture_positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """Position codes (1, rows * columns, D) of a grid of patches, resampled from the tower's own."""
        return self._require_trunk().picture_positions(grid)

    def _require_trunk(self) -> Trunk:
        if self._trunk is None:
            raise ParameterError(
                "model",
                must_be="one with a Transformer trunk that takes tokens",
                got=f"{self.name}, which takes pictures only",
                do="use a timm: or scratch: Vision Transformer or a clip: ViT",
            )
        return self._trunk

    def _as_input(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """The same pixels on the weights' device and in their type."""
        if pixels_BCHW.ndim != 4:
            raise ParameterError("pixels", must_be="of shape (B, C, H, W)", got=tuple(pixels_BCHW.shape))
        return pixels_BCHW.to(device=self.device, dtype=self.dtype)


def unit(vectors_BE: torch.Tensor) -> torch.Tensor:
    """Vectors (B, E) -> the same directions at length 1, fp32."""
    return F.normalize(vectors_BE.float(), dim=-1)


def state_sha256(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a module's tensors, in the order of their names."""
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def attention_bias(mask_BN: torch.Tensor, tokens_BND: torch.Tensor) -> torch.Tensor:
    """Mask (B, N), True = real -> what to add to the attention logits, (B, 1, 1, N)."""
    if mask_BN.dtype != torch.bool or mask_BN.shape != tokens_BND.shape[:2]:
        raise ParameterError(
            "mask",
            must_be=f"bool of shape {tuple(tokens_BND.shape[:2])}, True for real tokens",
            got=f"{mask_BN.dtype} of shape {tuple(mask_BN.shape)}",
        )
    # A sample that is all padding would divide 0 by 0; it attends to everything instead, to no one's harm.
    hidden_BN = ~(mask_BN | ~mask_BN.any(dim=1, keepdim=True))
    bias_BN = torch.zeros_like(hidden_BN, dtype=tokens_BND.dtype).masked_fill_(hidden_BN, float("-inf"))
    return bias_BN[:, None, None, :]


def _canonical(value: object) -> str:
    """The same text for the same data, whatever the order of its keys."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_canonical(v) for v in value) + "]"
    return repr(value)
