"""SigLIP's loss (Zhai et al. 2023, arXiv 2303.15343): each picture and caption, a pair or not.

Shape suffixes: B pairs of the batch, E components of the joint space.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def siglip_loss(
    image_BE: torch.Tensor,
    text_BE: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor | None = None,
    known_BB: torch.Tensor | None = None,
) -> torch.Tensor:
    """Unit vectors (B, E) of pictures and their captions -> binary cross-entropy of all B x B, divided by B.

    Args:
        image_BE: pictures.
        text_BE: captions, row by row theirs.
        scale: what the cosines are multiplied with.
        bias: added to the logits; none is 0.
        known_BB: true where caption j is known to belong to picture i; off the diagonal these are left out.
    """
    logits_BB = scale * image_BE @ text_BE.T
    if bias is not None:
        logits_BB = logits_BB + bias
    diagonal_BB = torch.eye(len(logits_BB), dtype=torch.bool, device=logits_BB.device)
    loss_BB = -F.logsigmoid(torch.where(diagonal_BB, logits_BB, -logits_BB))
    if known_BB is not None:
        loss_BB = loss_BB.masked_fill(known_BB & ~diagonal_BB, 0.0)
    return loss_BB.sum() / len(logits_BB)
