"""The attention of any tower as one kind of call, to be computed in another way than the tower's own.

Nothing is patched and no module gets a hook: a mode of this thread alone sees the calls of the two functions
that towers attend by, and takes their place. Another thread may use the same model meanwhile. Modes nest:
what the inner one calls, the outer one sees.

Shape suffixes: B batch, H heads, Q queries, K keys, D width of a head, E width of all heads, L length.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from data.errors import ParameterError

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionCall:
    """softmax(q k * scale + mask) v, for one layer.

    Attributes:
        query_BHQD: queries.
        key_BHKD: keys.
        value_BHKD: values.
        mask: bool, True where seen, or an addition to the logits; broadcastable to (B, H, Q, K), or None.
        dropout: share of weights that are dropped.
        scale: None for 1 / sqrt(D).
    """

    query_BHQD: torch.Tensor
    key_BHKD: torch.Tensor
    value_BHKD: torch.Tensor
    mask: torch.Tensor | None
    dropout: float
    scale: float | None


class AttentionCalls(TorchFunctionMode, ABC):
    """Within it, in this thread, each attention is computed by `attend`.

    It sees `F.scaled_dot_product_attention` (timm, open_clip's custom blocks) and
    `F.multi_head_attention_forward` (`nn.MultiheadAttention`, whose fast path a mode turns off).

    Raises:
        ParameterError: a layer attends in a way that is not known here.
    """

    @abstractmethod
    def attend(self, call: AttentionCall) -> torch.Tensor:
        """The heads' outputs (B, H, Q, D)."""

    @abstractmethod
    def unknown(self, found: str) -> ParameterError:
        """What is raised for a kind of attention that is not known here."""

    def weights(self) -> torch.Tensor:
        """Weights (B, H, Q, K) of the last call, for layers that give them away."""
        raise self.unknown("an attention that gives its weights away")

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
            return self._multi_head(bound.arguments)
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
            raise self.unknown("a causal, grouped or headless attention")
        return self.attend(
            AttentionCall(
                query_BHQD=query,
                key_BHKD=key,
                value_BHKD=value,
                mask=attn_mask,
                dropout=dropout_p,
                scale=scale,
            )
        )

    def _multi_head(self, call: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of (L, B, E), as `nn.MultiheadAttention` calls it whatever its own order is."""
        extras = (call["bias_k"], call["bias_v"], call["static_k"], call["static_v"])
        if call["query"].ndim != 3 or call["add_zero_attn"] or any(extra is not None for extra in extras):
            raise self.unknown("an attention with added keys")
        length, count, _ = call["query"].shape
        query, key, value = (_split(part_LBE, call["num_heads"]) for part_LBE in _projected(call))
        output_BHQD = self.attend(
            AttentionCall(
                query_BHQD=query,
                key_BHKD=key,
                value_BHKD=value,
                mask=_bias(call),
                dropout=call["dropout_p"] if call["training"] else 0.0,
                scale=None,
            )
        )
        joined_QBE = output_BHQD.permute(2, 0, 1, 3).reshape(length, count, -1)
        out_QBE = F.linear(joined_QBE, call["out_proj_weight"], call["out_proj_bias"])
        if not call["need_weights"]:
            return out_QBE, None
        weights_BHQK = self.weights()
        return out_QBE, weights_BHQK.mean(dim=1) if call["average_attn_weights"] else weights_BHQK


def additive(hidden: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask, True where hidden, as an addition to logits; one that is an addition already stays."""
    if hidden.dtype != torch.bool:
        return hidden
    return torch.zeros_like(hidden, dtype=like.dtype).masked_fill_(hidden, float("-inf"))


def _projected(call: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values (L, B, E) of a call, by one packed matrix or by three."""
    if not call["use_separate_proj_weight"] and call["query"] is call["key"] is call["value"]:
        return F.linear(call["query"], call["in_proj_weight"], call["in_proj_bias"]).chunk(3, dim=-1)
    if call["use_separate_proj_weight"]:
        weights = (call["q_proj_weight"], call["k_proj_weight"], call["v_proj_weight"])
    else:
        weights = call["in_proj_weight"].chunk(3)
    biases = (None,) * 3 if call["in_proj_bias"] is None else call["in_proj_bias"].chunk(3)
    inputs = (call["query"], call["key"], call["value"])
    return tuple(F.linear(x, weight, bias) for x, weight, bias in zip(inputs, weights, biases, strict=True))


def _split(joined_LBE: torch.Tensor, heads: int) -> torch.Tensor:
    """(L, B, E) -> (B, H, L, D)."""
    length, count, width = joined_LBE.shape
    return joined_LBE.reshape(length, count, heads, width // heads).permute(1, 2, 0, 3)


def _bias(call: dict[str, Any]) -> torch.Tensor | None:
    """Both masks of a call as one addition to the logits (B, H, Q, K); there True means hidden."""
    bias: torch.Tensor | None = None
    if call["attn_mask"] is not None:
        bias = additive(call["attn_mask"], call["query"])
        if bias.ndim == 3:  # one for each sample and head
            bias = bias.reshape(-1, call["num_heads"], *bias.shape[1:])
    if call["key_padding_mask"] is not None:
        padding_B11K = additive(call["key_padding_mask"], call["query"])[:, None, None, :]
        bias = padding_B11K if bias is None else bias + padding_B11K
    return bias
