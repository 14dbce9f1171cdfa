"""Grad-ECLIP: how much the value of each patch, as the last attention reads it, moves the cosine.

Zhao et al., "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024; longer in arXiv
2502.18816.

Shape suffixes: C channels, H W pixels, A heads, L length, Q queries, K patches, D width of a head, F width of
all heads, E joint space, R rows, C columns.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from vision.backbones import Backbone
from vision.explain.attention import Attended
from vision.explain.recording import Recording, record


def grad_eclip(
    backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pixels (1, C, H, W), unit target (E,) -> heat (R, C) >= 0, and the picture's vector (E,).

    The heat of patch i is ReLU(sum over c of w_c * l_i * v_ic): v the values of the last attention layer, w
    the gradient of the cosine with respect to its output at the class token, l_i the cosine of the class
    token's query and the patch's key, stretched over the patches to 0..1 (the "loosened" attention, as
    softmax leaves but a few patches). Heads are laid side by side, as in the authors' code.

    Where several queries reach the vector (averaged patches, a pooling of many queries) the sum goes over
    them: those that do not have no gradient. Where the pooling attends itself, as SigLIP's does, its layer is
    the last.

    Raises:
        ParameterError: no Vision Transformer, or its attention cannot be recorded.
    """
    passed = record(backbone, pixels_1CHW, target_E)
    last, gradient_QF = _last_read(passed)
    query_QF = F.normalize(_side_by_side(last.query_BHQD), dim=-1)
    key_KF = F.normalize(passed.patches(_side_by_side(last.key_BHKD)), dim=-1)
    value_KF = passed.patches(_side_by_side(last.value_BHKD))
    nearness_QK = _stretched(query_QF @ key_KF.T)
    heat_K = (nearness_QK * (gradient_QF @ value_KF.T)).sum(dim=0).relu()
    return heat_K.reshape(passed.layout.grid), passed.vector_E


def _last_read(passed: Recording) -> tuple[Attended, torch.Tensor]:
    """The last layer that reads the patches, and the gradient of its output (Q, F)."""
    # A pooling of two layers reads the patches in the first that reaches the vector.
    for layer in (*passed.reading, passed.tower[-1]):
        (gradient,) = passed.gradients([layer.output_BHQD])
        if gradient is not None:
            return layer, _side_by_side(gradient)
    raise AssertionError("no attention reaches the vector")


def _side_by_side(heads_1ALD: torch.Tensor) -> torch.Tensor:
    """(1, A, L, D) -> (L, A * D), fp32, off the graph."""
    return heads_1ALD[0].detach().float().transpose(0, 1).flatten(1)


def _stretched(cosine_QK: torch.Tensor) -> torch.Tensor:
    """Each row to 0..1 over the patches; a row of equals to 1."""
    least_Q1, most_Q1 = cosine_QK.amin(dim=1, keepdim=True), cosine_QK.amax(dim=1, keepdim=True)
    span_Q1 = most_Q1 - least_Q1
    return torch.where(span_Q1 > 0, (cosine_QK - least_Q1) / span_Q1.clamp(min=1e-12), 1.0)
