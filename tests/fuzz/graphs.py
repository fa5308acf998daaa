# SPDX-License-Identifier: Apache-2.0
"""Fuzz target of the walk over an ONNX file's bytes.

The oracle is protobuf: in what the walk lets through it finds no tensor outside the file but initializers whose files
were read and hashed (ONNX Runtime would read all others by itself), and no operator that is barred.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from fuzz.signed import broken
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper

import anya_engine as anya
from anya_engine import _core

NAMES = ("w.bin", "../w.bin", "/etc/hostname", "v.bin", "", "model.onnx", "a/../w.bin", "w.bin\0")
BARRED = {("com.microsoft", each) for each in ("EPContext", "PyOp", "PythonOp", "Snpe")}
KINDS = (*BARRED, ("", "Relu"), ("", "If"), ("com.microsoft", "Gelu"), ("own", "Twice"))


def messages(message: Message) -> Iterator[Message]:
    """The message and all below it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from messages(each)


def outside(name: str, size: int = 4) -> TensorProto:
    """A tensor whose values lie in w.bin."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[size], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", str(4 * size))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph() -> onnx.ModelProto:
    """A graph with everything that can hold a tensor: initializers, constants, a body, a function, a sparse one."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    inner = helper.make_tensor("c", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Constant", [], ["b"], value=inner)], "body", [], [out])
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [2]),
        [4],
    )
    nodes = [
        helper.make_node("Add", ["x", "w"], ["y"]),
        helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body),
        helper.make_node("Twice", ["y"], ["t"], domain="own"),
    ]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    whole = helper.make_graph(
        nodes, "g", [value], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)], [outside("w"), yes],
        sparse_initializer=[sparse],
    )  # fmt: skip
    twice = helper.make_function(
        "own", "Twice", ["a"], ["r"], [helper.make_node("Add", ["a", "a"], ["r"])], [helper.make_opsetid("", 17)]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(whole, opset_imports=opsets, functions=[twice], ir_version=9)


class Graphs:
    """An ONNX file, bent as a message and broken as bytes."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory()
        self.folder = Path(self._home.name)
        (self.folder / "w.bin").write_bytes(bytes(64))
        self.file = self.folder / "model.onnx"
        self.graph = graph()

    def close(self) -> None:
        """Nothing stays."""
        self._home.cleanup()

    def __call__(self, data: bytes) -> str:
        """One file. The first bytes say how many edits of the message come before those of its bytes."""
        model = onnx.ModelProto()
        model.CopyFrom(self.graph)
        edits = min(data[0] % 4, (len(data) - 1) // 3) if data else 0
        for start in range(1, 1 + 3 * edits, 3):
            self.bend(model, *data[start : start + 3])
        text = broken(data[1 + 3 * edits :], model.SerializeToString())
        self.file.write_bytes(text)
        try:
            _, files = _core.identify_model(str(self.folder))
        except (anya.ModelInvalid, anya.ModelLoadError) as error:
            assert len(str(error)) < 2000
            return error.code
        try:
            model = onnx.ModelProto.FromString(text)
        except DecodeError:
            return "no message"  # corrupt where nothing of interest can be: ONNX Runtime will say so
        self.hold(model, {name for name, _, _ in files})
        return "taken"

    @staticmethod
    def bend(model: onnx.ModelProto, what: int, where: int, how: int) -> None:
        """One edit that leaves a message: a tensor moved outside, a place renamed, an operator exchanged."""
        everything = list(messages(model))

        def pick(kind: type[Any]) -> Any:
            some = [each for each in everything if isinstance(each, kind)]
            return some[where % len(some)]

        if what % 3 == 0:
            pick(TensorProto).CopyFrom(outside("o", how % 24))
        elif what % 3 == 1:
            pick(onnx.StringStringEntryProto).value = NAMES[how % len(NAMES)]
        else:
            pick(onnx.NodeProto).domain, _ = kind = KINDS[how % len(KINDS)]
            pick(onnx.NodeProto).op_type = kind[1]

    @staticmethod
    def hold(model: onnx.ModelProto, files: set[str]) -> None:
        """What protobuf finds in a file that was taken."""
        initializers = list(model.graph.initializer)  # kept: an id lasts as long as its object
        plain = {id(tensor) for tensor in initializers}
        for each in messages(model):
            if isinstance(each, TensorProto) and each.data_location == TensorProto.EXTERNAL:
                assert id(each) in plain, "a tensor outside the file, not among the initializers"
                location = [entry.value for entry in each.external_data if entry.key == "location"]
                assert len(location) == 1 and location[0] in files, location
            if isinstance(each, onnx.NodeProto):
                assert (each.domain, each.op_type) not in BARRED, each.op_type
