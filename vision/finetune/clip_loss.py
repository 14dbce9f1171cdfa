"""CLIP's loss (InfoNCE both ways; Radford et al. 2021, arXiv 2103.00020), with several right answers a batch.

Shape suffixes: B pairs of the batch, E components of the joint space.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def clip_loss(
    image_BE: torch.Tensor,
    text_BE: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    known_BB: torch.Tensor | None = None,
) -> torch.Tensor:
    """Unit vectors (B, E) of pictures and their captions -> mean cross-entropy of finding one by the other.

    Args:
        image_BE: pictures.
        text_BE: captions, row by row theirs.
        scale: what the cosines are multiplied with.
        bias: not used, as a softmax does not notice it.
        known_BB: true where caption j is known to belong to picture i. Off the diagonal these are left out of
            the softmax: neither asked for in that row nor counted as wrong.
    """
    logits_BB = scale * image_BE @ text_BE.T
    if known_BB is not None:
        others_BB = known_BB & ~torch.eye(len(known_BB), dtype=torch.bool, device=known_BB.device)
        logits_BB = logits_BB.masked_fill(others_BB, float("-inf"))
    target_B = torch.arange(len(logits_BB), device=logits_BB.device)
    return (F.cross_entropy(logits_BB, target_B) + F.cross_entropy(logits_BB.T, target_B)) / 2
