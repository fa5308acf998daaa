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
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))

from models.awkward import (
    centred,
    first_row_capped,
    first_three,
    late_rows,
    noise,
    padded,
    poison,
    positive_rows,
    quantised_mlp,
    reversed_rows,
    slow,
    softmax_axis0,
)
from models.parts import const, graph, layer_weights, model, value

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

# --- what is measured ------------------------------------------------------------------------------------------------


def mlp(sizes: Sequence[int], seed: int = 1) -> bytes:
    """Gemm and Relu, layer by layer: x [N, first] -> y [N, last], rows independent."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    layers = layer_weights(sizes, seed)
    flow = "x"
    for index, (weight, bias) in enumerate(layers):
        last = index == len(layers) - 1
        constants += [const(f"w{index}", weight), const(f"b{index}", bias)]
        out = "y" if last else f"gemm{index}"
        nodes.append(helper.make_node("Gemm", [flow, f"w{index}", f"b{index}"], [out]))
        flow = out
        if not last:
            nodes.append(helper.make_node("Relu", [flow], [f"relu{index}"]))
            flow = f"relu{index}"
    return model(nodes, [value("x", ["N", sizes[0]])], [value("y", ["N", sizes[-1]])], constants)


# --- batch axes ------------------------------------------------------------------------------------------------------


def two_inputs() -> bytes:
    """a, b [N, 3] -> sum, diff [N, 3]: two inputs share the batch axis."""
    return model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["diff"])],
        [value("a", ["N", 3]), value("b", ["N", 3])],
        [value("sum", ["N", 3]), value("diff", ["N", 3])],
    )


def unlike_batch() -> bytes:
    """a [N, 3], b [M, 3] -> twice_a [N, 3], minus_b [M, 3]: the first axes are free but not the same one."""
    return model(
        [helper.make_node("Add", ["a", "a"], ["twice_a"]), helper.make_node("Neg", ["b"], ["minus_b"])],
        [value("a", ["N", 3]), value("b", ["M", 3])],
        [value("twice_a", ["N", 3]), value("minus_b", ["M", 3])],
    )


def unnamed_batch() -> bytes:
    """x [?, 3] -> y = 2x [?, 3]: the batch axis is free and has no name."""
    return model([helper.make_node("Add", ["x", "x"], ["y"])], [value("x", [None, 3])], [value("y", [None, 3])])


def fixed_batch() -> bytes:
    """x [1, 4] -> y = 2x [1, 4]: one row and no more."""
    return model([helper.make_node("Add", ["x", "x"], ["y"])], [value("x", [1, 4])], [value("y", [1, 4])])


def scalar() -> bytes:
    """x [] -> y = x + 1 []: rank 0, no axis at all."""
    return model(
        [helper.make_node("Add", ["x", "one"], ["y"])], [value("x", [])], [value("y", [])], [const("one", 1.0)]
    )


def total() -> bytes:
    """x [N, 4] -> y [] = sum of everything: a batch axis comes in, none goes out."""
    return model([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [value("x", ["N", 4])], [value("y", [])])


def sequence() -> bytes:
    """x [N, L] -> y = 2x [N, L], total [N]: a free second axis, so requests come in several shapes."""
    return model(
        [
            helper.make_node("Add", ["x", "x"], ["y"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
        ],
        [value("x", ["N", "L"])],
        [value("y", ["N", "L"]), value("total", ["N"])],
        [const("axis", [1], np.int64)],
    )


def unused_symbol() -> bytes:
    """x [N, 3] -> y [N, "K"] = its first and last column: the output has an axis that no input tells."""
    return model(
        [helper.make_node("Compress", ["x", "columns"], ["y"], axis=1)],
        [value("x", ["N", 3])],
        [value("y", ["N", "K"])],
        [const("columns", [True, False, True], np.bool_)],
    )


def several_outputs() -> bytes:
    """x [N, 4] -> double float [N, 4], total float [N], best int64 [N], positive bool [N, 4]."""
    return model(
        [
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
            helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
            helper.make_node("Greater", ["x", "zero"], ["positive"]),
        ],
        [value("x", ["N", 4])],
        [
            value("double", ["N", 4]),
            value("total", ["N"]),
            value("best", ["N"], TensorProto.INT64),
            value("positive", ["N", 4], TensorProto.BOOL),
        ],
        [const("axis", [1], np.int64), const("zero", 0.0)],
    )


def overridable() -> bytes:
    """x [N, 3] -> y = x * scale [N, 3], where scale is an initializer that is also declared as an input."""
    return model(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        [value("x", ["N", 3]), value("scale", [1])],
        [value("y", ["N", 3])],
        [const("scale", [3.0])],
    )


# --- element types ---------------------------------------------------------------------------------------------------


def identity(dtype: str) -> bytes:
    """x [N, 3] -> y = x, unchanged to the bit, for one element type of ELEMENT_TYPES."""
    element = ELEMENT_TYPES[dtype]
    return model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", ["N", 3], element)],
        [value("y", ["N", 3], element)],
    )


def strings() -> bytes:
    """text [N] -> echo [N], loud [N] = text + "!"."""
    bang = numpy_helper.from_array(np.array("!", dtype=object), "bang")
    return model(
        [
            helper.make_node("Identity", ["text"], ["echo"]),
            helper.make_node("StringConcat", ["text", "bang"], ["loud"]),
        ],
        [value("text", ["N"], TensorProto.STRING)],
        [value("echo", ["N"], TensorProto.STRING), value("loud", ["N"], TensorProto.STRING)],
        [bang],
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
    made = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 8])], [value("y", ["N", 4])], [tensor]
    )
    return bytes(made.SerializeToString(deterministic=True))  # the checker would look for the file


def external_files() -> Mapping[str, bytes]:
    """What `external` needs beside it; the first 16 bytes belong to nobody."""
    return {EXTERNAL_FILE: bytes(range(16)) + _external_weights().tobytes()}


def which_version(version: int) -> bytes:
    """x [N, 1] -> version int64 [N]: the answer tells which version of a model gave it."""
    number = helper.make_tensor("value", TensorProto.INT64, [1], [version])
    return model(
        [
            helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
            helper.make_node("ConstantOfShape", ["rows"], ["version"], value=number),
        ],
        [value("x", ["N", 1])],
        [value("version", ["N"], TensorProto.INT64)],
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
    "late_rows": late_rows,
    "first_row_capped": first_row_capped,
    "first_three": first_three,
    "padded": padded,
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
