"""One pass of a Vision Transformer with its attention written down: in the tower, and in its pooling.

Shape suffixes: C channels, H W pixels, T tokens (prefix, patches), D width, E joint space, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from data.errors import ParameterError
from vision.backbones import Backbone
from vision.backbones.spatial import TokenLayout
from vision.explain.attention import Attended, AttentionRecorder

# Gradients of a cosine are small, and half precision has no room below 6e-8; maps do not depend on the scale.
SCALE = 1024.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """What a pass left behind, all in one graph.

    Args:
        layout: how the tokens lie over the picture.
        tokens_1TD: before pooling.
        tower: attention layers among all tokens, in order.
        pooling: attention layers of the pooling, none where it only picks or averages.
        vector_E: of the picture, unit length, outside the graph.
        score: the model's `evidence` for the target (its cosine) times `SCALE`, what gradients are taken of.
    """

    layout: TokenLayout
    tokens_1TD: torch.Tensor
    tower: Sequence[Attended]
    pooling: Sequence[Attended]
    vector_E: torch.Tensor
    score: torch.Tensor

    def gradients(self, of: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
        """d score / d each of these, None for what it does not depend on; nothing is left in `.grad`."""
        return list(torch.autograd.grad(self.score, list(of), retain_graph=True, allow_unused=True))

    @property
    def reading(self) -> list[Attended]:
        """Layers of the pooling that attend to the patches; of two in a row the second does not."""
        rows, columns = self.layout.grid
        keys = (rows * columns, self.tokens_1TD.shape[1])
        return [layer for layer in self.pooling if layer.key_BHKD.shape[2] in keys]

    def patches(self, values: torch.Tensor) -> torch.Tensor:
        """Values of all tokens, or of the patches, along the first dimension -> those of the patches."""
        rows, columns = self.layout.grid
        return values[len(values) - rows * columns :]

    def on_grid(self, heat_T: torch.Tensor) -> torch.Tensor:
        """One value a token (T,), or one a patch -> those of the patches (R, C)."""
        return self.patches(heat_T).reshape(self.layout.grid)


def token_layout(backbone: Backbone) -> TokenLayout:
    """How a model's tokens lie over the picture.

    Raises:
        ParameterError: it has none.
    """
    layout = backbone.spatial_layout
    if not isinstance(layout, TokenLayout):
        raise ParameterError("model", must_be="a Vision Transformer", got=backbone.name)
    return layout


def record(backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor) -> Recording:
    """A pass over normalised pixels (1, C, H, W), with gradients.

    Raises:
        ParameterError: no Vision Transformer, or not all of its attention is among all tokens, by functions
            that are seen.
    """
    layout = token_layout(backbone)
    with AttentionRecorder() as tower:
        tokens_1TD = backbone.spatial(pixels_1CHW)
    tokens = tokens_1TD.shape[1]
    if not tower.layers or any(layer.weights_BHQK.shape[2:] != (tokens, tokens) for layer in tower.layers):
        raise ParameterError(
            "model",
            must_be="one whose attention can be recorded",
            got=f"{backbone.name}, which computes it in a way of its own",
            do="take patch-similarity",
        )
    with AttentionRecorder() as pooling:
        evidence = backbone.evidence(tokens_1TD, target_E)[0]
    with torch.no_grad():
        vector_E = backbone.pool(tokens_1TD)[0]
    return Recording(
        layout=layout,
        tokens_1TD=tokens_1TD,
        tower=tuple(tower.layers),
        pooling=tuple(pooling.layers),
        vector_E=vector_E,
        score=SCALE * evidence,
    )
