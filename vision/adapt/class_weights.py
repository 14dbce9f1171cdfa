"""How much each class counts in a loss, so that a rare one is heard as well as a frequent one.

Shape suffixes: B samples, K classes.
"""

from __future__ import annotations

import torch

from data.errors import ParameterError


def class_weights(labels_B: torch.Tensor, classes: int) -> torch.Tensor:
    """Class numbers (B,) -> weights (K,), float32: B / (classes that occur * count), 0 for a class of none.

    These are scikit-learn's `class_weight="balanced"`; their mean over the samples is 1. They serve as the
    `weight` of `cross_entropy`, and `weights[1] / weights[0]` as the `pos_weight` of a binary loss.

    Args:
        labels_B: whole numbers from 0.
        classes: K.

    Raises:
        ParameterError: no labels, or some that are no class numbers below K.
    """
    if labels_B.ndim != 1 or not len(labels_B) or labels_B.is_floating_point() or labels_B.is_complex():
        got = f"{labels_B.dtype} of shape {tuple(labels_B.shape)}"
        raise ParameterError("labels", must_be="whole numbers of shape (B,), one or more", got=got)
    low, high = int(labels_B.min()), int(labels_B.max())
    if low < 0 or high >= classes:
        raise ParameterError("labels", must_be=f"from 0 to {classes - 1}", got=f"{low} to {high}")
    count_K = torch.bincount(labels_B.long(), minlength=classes)
    present = int((count_K > 0).sum())
    weight_K = len(labels_B) / (present * count_K.clamp(min=1).double())
    return torch.where(count_K > 0, weight_K, 0.0).float()
