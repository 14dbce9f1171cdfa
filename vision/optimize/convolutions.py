"""Linear layers of a quantised OpenVINO graph as 1x1 convolutions, for CPUs without 8-bit dot products.

There (AVX2 and no VNNI) OpenVINO multiplies 8-bit matrices no quicker than fp32 ones, while its 8-bit
convolutions run at twice that: on two cores of such a machine 91 against 44 billion products a second.

Shape suffixes: K, J widths in and out.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def linears_to_convolutions(model: Any) -> int:
    """Change an `openvino.Model` in place, to equal results; returns how many layers were changed.

    Taken are products of activations (..., K) of 2 or 3 axes with 8-bit weights (J, K) of one scale a row.
    """
    changed = 0
    for node in model.get_ordered_ops():
        weights = _weights(node)
        if weights is not None:
            _replace(node, *weights)
            changed += 1
    model.validate_nodes_and_infer_types()
    return changed


def _weights(node: Any) -> tuple[Any, Any] | None:
    """8-bit weights (J, K) and scales (J, 1) of a linear layer; None for any other node."""
    if node.get_type_name() != "MatMul":
        return None
    attributes = node.get_attributes()
    scaled = node.input_value(1).get_node()
    if attributes["transpose_a"] or not attributes["transpose_b"] or scaled.get_type_name() != "Multiply":
        return None
    converted, scales = (value.get_node() for value in scaled.input_values())
    if converted.get_type_name() != "Convert" or scales.get_type_name() != "Constant":
        return None
    weights = converted.input_value(0).get_node()
    plain = weights.get_type_name() == "Constant" and len(weights.shape) == 2
    fits = plain and node.input_value(0).get_partial_shape().rank.get_length() in (2, 3)
    return (weights.data, scales.data) if fits and scales.data.size == weights.shape[0] else None


def _replace(node: Any, weights_JK: Any, scales_J1: Any) -> None:
    from openvino import Type, opset13  # type: ignore[import-untyped]

    # (B, N, K) becomes (B, K, N, 1), and (N, K) becomes (1, K, N, 1); the engine lays both out as they were.
    rank = node.input_value(0).get_partial_shape().rank.get_length()
    new_axes = opset13.constant([2] if rank == 3 else [0, 2])
    kernel = opset13.multiply(
        opset13.convert(opset13.constant(np.ascontiguousarray(weights_JK[:, :, None, None])), Type.f32),
        opset13.constant(scales_J1.reshape(-1, 1, 1, 1)),
    )
    inputs = opset13.transpose(
        opset13.unsqueeze(node.input_value(0), new_axes), opset13.constant([0, 3, 1, 2])
    )
    outputs = opset13.convolution(inputs, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    flat = opset13.squeeze(opset13.transpose(outputs, opset13.constant([0, 2, 3, 1])), new_axes)
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(flat.output(0))
