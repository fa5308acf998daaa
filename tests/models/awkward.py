# SPDX-License-Identifier: Apache-2.0
"""Models that are hard on a batching engine: coupled rows, lost rows, runs that fail, runs that take their time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from models.parts import const, layer_weights, model, value
from onnx import TensorProto, helper

# --- rows that depend on their company -------------------------------------------------------------------------------


def softmax_axis0() -> bytes:
    """x [N, 4] -> y [N, 4], Softmax down the columns: no shape shows that rows are coupled."""
    return model([helper.make_node("Softmax", ["x"], ["y"], axis=0)], [value("x", ["N", 4])], [value("y", ["N", 4])])


def centred() -> bytes:
    """x [N, 4] -> y = x - mean over the rows [N, 4]: coupled by ordinary operators."""
    return model(
        [
            helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [value("x", ["N", 4])],
        [value("y", ["N", 4])],
        [const("axis", [0], np.int64)],
    )


def reversed_rows() -> bytes:
    """x [N, 4] -> y = the rows in reverse order: each row alone looks right, together they are mixed up."""
    return model(
        [helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["y"])],
        [value("x", ["N", 4])],
        [value("y", ["N", 4])],
        [
            const("start", [-1], np.int64),
            const("end", [np.iinfo(np.int64).min], np.int64),
            const("axis", [0], np.int64),
            const("step", [-1], np.int64),
        ],
    )


def late_rows() -> bytes:
    """x [N, 16] -> y [N, 16], the upper triangle from 7 below the diagonal on: the ninth row loses its first value."""
    return model(
        [helper.make_node("Trilu", ["x", "k"], ["y"], upper=1)],
        [value("x", ["N", 16])],
        [value("y", ["N", 16])],
        [const("k", -7, np.int64)],
    )


def first_row_capped() -> bytes:
    """x [N, 4] -> y [N, 4], the second value of the first row cut off at 1.1: nothing else couples rows."""
    return model(
        [helper.make_node("ScatterElements", ["x", "place", "cap"], ["y"], axis=0, reduction="min")],
        [value("x", ["N", 4])],
        [value("y", ["N", 4])],
        [const("place", [[0, 0]], np.int64), const("cap", [[np.inf, 1.1]])],
    )


def first_three() -> bytes:
    """x [N, 2] -> y = its first three rows, or as many as there are, stated to be [3, 2]."""
    return model(
        [helper.make_node("Slice", ["x", "start", "end"], ["y"])],
        [value("x", ["N", 2])],
        [value("y", [3, 2])],
        [const("start", [0], np.int64), const("end", [3], np.int64)],
    )


def padded() -> bytes:
    """x [3, 4, 5], pads int64 [6] -> y = x with so many zeros around it: a number among the inputs is a size."""
    return model(
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
        [value("x", [3, 4, 5]), value("pads", [6], TensorProto.INT64)],
        [value("y", [None, None, None])],
    )


def positive_rows() -> bytes:
    """x [N, 4] -> y [M, 4]: only the rows whose sum is positive come out, so rows cannot be told apart afterwards."""
    return model(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["keep"]),
            helper.make_node("Compress", ["x", "keep"], ["y"], axis=0),
        ],
        [value("x", ["N", 4])],
        [value("y", ["M", 4])],
        [const("axis", [1], np.int64), const("zero", 0.0)],
    )


def quantised_mlp(sizes: Sequence[int] = (16, 32, 4), seed: int = 3) -> bytes:
    """x [N, 16] -> y [N, 4] in 8 bits; the scale is taken from the whole batch, so rows are coupled a little."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    layers = layer_weights(sizes, seed)
    flow = "x"
    for index, (weight, bias) in enumerate(layers):
        scale = float(np.abs(weight).max()) / 127.0
        constants += [
            const(f"w{index}", np.round(weight / scale), np.int8),
            const(f"w{index}_scale", scale),
            const(f"b{index}", bias),
        ]
        out = "y" if index == len(layers) - 1 else f"layer{index}"
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [flow], [f"q{index}", f"s{index}", f"z{index}"]),
            helper.make_node("MatMulInteger", [f"q{index}", f"w{index}", f"z{index}"], [f"i{index}"]),
            helper.make_node("Cast", [f"i{index}"], [f"f{index}"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"s{index}", f"w{index}_scale"], [f"k{index}"]),
            helper.make_node("Mul", [f"f{index}", f"k{index}"], [f"m{index}"]),
            helper.make_node("Add", [f"m{index}", f"b{index}"], [out]),
        ]
        flow = out
        if out != "y":
            nodes.append(helper.make_node("Relu", [flow], [f"relu{index}"]))
            flow = f"relu{index}"
    return model(nodes, [value("x", ["N", sizes[0]])], [value("y", ["N", sizes[-1]])], constants)


def noise() -> bytes:
    """x [N, 4] -> y = x + noise [N, 4]: no two runs agree."""
    return model(
        [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        [value("x", ["N", 4])],
        [value("y", ["N", 4])],
    )


# --- faults and time -------------------------------------------------------------------------------------------------

#: `poison` has so many table rows: an index outside [-POISON_ROWS, POISON_ROWS - 1] makes the run fail.
POISON_ROWS = 10


def poison(rows: int = POISON_ROWS) -> bytes:
    """i int64 [N] -> y [N, 4] = rows of a table; one index out of range fails the whole run."""
    table = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    return model(
        [helper.make_node("Gather", ["table", "i"], ["y"], axis=0)],
        [value("i", ["N"], TensorProto.INT64)],
        [value("y", ["N", 4])],
        [const("table", table)],
    )


def slow(width: int = 64) -> bytes:
    """x [N, 4], spins int64 [N] -> y = 2x [N, 4], after as many small matrix products as the greatest of spins.

    The loop multiplies zeros, so the answer never depends on it, and rows stay independent. A huge number never ends.
    """
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["keep_in"], ["keep_out"]),
            helper.make_node("MatMul", ["carry_in", "square"], ["carry_out"]),
        ],
        "body",
        [
            value("iteration", [], TensorProto.INT64),
            value("keep_in", [], TensorProto.BOOL),
            value("carry_in", [width, width]),
        ],
        [value("keep_out", [], TensorProto.BOOL), value("carry_out", [width, width])],
    )
    return model(
        [
            helper.make_node("ReduceMax", ["spins"], ["trips"], keepdims=0),
            helper.make_node("Loop", ["trips", "go", "zeros"], ["carried"], body=body),
            helper.make_node("ReduceSum", ["carried"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("Add", ["double", "nothing"], ["y"]),
        ],
        [value("x", ["N", 4]), value("spins", ["N"], TensorProto.INT64)],
        [value("y", ["N", 4])],
        [
            const("go", True, np.bool_),
            const("zeros", np.zeros((width, width))),
            const("square", np.full((width, width), 0.5)),
        ],
    )
