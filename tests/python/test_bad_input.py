# SPDX-License-Identifier: Apache-2.0
"""What a request can get wrong: refused at the door, in words, counted apart, and nobody else notices."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import Ask, answers, every_way, floats, refused, stats_of

import anya_engine as anya


class Structured:
    dtype = np.dtype([("a", "f4"), ("b", "f4")])


#: A wrong input for unnamed_batch, x float32 [?, 3] -> the words that its refusal must have.
WRONG_TYPES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "float64": (np.zeros((2, 3)), ("'x'", "float64", "float32")),
    "float16": (np.zeros((2, 3), np.float16), ("'x'", "float16", "float32")),
    "int64": (np.zeros((2, 3), np.int64), ("'x'", "int64", "float32")),
    "bool": (np.zeros((2, 3), bool), ("'x'", "bool", "float32")),
    "big-endian": (np.zeros((2, 3), ">f4"), ("'x'", "big-endian", "newbyteorder('=')")),
    "object": (np.zeros((2, 3), object), ("'x'", "object", "float32")),
    "text": (np.full((2, 3), "1.0"), ("'x'", "<U3", "float32")),
    "structured": (np.zeros((2, 3), Structured.dtype), ("'x'", "'a'", "float32")),
    "complex": (np.zeros((2, 3), np.complex64), ("'x'", "complex64", "float32")),
    "long double": (np.zeros((2, 3), np.longdouble), ("'x'", "float128", "float32")),
    "datetime": (np.zeros((2, 3), "M8[s]"), ("'x'", "datetime64[s]", "float32")),
    "timedelta": (np.zeros((2, 3), "m8[s]"), ("'x'", "timedelta64[s]", "float32")),
    "masked": (np.ma.masked_array(floats(2, 3), mask=True), ("'x'", "masked", "filled")),
    "list": ([[1.0, 2.0, 3.0]], ("'x'", "list", "NumPy array")),
    "None": (None, ("'x'", "NoneType", "NumPy array")),
    "number": (1.5, ("'x'", "float", "NumPy array")),
    "str": ("words", ("'x'", "str", "NumPy array")),
    "date": (dt.date(2020, 1, 1), ("'x'", "date", "NumPy array")),
}


@every_way
@pytest.mark.parametrize("case", list(WRONG_TYPES))
def test_a_wrong_type_is_named_with_the_right_one(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """Whatever is not the model's element type is refused with the input, its type and the type to convert to."""
    load("unnamed_batch")
    value, words = WRONG_TYPES[case]
    with refused(engine, "unnamed_batch", anya.InvalidInput, *words, field="x"):
        ask(engine, "unnamed_batch", {"x": value})
    answers(engine)


WRONG_SHAPES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "no batch axis": ((3,), ("'x'", "1 dimensions", "takes 2", "x[None]")),
    "scalar": ((), ("'x'", "0 dimensions", "takes 2")),
    "rank too high": ((1, 2, 3), ("'x'", "3 dimensions", "takes 2")),
    "fixed dimension": ((2, 4), ("'x'", "size 4 on axis 1", "takes 3")),
    "no rows": ((0, 3), ("'x'", "size 0 on axis 0", "at least one row")),
    "empty dimension": ((2, 0), ("'x'", "size 0 on axis 1", "takes 3")),
}


@every_way
@pytest.mark.parametrize("case", list(WRONG_SHAPES))
def test_a_wrong_shape_is_named_with_the_right_one(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """A wrong rank, a wrong fixed size and no rows at all are refused with the axis, the size and the right size."""
    load("unnamed_batch")
    shape, words = WRONG_SHAPES[case]
    with refused(engine, "unnamed_batch", anya.InvalidInput, *words, field="x"):
        ask(engine, "unnamed_batch", {"x": np.zeros(shape, np.float32)})
    answers(engine)


@every_way
def test_rows_must_agree_across_inputs(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """Inputs of one request that disagree on the batch are refused with both counts."""
    load("two_inputs")
    with refused(engine, "two_inputs", anya.InvalidInput, "'b'", "5 rows", "first input has 4", field="b"):
        ask(engine, "two_inputs", {"a": floats(4, 3), "b": floats(5, 3)})


@every_way
def test_an_empty_free_dimension_is_refused(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A free axis of size zero is refused too, before ONNX Runtime sees it."""
    load("sequence")
    with refused(engine, "sequence", anya.InvalidInput, "'x'", "size 0 on axis 1", field="x"):
        ask(engine, "sequence", {"x": np.zeros((2, 0), np.float32)})


NAMES: dict[str, tuple[str, Any, tuple[str, ...], str]] = {
    "missing": ("two_inputs", {"a": floats(1, 3)}, ("'b' is missing", "'a', 'b'"), "b"),
    "misspelt": ("two_inputs", {"a": floats(1, 3), "B": floats(1, 3)}, ("'b' is missing", "'a', 'b'"), "b"),
    "unknown": ("unnamed_batch", {"x": floats(1, 3), "extra": 1}, ("no input 'extra'", "'x'"), "extra"),
    "not a string": ("unnamed_batch", {"x": floats(1, 3), 7: 1}, ("no input '7'", "'x'"), "7"),
    "NUL": ("unnamed_batch", {"x": floats(1, 3), "x\0": 1}, ("no input 'x\0'",), "x\0"),
    "long": ("unnamed_batch", {"x": floats(1, 3), "n" * 10_000: 1}, ("no input 'nnn",), "n" * 120),
    "empty": ("unnamed_batch", {}, ("'x' is missing",), "x"),
    "bare array": ("two_inputs", floats(1, 3), ("2 inputs", "'a', 'b'", "mapping"), "inputs"),
}


@every_way
@pytest.mark.parametrize("case", list(NAMES))
def test_names_must_be_the_models(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """Missing and unknown names are refused with the names there are; a monstrous name does not come back whole."""
    name, inputs, words, field = NAMES[case]
    load(name)
    with refused(engine, name, anya.InvalidInput, *words, field=field):
        ask(engine, name, inputs)


TERMS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "unknown output": ({"outputs": ["z"]}, ("no output 'z'", "'y'"), "z"),
    "output twice": ({"outputs": ["y", "y"]}, ("'y'", "twice"), "y"),
    "no outputs": ({"outputs": []}, ("empty", "'y'"), "outputs"),
    "outputs a string": ({"outputs": "y"}, ("string", "list of names"), "outputs"),
    "outputs no sequence": ({"outputs": 3}, ("sequence of names",), "outputs"),
    "negative timeout": ({"timeout": -0.5}, ("timeout is -0.5", "from 0"), "timeout"),
    "NaN timeout": ({"timeout": float("nan")}, ("timeout is nan", "None"), "timeout"),
    "endless timeout": ({"timeout": float("inf")}, ("timeout is inf", "None"), "timeout"),
    "timeout no number": ({"timeout": "soon"}, ("timeout is a str", "seconds"), "timeout"),
    "priority 0": ({"priority": 0}, ("priority is 0", "1 (highest) to 255"), "priority"),
    "priority 256": ({"priority": 256}, ("priority is 256", "255"), "priority"),
    "priority huge": ({"priority": 1 << 70}, ("priority is 11805", "255"), "priority"),
    "priority no integer": ({"priority": 1.5}, ("priority is 1.5", "integer"), "priority"),
    "tenant no string": ({"tenant": 5}, ("tenant is a int", "string"), "tenant"),
}


@every_way
@pytest.mark.parametrize("case", list(TERMS))
def test_terms_must_make_sense(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """Outputs, timeout, priority and tenant are checked before the inputs are looked at."""
    load("unnamed_batch")
    terms, words, field = TERMS[case]
    with refused(engine, "unnamed_batch", anya.InvalidInput, *words, field=field):
        ask(engine, "unnamed_batch", {"x": floats(1, 3)}, **terms)
    answers(engine)


@every_way
def test_a_timeout_of_zero_has_run_out(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """timeout=0 is refused as run out, with the way out."""
    load("unnamed_batch")
    with refused(engine, "unnamed_batch", anya.DeadlineExceeded, "timeout of 0 s", "above zero"):
        ask(engine, "unnamed_batch", {"x": floats(1, 3)}, timeout=0)


@every_way
@pytest.mark.parametrize("rows", [1 << 38, 1 << 58])
def test_terabytes_are_refused_from_the_descriptor(engine: anya.Engine, load: Load, ask: Ask, rows: int) -> None:
    """An array that claims terabytes is refused by its shape, in words with both sizes; no byte of it is touched."""
    load("unnamed_batch")
    claim = np.broadcast_to(np.float32(1), (rows, 3))
    with refused(engine, "unnamed_batch", anya.InputTooLarge, "max_request_bytes", str(256 << 20)):
        ask(engine, "unnamed_batch", {"x": claim})
    with refused(engine, "unnamed_batch", anya.InvalidInput, "float64"):
        ask(engine, "unnamed_batch", {"x": np.broadcast_to(np.float64(1), (rows >> 1, 3))})
    answers(engine)


def test_max_request_bytes_is_a_limit_to_the_byte(engine: anya.Engine, load: Load) -> None:
    """A request of exactly max_request_bytes is taken; one row more is refused with the value and the limit."""
    load("unnamed_batch", config=anya.ModelConfig(max_request_bytes=120))
    engine.infer("unnamed_batch", floats(10, 3))
    with refused(engine, "unnamed_batch", anya.InputTooLarge, "132", "120"):
        engine.infer("unnamed_batch", floats(11, 3))
    with pytest.raises(anya.InputTooLarge) as caught:
        engine.infer("unnamed_batch", floats(11, 3))
    assert (caught.value.code, caught.value.retryable) == ("INPUT_TOO_LARGE", False)
    assert isinstance(caught.value, ValueError)


@every_way
@pytest.mark.parametrize("item", [1, None, 2.5, ["nested"]])
def test_a_string_input_takes_strings(engine: anya.Engine, load: Load, ask: Ask, item: Any) -> None:
    """An element that is no text is refused with its position and its type."""
    load("strings")
    text = np.array(["fine", None], dtype=object)
    text[1] = item
    with refused(engine, "strings", anya.InvalidInput, "'text'", "element 1", type(item).__name__, field="text"):
        ask(engine, "strings", {"text": text})


@every_way
def test_text_that_is_no_utf8_is_refused(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A lone surrogate cannot be encoded: refused, nothing is replaced."""
    load("strings")
    with refused(engine, "strings", anya.InvalidInput, "'text'", "surrogate", field="text"):
        ask(engine, "strings", {"text": np.array(["\ud800"], dtype=object)})


class Raises:
    """An input whose own code fails."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise KeyError("mine")


class Reenters:
    """An input whose own code asks the engine."""

    def __init__(self, engine: anya.Engine) -> None:
        self.engine = engine

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.engine.infer("unnamed_batch", floats(1, 3))["y"]


@every_way
def test_an_array_that_raises_is_its_own_error(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """What an input's own code raises comes through as it is, and nothing was accepted."""
    load("unnamed_batch")
    with pytest.raises(KeyError, match="mine"):
        ask(engine, "unnamed_batch", {"x": Raises()})
    assert stats_of(engine, "unnamed_batch").accepted == 0
    answers(engine)


@every_way
def test_an_array_may_ask_the_engine(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """An input whose own code asks the engine gets its answer; so does the request it belongs to."""
    load("unnamed_batch")
    x = floats(1, 3)
    np.testing.assert_array_equal(ask(engine, "unnamed_batch", {"x": Reenters(engine)})["y"], 4 * x)


@every_way
@pytest.mark.parametrize("name", ["nobody", "", 5, None, ["unhashable"]])
def test_an_unknown_model_is_not_found(engine: anya.Engine, load: Load, ask: Ask, name: Any) -> None:
    """A name that nobody loaded, or that is no name, is ModelNotFound and lists what is loaded."""
    load("unnamed_batch")
    with pytest.raises(anya.ModelNotFound, match="unnamed_batch") as caught:
        ask(engine, name, {"x": floats(1, 3)})
    assert (caught.value.code, caught.value.field) == ("MODEL_NOT_FOUND", "name")
    answers(engine)


@every_way
@pytest.mark.parametrize("version", ["2", 1, ["1"]])
def test_an_unknown_version_is_not_found(engine: anya.Engine, load: Load, ask: Ask, version: Any) -> None:
    """A version that is not loaded is ModelNotFound and lists the versions there are."""
    load("unnamed_batch", version="only")
    with pytest.raises(anya.ModelNotFound, match="it has only") as caught:
        ask(engine, "unnamed_batch", {"x": floats(1, 3)}, version=version)
    assert caught.value.field == "version"


@every_way
def test_a_closed_engine_is_unavailable(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """After close() every way to ask is refused in words, and the refusal counts."""
    load("unnamed_batch")
    engine.close()
    with refused(engine, "unnamed_batch", anya.Unavailable, "closed"):
        ask(engine, "unnamed_batch", {"x": floats(1, 3)})
