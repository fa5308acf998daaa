# SPDX-License-Identifier: Apache-2.0
"""Small real ONNX models for tests and benchmarks, one function each, the same bytes every time.

`MODELS` maps a name to the function that returns the model's bytes; `DATA_FILES` holds what a model keeps outside its
own file. `build_all(folder)` writes every model, so that tests in other languages can read them:
`python tests/models/make_models.py build/test-models`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 21

#: dtype name as NumPy (or ml_dtypes) spells it -> ONNX element type, for the identity models.
ELEMENT_TYPES: Mapping[str, int] = {
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "bool": TensorProto.BOOL,
}

TINY = (64, 256, 128, 10)
MEDIUM = (512, 1024, 1024, 10)
EXTERNAL_FILE = "weights.bin"

Dims = Sequence[int | str | None]


def _value(name: str, dims: Dims, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, list(dims))


def _const(name: str, value: object, dtype: type[np.generic] = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)


def _graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    return helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="make_models"
    )


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """The model as bytes, checked by the `onnx` package, the same for the same arguments."""
    model = _graph(nodes, inputs, outputs, constants)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _layer_weights(sizes: Sequence[int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        (
            (rng.standard_normal((wide, narrow)) / np.sqrt(wide)).astype(np.float32),
            (rng.standard_normal(narrow) * 0.1).astype(np.float32),
        )
        for wide, narrow in pairwise(sizes)
    ]


# --- what is measured ------------------------------------------------------------------------------------------------


def mlp(sizes: Sequence[int], seed: int = 1) -> bytes:
    """Gemm and Relu, layer by layer: x [N, first] -> y [N, last], rows independent."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    layers = _layer_weights(sizes, seed)
    flow = "x"
    for index, (weight, bias) in enumerate(layers):
        last = index == len(layers) - 1
        constants += [_const(f"w{index}", weight), _const(f"b{index}", bias)]
        out = "y" if last else f"gemm{index}"
        nodes.append(helper.make_node("Gemm", [flow, f"w{index}", f"b{index}"], [out]))
        flow = out
        if not last:
            nodes.append(helper.make_node("Relu", [flow], [f"relu{index}"]))
            flow = f"relu{index}"
    return _model(nodes, [_value("x", ["N", sizes[0]])], [_value("y", ["N", sizes[-1]])], constants)


# --- batch axes ------------------------------------------------------------------------------------------------------


def two_inputs() -> bytes:
    """a, b [N, 3] -> sum, diff [N, 3]: two inputs share the batch axis."""
    return _model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["diff"])],
        [_value("a", ["N", 3]), _value("b", ["N", 3])],
        [_value("sum", ["N", 3]), _value("diff", ["N", 3])],
    )


def unlike_batch() -> bytes:
    """a [N, 3], b [M, 3] -> twice_a [N, 3], minus_b [M, 3]: the first axes are free but not the same one."""
    return _model(
        [helper.make_node("Add", ["a", "a"], ["twice_a"]), helper.make_node("Neg", ["b"], ["minus_b"])],
        [_value("a", ["N", 3]), _value("b", ["M", 3])],
        [_value("twice_a", ["N", 3]), _value("minus_b", ["M", 3])],
    )


def unnamed_batch() -> bytes:
    """x [?, 3] -> y = 2x [?, 3]: the batch axis is free and has no name."""
    return _model([helper.make_node("Add", ["x", "x"], ["y"])], [_value("x", [None, 3])], [_value("y", [None, 3])])


def fixed_batch() -> bytes:
    """x [1, 4] -> y = 2x [1, 4]: one row and no more."""
    return _model([helper.make_node("Add", ["x", "x"], ["y"])], [_value("x", [1, 4])], [_value("y", [1, 4])])


def scalar() -> bytes:
    """x [] -> y = x + 1 []: rank 0, no axis at all."""
    return _model(
        [helper.make_node("Add", ["x", "one"], ["y"])], [_value("x", [])], [_value("y", [])], [_const("one", 1.0)]
    )


def total() -> bytes:
    """x [N, 4] -> y [] = sum of everything: a batch axis comes in, none goes out."""
    return _model([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [_value("x", ["N", 4])], [_value("y", [])])


def sequence() -> bytes:
    """x [N, L] -> y = 2x [N, L], total [N]: a free second axis, so requests come in several shapes."""
    return _model(
        [
            helper.make_node("Add", ["x", "x"], ["y"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
        ],
        [_value("x", ["N", "L"])],
        [_value("y", ["N", "L"]), _value("total", ["N"])],
        [_const("axis", [1], np.int64)],
    )


def unused_symbol() -> bytes:
    """x [N, 3] -> y [N, "K"] = its first and last column: the output has an axis that no input tells."""
    return _model(
        [helper.make_node("Compress", ["x", "columns"], ["y"], axis=1)],
        [_value("x", ["N", 3])],
        [_value("y", ["N", "K"])],
        [_const("columns", [True, False, True], np.bool_)],
    )


def several_outputs() -> bytes:
    """x [N, 4] -> double float [N, 4], total float [N], best int64 [N], positive bool [N, 4]."""
    return _model(
        [
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
            helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
        ],
        [_value("x", ["N", 4])],
        [
            _value("double", ["N", 4]),
            _value("total", ["N"]),
            _value("best", ["N"], TensorProto.INT64),
            _value("positive", ["N", 4], TensorProto.BOOL),
        ],
        [_const("axis", [1], np.int64), _const("zero", 0.0)],
    )


def overridable() -> bytes:
    """x [N, 3] -> y = x * scale [N, 3], where scale is an initializer that is also declared as an input."""
    return _model(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [_value("x", ["N", 3]), _value("scale", [1])],
        [_value("y", ["N", 3])],
        [_const("scale", [3.0])],
    )


# --- element types ---------------------------------------------------------------------------------------------------


def identity(dtype: str) -> bytes:
    """x [N, 3] -> y = x, unchanged to the bit, for one element type of ELEMENT_TYPES."""
    element = ELEMENT_TYPES[dtype]
    return _model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [_value("x", ["N", 3], element)],
        [_value("y", ["N", 3], element)],
    )


def strings() -> bytes:
    """text [N] -> echo [N], loud [N] = text + "!"."""
    bang = numpy_helper.from_array(np.array("!", dtype=object), "bang")
    return _model(
        [
            helper.make_node("Identity", ["text"], ["echo"]),
            helper.make_node("StringConcat", ["text", "bang"], ["loud"]),
        ],
        [_value("text", ["N"], TensorProto.STRING)],
        [_value("echo", ["N"], TensorProto.STRING), _value("loud", ["N"], TensorProto.STRING)],
        [bang],
    )


# --- rows that depend on their company -------------------------------------------------------------------------------


def softmax_axis0() -> bytes:
    """x [N, 4] -> y [N, 4], Softmax down the columns: no shape shows that rows are coupled."""
    return _model([helper.make_node("Softmax", ["x"], ["y"], axis=0)], [_value("x", ["N", 4])], [_value("y", ["N", 4])])


def centred() -> bytes:
    """x [N, 4] -> y = x - mean over the rows [N, 4]: coupled by ordinary operators."""
    return _model(
        [
            helper.make_node("ReduceMean", ["x", "axis"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [_value("x", ["N", 4])],
        [_value("y", ["N", 4])],
        [_const("axis", [0], np.int64)],
    )


def reversed_rows() -> bytes:
    """x [N, 4] -> y = the rows in reverse order: each row alone looks right, together they are mixed up."""
    return _model(
        [helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["y"])],
        [_value("x", ["N", 4])],
        [_value("y", ["N", 4])],
        [
            _const("start", [-1], np.int64),
            _const("end", [np.iinfo(np.int64).min], np.int64),
            _const("axis", [0], np.int64),
            _const("step", [-1], np.int64),
        ],
    )


def positive_rows() -> bytes:
    """x [N, 4] -> y [M, 4]: only the rows whose sum is positive come out, so rows cannot be told apart afterwards."""
    return _model(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["keep"]),
            helper.make_node("Compress", ["x", "keep"], ["y"], axis=0),
        ],
        [_value("x", ["N", 4])],
        [_value("y", ["M", 4])],
        [_const("axis", [1], np.int64), _const("zero", 0.0)],
    )


def quantised_mlp(sizes: Sequence[int] = (16, 32, 4), seed: int = 3) -> bytes:
    """x [N, 16] -> y [N, 4] in 8 bits; the scale is taken from the whole batch, so rows are coupled a little."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    layers = _layer_weights(sizes, seed)
    flow = "x"
    for index, (weight, bias) in enumerate(layers):
        scale = float(np.abs(weight).max()) / 127.0
        constants += [
            _const(f"w{index}", np.round(weight / scale), np.int8),
            _const(f"w{index}_scale", scale),
            _const(f"b{index}", bias),
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
    return _model(nodes, [_value("x", ["N", sizes[0]])], [_value("y", ["N", sizes[-1]])], constants)


def noise() -> bytes:
    """x [N, 4] -> y = x + noise [N, 4]: no two runs agree."""
    return _model(
        [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        [_value("x", ["N", 4])],
        [_value("y", ["N", 4])],
    )


# --- faults and time -------------------------------------------------------------------------------------------------

#: `poison` has so many table rows: an index outside [-POISON_ROWS, POISON_ROWS - 1] makes the run fail.
POISON_ROWS = 10


def poison() -> bytes:
    """i int64 [N] -> y [N, 4] = rows of a table; one index out of range fails the whole run."""
    table = np.arange(POISON_ROWS * 4, dtype=np.float32).reshape(POISON_ROWS, 4)
    return _model(
        [helper.make_node("Gather", ["table", "i"], ["y"], axis=0)],
        [_value("i", ["N"], TensorProto.INT64)],
        [_value("y", ["N", 4])],
        [_const("table", table)],
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
            _value("iteration", [], TensorProto.INT64),
            _value("keep_in", [], TensorProto.BOOL),
            _value("carry_in", [width, width]),
        ],
        [_value("keep_out", [], TensorProto.BOOL), _value("carry_out", [width, width])],
    )
    return _model(
        [
            helper.make_node("ReduceMax", ["spins"], ["trips"], keepdims=0),
            helper.make_node("Loop", ["trips", "go", "zeros"], ["carried"], body=body),
            helper.make_node("ReduceSum", ["carried"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("Add", ["double", "nothing"], ["y"]),
        ],
        [_value("x", ["N", 4]), _value("spins", ["N"], TensorProto.INT64)],
        [_value("y", ["N", 4])],
        [
            _const("go", True, np.bool_),
            _const("zeros", np.zeros((width, width))),
            _const("square", np.full((width, width), 0.5)),
        ],
    )


# --- files and versions ----------------------------------------------------------------------------------------------


def _external_weights() -> np.ndarray:
    weights: np.ndarray = np.random.default_rng(7).standard_normal((8, 4)).astype(np.float32)
    return weights


def external() -> bytes:
    """x [N, 8] -> y = x @ w [N, 4], with w in the file EXTERNAL_FILE beside the model, from byte 16 on."""
    weights = _external_weights()
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=weights.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": EXTERNAL_FILE, "offset": "16", "length": str(weights.nbytes)}.items():
        tensor.external_data.add(key=key, value=text)
    model = _graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [_value("x", ["N", 8])], [_value("y", ["N", 4])], [tensor]
    )
    return bytes(model.SerializeToString(deterministic=True))  # the checker would look for the file


def external_files() -> Mapping[str, bytes]:
    """What `external` needs beside it; the first 16 bytes belong to nobody."""
    return {EXTERNAL_FILE: bytes(range(16)) + _external_weights().tobytes()}


def which_version(version: int) -> bytes:
    """x [N, 1] -> version int64 [N]: the answer tells which version of a model gave it."""
    value = helper.make_tensor("value", TensorProto.INT64, [1], [version])
    return _model(
        [
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("ConstantOfShape", ["rows"], ["version"], value=value),
        ],
        [_value("x", ["N", 1])],
        [_value("version", ["N"], TensorProto.INT64)],
    )


# --- the table -------------------------------------------------------------------------------------------------------

MODELS: Mapping[str, Callable[[], bytes]] = {
    "tiny": partial(mlp, TINY),
    "medium": partial(mlp, MEDIUM, seed=2),
    "two_inputs": two_inputs,
    "unlike_batch": unlike_batch,
    "unnamed_batch": unnamed_batch,
    "fixed_batch": fixed_batch,
    "scalar": scalar,
    "total": total,
    "sequence": sequence,
    "unused_symbol": unused_symbol,
    "several_outputs": several_outputs,
    "overridable": overridable,
    **{f"identity_{dtype}": partial(identity, dtype) for dtype in ELEMENT_TYPES},
    "strings": strings,
    "softmax_axis0": softmax_axis0,
    "centred": centred,
    "reversed_rows": reversed_rows,
    "positive_rows": positive_rows,
    "quantised_mlp": quantised_mlp,
    "noise": noise,
    "poison": poison,
    "slow": slow,
    "external": external,
    **{f"version_{number}": partial(which_version, number) for number in (1, 2, 3)},
}

#: Models that keep data outside their own file: name -> {file name: content}.
DATA_FILES: Mapping[str, Callable[[], Mapping[str, bytes]]] = {"external": external_files}


def build(name: str, folder: Path) -> Path:
    """Writes one model as the directory `folder/name` (model.onnx and its data files) and returns that directory."""
    directory = folder / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(MODELS[name]())
    for file_name, content in DATA_FILES[name]().items() if name in DATA_FILES else ():
        (directory / file_name).write_bytes(content)
    return directory


def build_all(folder: Path) -> list[Path]:
    """Writes every model of the table, each as a directory under `folder`."""
    return [build(name, folder) for name in MODELS]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_models.py FOLDER")
    print(f"{len(build_all(Path(sys.argv[1])))} models in {sys.argv[1]}")
