"""A linear support vector machine on frozen features: the widest margin between two classes.

Where there are far more features than samples, many planes divide the samples; this one is farthest from the
nearest of them, and is found without steps (Cortes and Vapnik 1995, doi 10.1007/BF00994018).
Shape suffixes: B batch, F features.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from data.errors import ParameterError

TOLERANCE = 1e-5  # of the solver's optimality conditions
ALIKE = torch.finfo(torch.float32).eps  # features that differ by less, of their size, differ by rounding


def fit_linear_svm(features_BF: torch.Tensor, labels_B: torch.Tensor, *, c: float = 100.0) -> nn.Linear:
    """A linear support vector machine; classes weigh equally, whatever their counts.

    Features are centred, and divided by one number, so that their mean squared distance from the centre is
    1: what is large in them stays large. Both are folded into the layer that is given back.

    Args:
        features_BF: features (B, F).
        labels_B: 0 or 1 (B,).
        c: what a sample on the wrong side of its margin costs, as scikit-learn's `C`; 100 is nearly a hard
            margin.

    Returns:
        Features (.., F) -> signed margin of class 1 (.., 1): 1 and -1 at the margins. It is no log odds.

    Raises:
        ParameterError: labels that are not 0 and 1, or only one of them; shapes that do not fit; no positive
            `c`; features that are not finite, or the same for all samples.
    """
    from sklearn.svm import SVC

    _check(features_BF, labels_B, c)
    inputs_BF = features_BF.detach().cpu().double()
    centre_F = inputs_BF.mean(0)
    centred_BF = inputs_BF - centre_F
    scale = float(centred_BF.square().sum(1).mean().sqrt())
    if scale <= ALIKE * float(inputs_BF.square().sum(1).mean().sqrt()):
        raise ParameterError("features", must_be="different between samples", got="the same for all")
    machine = SVC(kernel="linear", C=c, class_weight="balanced", tol=TOLERANCE)
    machine.fit((centred_BF / scale).numpy(), labels_B.detach().cpu().numpy())
    weight_1F = torch.tensor(machine.coef_) / scale
    probe = nn.Linear(inputs_BF.shape[1], 1)
    with torch.no_grad():
        probe.weight.copy_(weight_1F)
        probe.bias.copy_(torch.tensor(machine.intercept_) - weight_1F @ centre_F)
    return probe.to(features_BF.device)


def _check(features_BF: torch.Tensor, labels_B: torch.Tensor, c: float) -> None:
    if features_BF.ndim != 2 or labels_B.shape != features_BF.shape[:1]:
        got = f"{tuple(features_BF.shape)} and {tuple(labels_B.shape)}"
        raise ParameterError("features and labels", must_be="of shapes (B, F) and (B,)", got=got)
    found = sorted(set(labels_B.tolist()))
    if found != [0, 1]:
        raise ParameterError("labels", must_be="0 and 1, both of them", got=found)
    if not 0 < c < math.inf:
        raise ParameterError("c", must_be="positive", got=c)
    if not features_BF.isfinite().all():
        raise ParameterError("features", must_be="finite", got="values that are not")
