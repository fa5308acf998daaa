# SPDX-License-Identifier: Apache-2.0
"""The node cases that the package `onnx` makes: a model, inputs, the outputs they must give; and who can run them.

A case is *eligible* when the engine lists its types, none of its inputs is empty, and plain ONNX Runtime gives the
answer that the case wants. Any other has one reason, and the engine a duty all the same: see `test_node_cases.py`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import warnings
from typing import Any

import numpy as np
from conformance.compare import differences
from conformance.plain import PlainError, PlainSession
from onnx import TensorProto, ValueInfoProto, numpy_helper

#: The element types of `cpp/include/anya/tensor.h`, by ONNX's names.
LISTED = {
    getattr(TensorProto, name)
    for name in (
        *("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *("FLOAT16", "BFLOAT16", "FLOAT", "DOUBLE", "STRING"),
    )
}
#: Dropout in training mode gives the same answer twice before it changes.
RUNS = 4


class Kind(enum.StrEnum):
    """Eligible, or why not; the first reason that holds."""

    ELIGIBLE = "eligible"
    NO_TENSOR = "takes or gives a sequence or an optional"
    UNLISTED = "takes or gives an element type that the engine does not list"
    EMPTY = "takes an array without elements"
    NOT_LOADED = "plain ONNX Runtime does not load it"
    NOT_RUN = "plain ONNX Runtime does not run it"
    RANDOM = "plain ONNX Runtime answers it differently every time"
    DISAGREES = "plain ONNX Runtime's answer is not the one that the case wants"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A model, inputs and what they must give. Arrays by name; not arrays where `Kind.NO_TENSOR` will be said of it."""

    name: str
    model: bytes
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    rtol: float
    atol: float
    places: tuple[ValueInfoProto, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What plain ONNX Runtime makes of a case.

    Attributes:
        kind: Whether the engine is to answer as the case wants.
        answer: What plain ONNX Runtime answered; None when it did not.
        loaded: Whether it loaded the model.
        why: Its error, or the first difference.
    """

    kind: Kind
    answer: dict[str, Any] | None = None
    loaded: bool = True
    why: str = ""


@functools.cache
def cases() -> dict[str, Case]:
    """Every case, by name. Takes seconds: the package makes them anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some cases divide by zero on purpose
        from onnx.backend.test.case.node import collect_testcases

        return {each.name: make_case(each) for each in collect_testcases()}


def make_case(made: Any) -> Case:
    """A case in our own words."""
    graph = made.model.graph
    (data,) = made.data_sets  # one set of inputs and outputs each
    inputs, outputs = ([array_of(each) for each in side] for side in data)
    return Case(
        name=made.name,
        model=made.model.SerializeToString(),
        inputs=dict(zip((place.name for place in graph.input), inputs, strict=True)),
        outputs=dict(zip((place.name for place in graph.output), outputs, strict=True)),
        rtol=made.rtol,
        atol=made.atol,
        places=(*graph.input, *graph.output),
    )


def array_of(value: Any) -> Any:
    """A value of a case as an array, where it is one; the types that NumPy lacks come as messages."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)


@functools.cache
def judged(name: str) -> Verdict:
    """What plain ONNX Runtime makes of the case of this name."""
    return judge(cases()[name])


def judge(case: Case) -> Verdict:
    """What plain ONNX Runtime makes of a case."""
    session = None
    why = ""
    try:
        session = PlainSession(case.model)
    except PlainError as error:
        why = str(error)
    loaded = session is not None
    kind = by_its_face(case)
    if kind is not None:
        return Verdict(kind=kind, loaded=loaded, why=why)
    if session is None:
        return Verdict(kind=Kind.NOT_LOADED, loaded=False, why=why)
    try:
        answer, *again = [session.run(case.inputs) for _ in range(RUNS)]
    except PlainError as error:
        return Verdict(kind=Kind.NOT_RUN, why=str(error))
    if found := next(filter(None, (differences(each, answer) for each in again)), ""):
        return Verdict(kind=Kind.RANDOM, why=found)
    found = differences(answer, case.outputs, rtol=case.rtol, atol=case.atol)
    return Verdict(kind=Kind.DISAGREES if found else Kind.ELIGIBLE, answer=answer, why=found)


def by_its_face(case: Case) -> Kind | None:
    """Why a case is not eligible, as far as that can be seen without running it."""
    if any(place.type.WhichOneof("value") != "tensor_type" for place in case.places):
        return Kind.NO_TENSOR
    if any(place.type.tensor_type.elem_type not in LISTED for place in case.places):
        return Kind.UNLISTED
    if any(array.size == 0 for array in case.inputs.values()):
        return Kind.EMPTY
    return None
