"""Records what the attention layers of a tower do while it runs: explicit weights, kept in the graph.

Shape suffixes: B batch, H heads, Q queries, K keys, D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from data.errors import ParameterError
from vision.backbones.attention_calls import AttentionCall, AttentionCalls, additive


@dataclass(frozen=True, kw_only=True, eq=False)
class Attended:
    """One attention layer: what came in, its weights, and what came out before the heads are joined."""

    query_BHQD: torch.Tensor
    key_BHKD: torch.Tensor
    value_BHKD: torch.Tensor
    weights_BHQK: torch.Tensor
    output_BHQD: torch.Tensor


class AttentionRecorder(AttentionCalls):
    """Within it, in this thread, each attention is softmax(q k) v step by step, and noted in `layers`.

    Dropout is left out.

    Raises:
        ParameterError: a layer attends in a way that is not known here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Attended] = []

    def attend(self, call: AttentionCall) -> torch.Tensor:
        """The heads' outputs (B, H, Q, D), noted with all that led to them."""
        query_BHQD, bias = call.query_BHQD, call.mask
        if bias is not None and bias.dtype == torch.bool:
            bias = additive(~bias, query_BHQD)
        scale = query_BHQD.shape[-1] ** -0.5 if call.scale is None else call.scale
        logits_BHQK = (query_BHQD * scale) @ call.key_BHKD.transpose(-2, -1)
        weights_BHQK = (logits_BHQK if bias is None else logits_BHQK + bias).softmax(dim=-1)
        if torch.is_grad_enabled() and not weights_BHQK.requires_grad:
            weights_BHQK.requires_grad_()  # the weights of the model are frozen, and gradients start here
        output_BHQD = weights_BHQK @ call.value_BHKD
        self.layers.append(
            Attended(
                query_BHQD=query_BHQD,
                key_BHKD=call.key_BHKD,
                value_BHKD=call.value_BHKD,
                weights_BHQK=weights_BHQK,
                output_BHQD=output_BHQD,
            )
        )
        return output_BHQD

    def weights(self) -> torch.Tensor:
        """Weights (B, H, Q, K) of the last layer."""
        return self.layers[-1].weights_BHQK

    def unknown(self, found: str) -> ParameterError:
        """What is raised for a kind of attention that cannot be recorded."""
        return ParameterError(
            "model",
            must_be="one whose attention can be recorded",
            got=f"one with {found}",
            do="explain it by another method",
        )
