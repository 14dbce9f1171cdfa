"""Records what the attention layers of a tower do while it runs: explicit weights, kept in the graph.

Nothing is patched and no module gets a hook: a mode of this thread alone sees the calls of the two functions
that towers attend by, and computes them itself. Another thread may use the same model meanwhile.

Shape suffixes: B batch, H heads, Q queries, K keys, D width of a head, E width of all heads, L length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from data.errors import ParameterError

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


@dataclass(frozen=True, kw_only=True, eq=False)
class Attended:
    """One attention layer: what came in, its weights, and what came out before the heads are joined."""

    query_BHQD: torch.Tensor
    key_BHKD: torch.Tensor
    value_BHKD: torch.Tensor
    weights_BHQK: torch.Tensor
    output_BHQD: torch.Tensor


class AttentionRecorder(TorchFunctionMode):
    """Within it, in this thread, each attention is softmax(q k) v step by step, and noted in `layers`.

    It sees `F.scaled_dot_product_attention` (timm, open_clip's custom blocks) and
    `F.multi_head_attention_forward` (`nn.MultiheadAttention`). Dropout is left out.

    Raises:
        ParameterError: a layer attends in a way that is not known here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Attended] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Takes the place of the two functions, and lets all others be."""
        if func is F.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **(kwargs or {}))
        if func is F.multi_head_attention_forward:
            bound = _MULTI_HEAD.bind(*args, **(kwargs or {}))
            bound.apply_defaults()
            return self._multi_head(SimpleNamespace(**bound.arguments))
        return func(*args, **(kwargs or {}))

    def _scaled_dot_product(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if query.ndim != 4 or is_causal or enable_gqa:
            raise _unknown("a causal, grouped or headless attention")
        bias = attn_mask
        if attn_mask is not None and attn_mask.dtype == torch.bool:  # here True means seen
            bias = _additive(~attn_mask, query)
        return self._attend(query, key, value, bias, scale)

    def _multi_head(self, call: SimpleNamespace) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of (L, B, E), as `nn.MultiheadAttention` calls it whatever its own order is."""
        extras = (call.bias_k, call.bias_v, call.static_k, call.static_v)
        if call.query.ndim != 3 or call.add_zero_attn or any(extra is not None for extra in extras):
            raise _unknown("an attention with added keys")
        length, count, _ = call.query.shape
        query, key, value = (_split(part_LBE, call.num_heads) for part_LBE in _projected(call))
        output_BHQD = self._attend(query, key, value, _bias(call), None)
        joined_QBE = output_BHQD.permute(2, 0, 1, 3).reshape(length, count, -1)
        out_QBE = F.linear(joined_QBE, call.out_proj_weight, call.out_proj_bias)
        if not call.need_weights:
            return out_QBE, None
        weights_BHQK = self.layers[-1].weights_BHQK
        return out_QBE, weights_BHQK.mean(dim=1) if call.average_attn_weights else weights_BHQK

    def _attend(
        self,
        query_BHQD: torch.Tensor,
        key_BHKD: torch.Tensor,
        value_BHKD: torch.Tensor,
        bias: torch.Tensor | None,
        scale: float | None,
    ) -> torch.Tensor:
        scale = query_BHQD.shape[-1] ** -0.5 if scale is None else scale
        logits_BHQK = (query_BHQD * scale) @ key_BHKD.transpose(-2, -1)
        weights_BHQK = (logits_BHQK if bias is None else logits_BHQK + bias).softmax(dim=-1)
        if torch.is_grad_enabled() and not weights_BHQK.requires_grad:
            weights_BHQK.requires_grad_()  # the weights of the model are frozen, and gradients start here
        output_BHQD = weights_BHQK @ value_BHKD
        self.layers.append(
            Attended(
                query_BHQD=query_BHQD,
                key_BHKD=key_BHKD,
                value_BHKD=value_BHKD,
                weights_BHQK=weights_BHQK,
                output_BHQD=output_BHQD,
            )
        )
        return output_BHQD


def _projected(call: SimpleNamespace) -> list[torch.Tensor]:
    """Queries, keys and values (L, B, E) of a call, by one packed matrix or by three."""
    if call.use_separate_proj_weight:
        weights = (call.q_proj_weight, call.k_proj_weight, call.v_proj_weight)
    else:
        weights = call.in_proj_weight.chunk(3)
    biases = (None,) * 3 if call.in_proj_bias is None else call.in_proj_bias.chunk(3)
    inputs = (call.query, call.key, call.value)
    return [F.linear(x, weight, bias) for x, weight, bias in zip(inputs, weights, biases, strict=True)]


def _split(joined_LBE: torch.Tensor, heads: int) -> torch.Tensor:
    """(L, B, E) -> (B, H, L, D)."""
    length, count, width = joined_LBE.shape
    return joined_LBE.reshape(length, count, heads, width // heads).permute(1, 2, 0, 3)


def _bias(call: SimpleNamespace) -> torch.Tensor | None:
    """Both masks of a call as one addition to the logits (B, H, Q, K); here True means hidden."""
    bias: torch.Tensor | None = None
    if call.attn_mask is not None:
        bias = _additive(call.attn_mask, call.query)
        if bias.ndim == 3:  # one for each sample and head
            bias = bias.reshape(-1, call.num_heads, *bias.shape[1:])
    if call.key_padding_mask is not None:
        padding_B11K = _additive(call.key_padding_mask, call.query)[:, None, None, :]
        bias = padding_B11K if bias is None else bias + padding_B11K
    return bias


def _additive(hidden: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask, True where hidden, as an addition to logits; one that is an addition already stays."""
    if hidden.dtype != torch.bool:
        return hidden
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill_(hidden, float("-inf"))


def _unknown(found: str) -> ParameterError:
    return ParameterError(
        "model",
        must_be="one whose attention can be recorded",
        got=f"one with {found}",
        do="explain it by another method",
    )
