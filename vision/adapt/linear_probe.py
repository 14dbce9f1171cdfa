"""A linear classifier on frozen features.

Shape suffixes: B batch, F features, K classes.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from data.errors import ParameterError

PROBE_STEPS = 500


def fit_linear_probe(features_BF: torch.Tensor, labels_B: torch.Tensor, *, c: float = 1.0) -> nn.Linear:
    """A linear classifier on frozen features: multinomial logistic regression, L-BFGS to its optimum.

    Args:
        features_BF: features (B, F).
        labels_B: class numbers from 0 (B,).
        c: inverse of the penalty on squared weights, as scikit-learn's `C`.

    Returns:
        Features (.., F) -> logits (.., K), with K the greatest label and one.

    Raises:
        ParameterError: fewer than two classes, shapes that do not fit, or no positive `c`.
    """
    if features_BF.ndim != 2 or labels_B.shape != features_BF.shape[:1]:
        got = f"{tuple(features_BF.shape)} and {tuple(labels_B.shape)}"
        raise ParameterError("features and labels", must_be="of shapes (B, F) and (B,)", got=got)
    if len(torch.unique(labels_B)) < 2:
        raise ParameterError("labels", must_be="of two classes or more", got="fewer")
    if not c > 0:
        raise ParameterError("c", must_be="positive", got=c)
    probe = nn.Linear(features_BF.shape[1], int(labels_B.max()) + 1)
    weight_KF = torch.zeros(probe.weight.shape, dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(probe.bias.shape, dtype=torch.float64, requires_grad=True)
    inputs_BF, targets_B = features_BF.detach().cpu().double(), labels_B.detach().cpu().long()
    optimizer = torch.optim.LBFGS(
        [weight_KF, bias_K],
        max_iter=PROBE_STEPS,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(inputs_BF, weight_KF, bias_K), targets_B)
        loss = loss + weight_KF.square().sum() / (2 * c * len(inputs_BF))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        probe.weight.copy_(weight_KF)
        probe.bias.copy_(bias_K)
    return probe.to(features_BF.device)
