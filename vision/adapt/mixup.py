"""Mixup: each sample is blended with another one of its batch, and its target likewise.

Zhang et al. 2017, arXiv 1710.09412.

Shape suffixes: B batch, K classes, ___ any further axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from data.errors import ParameterError


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """Who is blended with whom, and how much of each sample stays its own.

    Attributes:
        partner_B: the row that each row is blended with, a permutation of the rows (B,).
        share: what a sample keeps of itself, from 0 to 1; one number for the batch.
    """

    partner_B: torch.Tensor
    share: float


def draw_mixture(batch: int, alpha: float, rng: np.random.Generator) -> Mixture:
    """Draw the share from Beta(alpha, alpha), and a permutation of the rows.

    Args:
        batch: samples B.
        alpha: small values leave nearly whole samples, 1 draws any share alike.
        rng: numpy's, so that a batch's draw can be a function of seed, epoch and step.

    Raises:
        ParameterError: an empty batch, or an alpha that is not positive.
    """
    if batch < 1:
        raise ParameterError("batch", must_be="one sample or more", got=batch)
    if not (math.isfinite(alpha) and alpha > 0):
        raise ParameterError("alpha", must_be="positive", got=alpha, do="leave mixup out for 0")
    share = float(rng.beta(alpha, alpha))
    return Mixture(partner_B=torch.from_numpy(rng.permutation(batch)), share=share)


def mix(values_B___: torch.Tensor, partner_B: torch.Tensor, share: float) -> torch.Tensor:
    """Values (B, ...) -> share * own + (1 - share) * partner's, of the same shape.

    Values are pixels, features or vectors. Token sequences are blended place by place, which means something
    only where every sample has the same places.

    Raises:
        ParameterError: partners that are not one for each row, or no share from 0 to 1.
    """
    if partner_B.shape != values_B___.shape[:1]:
        got = f"{tuple(partner_B.shape)} for values of shape {tuple(values_B___.shape)}"
        raise ParameterError("partners", must_be="one for each row of the values", got=got)
    if not 0 <= share <= 1:
        raise ParameterError("share", must_be="from 0 to 1", got=share)
    partners_B___ = values_B___[partner_B.to(values_B___.device)]
    return share * values_B___ + (1 - share) * partners_B___


def mixed_targets(
    targets: torch.Tensor, partner_B: torch.Tensor, share: float, *, classes: int | None = None
) -> torch.Tensor:
    """Targets -> soft targets, float32, for `cross_entropy` and `binary_cross_entropy_with_logits`.

    Args:
        targets: class numbers (B,) with `classes`; or 0, 1 and what lies between, (B,) or (B, K), without.
        partner_B: as drawn.
        share: as drawn.
        classes: K, to get (B, K) from class numbers.

    Raises:
        ParameterError: class numbers that are no whole numbers below K, or what `mix` refuses.
    """
    if classes is None:
        return mix(targets.float(), partner_B, share)
    whole = targets.ndim == 1 and not targets.is_floating_point()
    if not whole or bool(((targets < 0) | (targets >= classes)).any()):
        got = f"{targets.dtype} of shape {tuple(targets.shape)}" + (", out of range" if whole else "")
        raise ParameterError("targets", must_be=f"class numbers (B,) from 0 to {classes - 1}", got=got)
    return mix(F.one_hot(targets.long(), classes).float(), partner_B, share)
