"""The few layers of a text Transformer in numpy, fp32.

Shape suffixes: B sentences, L tokens, H heads, D width, d width of a head, K any width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]
Mask = npt.NDArray[np.bool_]

# erf(x) = x P(x²) / Q(x²) on [-4, 4] in fp32, beyond which it is ±1: the rational approximation of Eigen's
# and XLA's `erf`; within 2e-7 of `math.erf`.
_ERF_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_Q = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def erf(x: Array) -> Array:
    """The error function, elementwise."""
    x = np.clip(x, -4, 4)
    square = x * x
    return x * _polynomial(_ERF_P, square) / _polynomial(_ERF_Q, square)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value *= x
        value += np.float32(coefficient)
    return value


def _gelu(x: Array) -> Array:
    return np.float32(0.5) * x * (1 + erf(x * np.float32(0.5**0.5)))


def _gelu_tanh(x: Array) -> Array:
    inner = np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(inner)))


def _quick_gelu(x: Array) -> Array:
    # By tanh, as exp would overflow; sigmoid(z) = (1 + tanh(z / 2)) / 2.
    return np.asarray(np.float32(0.5) * x * (1 + np.tanh(np.float32(0.851) * x)))


# Hendrycks and Gimpel 2016, arXiv 1606.08415; QuickGELU is CLIP's.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
}


def linear(x: Array, weights: Weights, name: str) -> Array:
    """x (..., K) -> (..., K'): weight (K', K), and a bias where there is one."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    out = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], weight.shape[0])


def layer_norm(x: Array, weights: Weights, name: str, eps: float) -> Array:
    """Over the last axis (Ba et al. 2016, arXiv 1607.06450)."""
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(eps))
    normed: Array = centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return normed


def attention(x_BLD: Array, mask: Mask | None, heads: int, weights: Weights, name: str) -> Array:
    """Self-attention (Vaswani et al. 2017, arXiv 1706.03762); mask (B or 1, L or 1, L), True = seen."""
    batch, length, width = x_BLD.shape
    qkv = linear(x_BLD, weights, f"{name}.qkv").reshape(batch, length, 3, heads, width // heads)
    q_BHLd, k_BHLd, v_BHLd = qkv.transpose(2, 0, 3, 1, 4)
    logits_BHLL = (q_BHLd * np.float32((width // heads) ** -0.5)) @ k_BHLd.swapaxes(2, 3)
    if mask is not None:
        logits_BHLL = np.where(mask[:, None], logits_BHLL, np.float32(-np.inf))
    shares_BHLL = np.exp(logits_BHLL - logits_BHLL.max(-1, keepdims=True))
    shares_BHLL /= shares_BHLL.sum(-1, keepdims=True)
    mixed_BLD = (shares_BHLL @ v_BHLd).transpose(0, 2, 1, 3).reshape(batch, length, width)
    return linear(mixed_BLD, weights, f"{name}.out")
