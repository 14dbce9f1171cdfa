"""What the cosine would lose, to first order, if no layer attended to a patch.

The one-step form of Hao et al., "Self-Attention Attribution: Interpreting Information Interactions Inside
Transformer", AAAI 2021, arXiv 2004.11207, which multiplies each attention weight by its gradient.

Shape suffixes: C channels, H W pixels, A heads, Q queries, K keys, E joint space, R rows, C columns.
"""

from __future__ import annotations

import torch

from vision.backbones import Backbone
from vision.explain.recording import record


def attention_attribution(
    backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pixels (1, C, H, W), unit target (E,) -> heat (R, C) >= 0, and the picture's vector (E,).

    The heat of patch k is ReLU(sum over layers, heads and queries of a_qk * d cosine / d a_qk): scaling all
    attention that is paid to it by 1 - e costs the cosine e times that. What helps and what hurts cancel
    before the ReLU, and a pooling that attends counts as one more layer.

    Raises:
        ParameterError: no Vision Transformer, or its attention cannot be recorded.
    """
    passed = record(backbone, pixels_1CHW, target_E)
    layers = [*passed.tower, *passed.reading]
    gradients = passed.gradients([layer.weights_BHQK for layer in layers])
    heat_RC = torch.zeros(passed.layout.grid, device=target_E.device)
    for layer, gradient_1AQK in zip(layers, gradients, strict=True):
        if gradient_1AQK is not None:
            paid_AQK = gradient_1AQK[0].float() * layer.weights_BHQK[0].detach().float()
            heat_RC += passed.on_grid(paid_AQK.sum(dim=(0, 1)))
    return heat_RC.relu(), passed.vector_E
