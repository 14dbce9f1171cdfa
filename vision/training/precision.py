"""The numbers that a forward pass is computed in; weights stay in float32 throughout."""

from __future__ import annotations

import torch

from data.errors import ParameterError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_precision(precision: str, device: torch.device) -> str:
    """The precision that is meant on a device: "auto" is bf16 on a CUDA device that has it, else fp32.

    Raises:
        ParameterError: fp16 without CUDA.
    """
    if precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and device.type != "cuda":
        got = f"fp16 on {device.type}"
        raise ParameterError("precision", must_be="fp32 or bf16 without CUDA", got=got, do="take bf16")
    return precision
