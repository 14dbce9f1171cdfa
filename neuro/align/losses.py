"""Brains and sentences of a batch, and which sentences hold of which brains -> a loss for each brain.

Off the diagonal a sentence may hold too: people have the same diagnosis, or the very same sentence. Such
pairs are further right answers, not wrong ones (UniCL, Yang et al. 2022, arXiv 2204.03610), and where it
cannot be said whether a sentence holds, the pair is left out.
Letters: B pairs; in (B, B) brains are rows and sentences columns.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def info_nce(
    cosines_BB: torch.Tensor, truth_BB: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of finding a right sentence by the brain, and a right brain by the sentence (B,).

    The target is the same for all right answers. With none but the diagonal it is CLIP's loss (Radford et
    al. 2021, arXiv 2103.00020).

    Args:
        cosines_BB: of brains with sentences.
        truth_BB: 1 where a sentence holds of a brain, 0 where it does not, -1 where that is not known; 1 on
            the diagonal.
        scale: what cosines are multiplied with.
        bias: not used, as a softmax does not notice it.
    """
    logits_BB = (scale * cosines_BB).masked_fill(truth_BB < 0, float("-inf"))
    right_BB = truth_BB > 0
    return (_soft(logits_BB, right_BB, 1) + _soft(logits_BB, right_BB, 0)) / 2


def siglip(
    cosines_BB: torch.Tensor, truth_BB: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy of each pair (SigLIP; Zhai et al. 2023, arXiv 2303.15343), by brain (B,).

    Right and wrong pairs weigh as much as each other in a row, as half of all pairs may be right here.

    Args:
        cosines_BB, truth_BB, scale: as in `info_nce`.
        bias: added to the logits, ().
    """
    logits_BB = scale * cosines_BB + bias
    right_BB, wrong_BB = truth_BB > 0, truth_BB == 0
    losses_BB = F.softplus(torch.where(right_BB, -logits_BB, logits_BB))
    return (_row_mean(losses_BB, right_BB) + _row_mean(losses_BB, wrong_BB)) / 2


def _soft(logits_BB: torch.Tensor, right_BB: torch.Tensor, dim: int) -> torch.Tensor:
    log_BB = logits_BB.log_softmax(dim)
    mean_B: torch.Tensor = torch.where(right_BB, log_BB, 0.0).sum(dim) / right_BB.sum(dim)
    return -mean_B


def _row_mean(values_BB: torch.Tensor, chosen_BB: torch.Tensor) -> torch.Tensor:
    return (values_BB * chosen_BB).sum(1) / chosen_BB.sum(1).clamp(min=1)


LOSSES = {"infonce": info_nce, "siglip": siglip}
