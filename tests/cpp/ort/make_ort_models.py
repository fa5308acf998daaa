# SPDX-License-Identifier: Apache-2.0
"""Writes the models of the tests in this folder, as small as each fact allows: make_ort_models.py FOLDER."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Value = onnx.ValueInfoProto
Dims = Sequence[int | str | None] | None
FLOAT = TensorProto.FLOAT
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {}


def named(function: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    """Puts a model into the table under its function's name."""
    MODELS[function.__name__] = function
    return function


def value(name: str, dims: Dims, dtype: int = FLOAT) -> Value:
    """A tensor of the graph; dims None: of unknown rank."""
    return helper.make_tensor_value_info(name, dtype, dims)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    initializers: Sequence[TensorProto] = (),
    sparse: Sequence[onnx.SparseTensorProto] = (),
) -> onnx.ModelProto:
    """A model of one graph, at versions that the oldest supported ONNX Runtime reads."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(initializers), sparse_initializer=list(sparse))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="anya-engine tests")


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """One operator."""
    return helper.make_node(op, inputs, outputs, **attributes)


def external(name: str, shape: Sequence[int], location: str) -> TensorProto:
    """A float32 tensor whose data is the start of the file `location`."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    bytes_ = 4 * int(np.prod(shape))
    for key, text in (("location", location), ("offset", "0"), ("length", str(bytes_))):
        tensor.external_data.add(key=key, value=text)
    return tensor


@named
def mlp() -> onnx.ModelProto:
    """A multi-layer perceptron 64-256-128-10: the model of the run-time comparison."""
    random = np.random.default_rng(7)
    sizes = (64, 256, 128, 10)
    nodes, weights, last = [], [], "x"
    for i, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        matrix = random.standard_normal((rows, columns), dtype=np.float32) / np.float32(np.sqrt(rows))
        weights.append(numpy_helper.from_array(matrix, f"w{i}"))
        weights.append(numpy_helper.from_array(np.full(columns, 0.01, np.float32), f"b{i}"))
        out = "y" if i == 2 else f"h{i}"
        nodes.append(node("Gemm", [last, f"w{i}", f"b{i}"], [out if i == 2 else f"g{i}"]))
        if i < 2:
            nodes.append(node("Relu", [f"g{i}"], [out]))
        last = out
    return model(nodes, [value("x", ["N", 64])], [value("y", ["N", 10])], weights)


@named
def schema() -> onnx.ModelProto:
    """Every way to say a shape: symbol, number, nothing, scalar, unknown rank."""
    shape = numpy_helper.from_array(np.array([], np.int64), "no_axes")
    nodes = [
        node("Identity", ["a"], ["a_out"]),
        node("Identity", ["s"], ["s_out"]),
        node("Reshape", ["one", "dims"], ["any"]),
        node("Reshape", ["one", "no_axes"], ["scalar"]),
    ]
    inputs = [
        value("a", ["batch", 3, None]),
        value("s", [], TensorProto.INT64),
        value("one", [1]),
        value("dims", ["rank"], TensorProto.INT64),
    ]
    outputs = [
        value("a_out", ["batch", 3, None]),
        value("s_out", [], TensorProto.INT64),
        value("any", None),
        value("scalar", []),
    ]
    return model(nodes, inputs, outputs, [shape])


@named
def add_sub_mul() -> onnx.ModelProto:
    """Three outputs of two inputs, told apart by value."""
    nodes = [node(op, ["a", "b"], [name]) for op, name in (("Add", "sum"), ("Sub", "diff"), ("Mul", "product"))]
    outputs = [value(name, ["N", 3]) for name in ("sum", "diff", "product")]
    return model(nodes, [value("a", ["N", 3]), value("b", ["N", 3])], outputs)


def types_model() -> onnx.ModelProto:
    """Each numeric type straight through an operator that leaves bits as they are."""
    types = [
        ("float32", TensorProto.FLOAT),
        ("uint8", TensorProto.UINT8),
        ("int8", TensorProto.INT8),
        ("uint16", TensorProto.UINT16),
        ("int16", TensorProto.INT16),
        ("int32", TensorProto.INT32),
        ("int64", TensorProto.INT64),
        ("bool", TensorProto.BOOL),
        ("float16", TensorProto.FLOAT16),
        ("float64", TensorProto.DOUBLE),
        ("uint32", TensorProto.UINT32),
        ("uint64", TensorProto.UINT64),
        ("bfloat16", TensorProto.BFLOAT16),
    ]
    nodes = [node("Transpose", [name], [f"{name}_t"], perm=[1, 0]) for name, _ in types]
    return model(
        nodes,
        [value(name, ["R", "C"], dtype) for name, dtype in types],
        [value(f"{name}_t", ["C", "R"], dtype) for name, dtype in types],
    )


MODELS["types"] = types_model


@named
def strings() -> onnx.ModelProto:
    """Strings in, the same strings out, and each again upside down."""
    text = TensorProto.STRING
    nodes = [
        node("Identity", ["s"], ["same"]),
        node("Gather", ["s", "order"], ["picked"], axis=0),
    ]
    inputs = [value("s", ["N"], text), value("order", ["M"], TensorProto.INT64)]
    return model(nodes, inputs, [value("same", ["N"], text), value("picked", ["M"], text)])


@named
def scalar() -> onnx.ModelProto:
    """Rank 0 in and out."""
    return model([node("Neg", ["x"], ["y"])], [value("x", [])], [value("y", [])])


@named
def passthrough() -> onnx.ModelProto:
    """Outputs that no operator computes: an input, a constant, and the same value under two names."""
    constant = numpy_helper.from_array(np.array([5, 6, 7], np.float32), "five")
    nodes = [
        node("Identity", ["x"], ["copy"]),
        node("Identity", ["five"], ["constant"]),
        node("Neg", ["x"], ["neg"]),
        node("Identity", ["neg"], ["neg_again"]),
    ]
    outputs = [value("copy", ["N"]), value("constant", [3]), value("neg", ["N"]), value("neg_again", ["N"])]
    return model(nodes, [value("x", ["N"])], outputs, [constant])


@named
def first_three() -> onnx.ModelProto:
    """The first three rows of x [N, 2], or as many as there are; y is said to be [3, 2] whatever N is."""
    bounds = [numpy_helper.from_array(np.array([at], np.int64), name) for name, at in (("from", 0), ("to", 3))]
    return model([node("Slice", ["x", "from", "to"], ["y"])], [value("x", ["N", 2])], [value("y", [3, 2])], bounds)


@named
def initializer_output() -> onnx.ModelProto:
    """An output that is an initializer itself, and one that is the input itself."""
    constant = numpy_helper.from_array(np.array([5, 6, 7], np.float32), "five")
    return model(
        [node("Neg", ["x"], ["y"])],
        [value("x", ["N"])],
        [value("five", [3]), value("x", ["N"]), value("y", ["N"])],
        [constant],
    )


@named
def control_flow() -> onnx.ModelProto:
    """Outputs of branches and loops that hand through what they were given: an outer value, an initializer, a state."""
    constant = numpy_helper.from_array(np.array([5, 6], np.float32), "five")
    inner = numpy_helper.from_array(np.array([8, 9], np.float32), "eight")
    then_branch = helper.make_graph(
        [node("Identity", ["x"], ["then_x"]), node("Identity", ["five"], ["then_five"])],
        "then",
        [],
        [value("then_x", ["N"]), value("then_five", ["N"]), value("eight", [2])],
        [inner],
    )
    else_branch = helper.make_graph(
        [node("Neg", ["x"], ["else_x"]), node("Neg", ["five"], ["else_five"]), node("Neg", ["x"], ["else_eight"])],
        "else",
        [],
        [value("else_x", ["N"]), value("else_five", ["N"]), value("else_eight", ["N"])],
    )
    body = helper.make_graph(
        [
            node("Identity", ["go_in"], ["go"]),
            node("Add", ["v_in", "v_in"], ["v"]),
            node("Identity", ["v_in"], ["scan"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("go_in", [], TensorProto.BOOL), value("v_in", ["N"])],
        [value("go", [], TensorProto.BOOL), value("v", ["N"]), value("scan", ["N"])],
    )
    nodes = [
        node("If", ["flag"], ["if_x", "if_five", "if_eight"], then_branch=then_branch, else_branch=else_branch),
        node("Loop", ["turns", "", "x"], ["loop_x", "loop_scan"], body=body),
    ]
    inputs = [
        value("x", ["N"]),
        value("flag", [], TensorProto.BOOL),
        value("turns", [], TensorProto.INT64),
    ]
    outputs = [value(name, ["N"]) for name in ("if_x", "if_five", "if_eight", "loop_x")]
    return model(nodes, inputs, [*outputs, value("loop_scan", ["turns", "N"])], [constant])


@named
def expand() -> onnx.ModelProto:
    """The output's shape is the value of the input: what is known before the run is its type alone."""
    nodes = [node("ConstantOfShape", ["dims"], ["y"], value=numpy_helper.from_array(np.array([2], np.float32)))]
    return model(nodes, [value("dims", ["R"], TensorProto.INT64)], [value("y", None)])


@named
def gather() -> onnx.ModelProto:
    """Fails at run for an index out of range."""
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32), "table")
    nodes = [node("Gather", ["table", "i"], ["y"])]
    return model(nodes, [value("i", ["N"], TensorProto.INT64)], [value("y", ["N"])], [table])


@named
def endless() -> onnx.ModelProto:
    """A loop that never ends by itself."""
    body = helper.make_graph(
        [node("Identity", ["go_in"], ["go"]), node("Add", ["v_in", "step"], ["v"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go_in", [], TensorProto.BOOL), value("v_in", [1])],
        [value("go", [], TensorProto.BOOL), value("v", [1])],
    )
    one = numpy_helper.from_array(np.array([1], np.float32), "step")
    yes = numpy_helper.from_array(np.array(True), "yes")
    nodes = [node("Loop", ["", "yes", "x"], ["y"], body=body)]
    return model(nodes, [value("x", [1])], [value("y", [1])], [one, yes])


@named
def warns() -> onnx.ModelProto:
    """An initializer that nothing uses: ONNX Runtime says so in its log."""
    unused = numpy_helper.from_array(np.zeros(3, np.float32), "nobody_uses_me")
    return model([node("Neg", ["x"], ["y"])], [value("x", ["N"])], [value("y", ["N"])], [unused])


@named
def sequence_output() -> onnx.ModelProto:
    """An output that is no tensor."""
    out = helper.make_tensor_sequence_value_info("sequence", FLOAT, None)
    return model([node("SequenceConstruct", ["x"], ["sequence"])], [value("x", ["N"])], [out])


@named
def map_input() -> onnx.ModelProto:
    """An input that is a map."""
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(FLOAT, None))
    map_in = helper.make_value_info("dictionary", kind)
    dense = node("CastMap", ["dictionary"], ["y"], cast_to="TO_FLOAT", domain="ai.onnx.ml")
    return model([dense], [map_in], [value("y", [1, None])])


@named
def optional_input() -> onnx.ModelProto:
    """An input that may be absent."""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, ["N"]))
    nodes = [node("OptionalGetElement", ["maybe"], ["y"])]
    return model(nodes, [helper.make_value_info("maybe", kind)], [value("y", ["N"])])


@named
def float8_input() -> onnx.ModelProto:
    """An input of an element type that the core does not run."""
    graph = helper.make_graph(
        [node("Cast", ["tiny"], ["y"], to=FLOAT)],
        "test",
        [value("tiny", ["N"], TensorProto.FLOAT8E4M3FN)],
        [value("y", ["N"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@named
def many_axes() -> onnx.ModelProto:
    """An output with seventeen axes."""
    return model([node("Identity", ["x"], ["y"])], [value("x", [1] * 17)], [value("y", [1] * 17)])


@named
def unknown_operator() -> onnx.ModelProto:
    """An operator nobody has."""
    return model([node("NoSuchOperator", ["x"], ["y"])], [value("x", ["N"])], [value("y", ["N"])])


@named
def external_top() -> onnx.ModelProto:
    """Weights in a file, at the one place where that is allowed."""
    nodes = [node("Add", ["x", "w"], ["y"])]
    return model(nodes, [value("x", [2])], [value("y", [2])], [external("w", [2], "weights.bin")])


@named
def external_subgraph() -> onnx.ModelProto:
    """Weights in a file, named from inside a branch."""
    branches = {
        key: helper.make_graph(
            [node("Identity", [name], [f"{name}_out"])],
            key,
            [],
            [value(f"{name}_out", [2])],
            [external(name, [2], "weights.bin")],
        )
        for key, name in (("then_branch", "w_then"), ("else_branch", "w_else"))
    }
    nodes = [node("If", ["flag"], ["w"], **branches), node("Add", ["x", "w"], ["y"])]
    return model(nodes, [value("x", [2]), value("flag", [], TensorProto.BOOL)], [value("y", [2])])


@named
def external_sparse() -> onnx.ModelProto:
    """The values of a sparse initializer in a file."""
    indices = numpy_helper.from_array(np.array([0, 1], np.int64), "")
    sparse = onnx.SparseTensorProto(values=external("w", [2], "weights.bin"), indices=indices, dims=[2])
    nodes = [node("Add", ["x", "w"], ["y"])]
    return model(nodes, [value("x", [2])], [value("y", [2])], sparse=[sparse])


@named
def external_constant() -> onnx.ModelProto:
    """The value of a Constant operator in a file."""
    nodes = [node("Constant", [], ["w"], value=external("c", [2], "weights.bin")), node("Add", ["x", "w"], ["y"])]
    return model(nodes, [value("x", [2])], [value("y", [2])])


@named
def external_outside() -> onnx.ModelProto:
    """Weights in a file outside the model's folder."""
    nodes = [node("Add", ["x", "w"], ["y"])]
    return model(nodes, [value("x", [2])], [value("y", [2])], [external("w", [2], "../../attacker/weights.bin")])


def main(folder: Path) -> None:
    """Writes every model of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MODELS.items():
        (folder / f"{name}.onnx").write_bytes(make().SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
