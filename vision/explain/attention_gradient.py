"""Attention rolled out through all layers, each weight by how much it helps the cosine.

Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, arXiv 2103.15679.

Shape suffixes: B batch, H heads, Q queries, K keys, T tokens, D width, E joint space, R rows, C columns.
"""

from __future__ import annotations

import torch

from vision.backbones import Backbone
from vision.explain.attention import Attended
from vision.explain.recording import Recording, record


def attention_gradient(
    backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pixels (1, C, H, W), unit target (E,) -> heat (R, C) >= 0, and the picture's vector (E,).

    With A a layer's attention and g the gradient of the cosine with respect to it, B = mean over heads of
    ReLU(g * A) (their equation 5), and R <- R + B R from R = I (equation 6). The heat is the class token's
    row of R. Where the pooling attends, it is the pooling's own B times R. Where patches are averaged, it is
    the mean of their rows without what each is to itself.

    Raises:
        ParameterError: no Vision Transformer, or its attention cannot be recorded.
    """
    passed = record(backbone, pixels_1CHW, target_E)
    layers = (*passed.tower, *passed.pooling)
    gradients = passed.gradients([passed.tokens_1TD, *(layer.weights_BHQK for layer in layers)])
    found = [helped(layer, gradient) for layer, gradient in zip(layers, gradients[1:], strict=True)]
    tower, pooling = (
        [helped_BQK[0] for helped_BQK in part if helped_BQK is not None]
        for part in (found[: len(passed.tower)], found[len(passed.tower) :])
    )
    relevance_TT = rolled_out(tower)
    heat_T = _pooled(relevance_TT, pooling) if pooling else _read(passed, relevance_TT, gradients[0])
    return passed.on_grid(heat_T), passed.vector_E


def rolled_out(layers: list[torch.Tensor]) -> torch.Tensor:
    """B (T, T) of each layer, first to last -> R (T, T): R <- R + B R, from the identity."""
    relevance_TT = torch.eye(layers[0].shape[0], device=layers[0].device)
    for helped_TT in layers:
        relevance_TT = relevance_TT + helped_TT @ relevance_TT
    return relevance_TT


def helped(layer: Attended, gradient_BHQK: torch.Tensor | None) -> torch.Tensor | None:
    """Mean over heads of ReLU(gradient * attention) (B, Q, K); None where the score does not use a layer."""
    if gradient_BHQK is None:
        return None
    return (gradient_BHQK.float() * layer.weights_BHQK.detach().float()).relu().mean(dim=1)


def _pooled(relevance_TT: torch.Tensor, pooling: list[torch.Tensor]) -> torch.Tensor:
    """Through the attention of the pooling, layer by layer, to one row (T,)."""
    relevance_QT = relevance_TT
    for helped_QK in pooling:
        relevance_QT = helped_QK @ relevance_QT[len(relevance_QT) - helped_QK.shape[1] :]
    return relevance_QT.sum(dim=0)


def _read(passed: Recording, relevance_TT: torch.Tensor, gradient_1TD: torch.Tensor | None) -> torch.Tensor:
    """Mean row (T,) of the tokens that reach the vector: the class token, or the averaged patches."""
    assert gradient_1TD is not None
    read_T = gradient_1TD[0].abs().sum(dim=-1) > 0
    own_TT = torch.eye(len(relevance_TT), device=relevance_TT.device)
    return (relevance_TT - own_TT)[read_T].sum(dim=0)
