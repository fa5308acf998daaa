# SPDX-License-Identifier: Apache-2.0
"""What the test models are built from: named values, constants, and a checked model as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 21

Dims = Sequence[int | str | None]


def value(name: str, dims: Dims, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A named tensor of the graph's face: sizes, symbols, or None for a free axis without a name."""
    return helper.make_tensor_value_info(name, dtype, list(dims))


def const(name: str, content: object, dtype: type[np.generic] = np.float32) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(content, dtype=dtype), name)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """The model of one graph, in formats that the oldest supported ONNX Runtime reads."""
    made = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    return helper.make_model(
        made, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="make_models"
    )


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """The model as bytes, checked by the `onnx` package, the same for the same arguments."""
    made = graph(nodes, inputs, outputs, constants)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString(deterministic=True))


def layer_weights(sizes: Sequence[int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random weights and biases of a dense net, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [
        (
            (rng.standard_normal((wide, narrow)) / np.sqrt(wide)).astype(np.float32),
            (rng.standard_normal(narrow) * 0.1).astype(np.float32),
        )
        for wide, narrow in pairwise(sizes)
    ]
