"""Ways to fit a model to a task without training all of it, for pictures and for brains alike.

LoRA (Hu et al. 2021, arXiv 2106.09685) learns a low-rank update of a weight; a linear probe learns a
classifier on frozen features.

Shape suffixes: O outputs, I inputs, R rank, B batch, F features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from data.errors import ParameterError
from vision.backbones.backbone import Backbone

ATTENTION_WEIGHT = "in_proj_weight"  # queries, keys and values in one, in torch's and open_clip's attention
PROBE_STEPS = 500


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """How large the updates are: W + (alpha / rank) B A, A of (rank, inputs) and B of (outputs, rank)."""

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ParameterError("rank", must_be="a positive integer", got=self.rank)
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ParameterError("alpha", must_be="positive", got=self.alpha)


class LowRankUpdate(nn.Module):
    """Weight (O, I) -> W + scale * B A, (O, I). B begins at zero, so that the model begins as it was."""

    def __init__(self, weight_OI: torch.Tensor, options: LoraOptions, generator: torch.Generator):
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.scale = options.alpha / options.rank
        bound = 1 / math.sqrt(inputs)
        down_RI = torch.empty(options.rank, inputs).uniform_(-bound, bound, generator=generator)
        self.down_RI = nn.Parameter(down_RI.to(weight_OI))
        self.up_OR = nn.Parameter(weight_OI.new_zeros(outputs, options.rank))

    def forward(self, weight_OI: torch.Tensor) -> torch.Tensor:
        """Weight (O, I) -> updated weight (O, I)."""
        return weight_OI + self.scale * (self.up_OR @ self.down_RI).to(weight_OI.dtype)


def add_lora(module: nn.Module, options: LoraOptions | None = None, *, seed: int = 0) -> list[nn.Parameter]:
    """Freeze a model and give the attention and MLP weights of its blocks trainable low-rank updates.

    The weights themselves are parametrised, rather than the layers wrapped: `nn.MultiheadAttention` never
    calls its projections but reads their weights, so a wrapped layer would be passed by without a word.

    Args:
        module: a whole backbone, or a part such as `picture_tower(backbone)`; changed in place.
        options: rank and scale.
        seed: of the updates' beginning.

    Returns:
        The new parameters, the only ones of `module` that learn.

    Raises:
        ParameterError: there is no block with such weights (a convolutional network, say).
    """
    options, generator = options or LoraOptions(), torch.Generator().manual_seed(seed)
    targets = list(_block_weights(module))
    if not targets:
        raise ParameterError(
            "model",
            must_be="one with Transformer blocks, for LoRA",
            got=type(module).__name__,
            do="train all of it, or a probe",
        )
    module.requires_grad_(False)
    updates = []
    for layer, name in targets:
        update = LowRankUpdate(getattr(layer, name).detach(), options, generator)
        # unsafe=True leaves out a trial run for each weight; the shape is right by construction.
        parametrize.register_parametrization(layer, name, update, unsafe=True)
        updates += list(update.parameters())
    return updates


def merge_lora(module: nn.Module) -> None:
    """Write the updates into the weights: a plain model again, with the same outputs and state's names."""
    for layer in list(module.modules()):
        if not isinstance(layer, parametrize.ParametrizationList) and parametrize.is_parametrized(layer):
            for name in _updated(layer):
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)


def _updated(layer: nn.Module) -> list[str]:
    found: list[str] = []
    for name, chain in layer.parametrizations.items():  # type: ignore[operator, union-attr]
        if any(isinstance(step, LowRankUpdate) for step in chain):
            found.append(name)
    return found


def picture_tower(backbone: Backbone) -> nn.Module:
    """The half that sees pictures or takes tokens: all of a timm model, `visual` of an open_clip one."""
    model: nn.Module = backbone.get_submodule("model")
    tower = getattr(model, "visual", model)
    assert isinstance(tower, nn.Module)
    return tower


def _block_weights(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Weights of linear layers and joint attention weights, in numbered blocks (heads stand outside them)."""
    for path, layer in module.named_modules():
        if not any(part.isdigit() for part in path.split(".")):
            continue
        if isinstance(getattr(layer, ATTENTION_WEIGHT, None), nn.Parameter):
            yield layer, ATTENTION_WEIGHT
        if isinstance(layer, nn.Linear) and not parametrize.is_parametrized(layer):
            yield layer, "weight"


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
