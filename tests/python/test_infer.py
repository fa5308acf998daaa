# SPDX-License-Identifier: Apache-2.0
"""What goes in, what comes out: the answers are plain ONNX Runtime's."""

from __future__ import annotations

import asyncio
import types
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from models.make_models import ELEMENT_TYPES
from python.conftest import Load
from python.support import ask_async, ask_infer, ask_submit, assert_same, expected, floats, slow_inputs, stats_of

import anya_engine as anya

Ask = Callable[..., Any]


def ask_detailed(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask for details, and take the outputs."""
    return engine.infer_detailed(*arguments, **more).outputs


def ask_detailed_async(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask for details from a loop, and take the outputs."""
    return asyncio.run(engine.infer_detailed_async(*arguments, **more)).outputs


WAYS = [ask_infer, ask_submit, ask_async, ask_detailed, ask_detailed_async]
every_way = pytest.mark.parametrize("ask", WAYS)


def values_of(dtype: str) -> Any:
    """Rows of one element type with its extremes, and for floats -0.0, a subnormal, infinity and NaN."""
    if dtype == "bool":
        return np.array([[True, False, True], [False, False, True]])
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return np.array([[limits.min, limits.max, 1], [0, 7, limits.max - 1]], kind)
    tiny = ml_dtypes.finfo(kind).smallest_subnormal
    return np.array([[-0.0, tiny, 1.5], [np.inf, -np.inf, np.nan]]).astype(kind)


@every_way
@pytest.mark.parametrize("dtype", list(ELEMENT_TYPES))
def test_every_element_type_survives_to_the_bit(engine: anya.Engine, load: Load, ask: Ask, dtype: str) -> None:
    """Every element type goes in and comes out unchanged to the bit, extremes included."""
    load(f"identity_{dtype}")
    x = values_of(dtype)
    answer = ask(engine, f"identity_{dtype}", {"x": x})["y"]
    assert answer.dtype == x.dtype and answer.shape == x.shape
    assert answer.tobytes() == x.tobytes()


@every_way
@pytest.mark.parametrize(
    "text",
    [
        np.array(["", "plain", "ünï", "a\tb", "🦆" * 50], dtype=object),
        np.array(["fixed", "width"]),
        np.array([b"bytes", b"too"]),
        np.array([b"bytes", "mixed"], dtype=object),
        np.array(["new", "strings"], dtype=np.dtypes.StringDType()),
    ],
    ids=["object", "str", "bytes", "mixed", "StringDType"],
)
def test_strings_come_back_as_str(engine: anya.Engine, load: Load, ask: Ask, text: Any) -> None:
    """Text of every kind of array goes in as UTF-8 and comes back as an object array of str."""
    load("strings")
    wanted = [each.decode() if isinstance(each, bytes) else str(each) for each in text.tolist()]
    answer = ask(engine, "strings", {"text": text})
    assert answer["echo"].dtype == object
    assert answer["echo"].tolist() == wanted
    assert answer["loud"].tolist() == [each + "!" for each in wanted]


FEEDS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"x": floats(5, 64)},
    "medium": {"x": floats(2, 512)},
    "two_inputs": {"a": floats(4, 3), "b": floats(4, 3, seed=6)},
    "unlike_batch": {"a": floats(4, 3), "b": floats(2, 3)},
    "unnamed_batch": {"x": floats(7, 3)},
    "fixed_batch": {"x": floats(1, 4)},
    "scalar": {"x": np.array(3.5, np.float32)},
    "total": {"x": floats(6, 4)},
    "sequence": {"x": floats(2, 9)},
    "unused_symbol": {"x": floats(3, 3)},
    "several_outputs": {"x": floats(3, 4)},
    "overridable": {"x": floats(3, 3)},
    "softmax_axis0": {"x": floats(5, 4)},
    "centred": {"x": floats(5, 4)},
    "reversed_rows": {"x": floats(5, 4)},
    "positive_rows": {"x": np.array([[1, 1, 1, 1], [-1, 0, 0, 0], [2, 0, 0, 0]], np.float32)},
    "quantised_mlp": {"x": floats(3, 16)},
    "poison": {"i": np.array([0, 9, -10], np.int64)},
    "slow": slow_inputs(3, spins=2),
    "version_1": {"x": floats(3, 1)},
}


@every_way
@pytest.mark.parametrize("name", list(FEEDS))
def test_answers_are_onnx_runtimes(engine: anya.Engine, load: Load, ask: Ask, name: str) -> None:
    """Every kind of model (batched, alone, scalar, free axes, several outputs) answers as plain ONNX Runtime does."""
    load(name)
    assert_same(ask(engine, name, FEEDS[name]), expected(name, FEEDS[name]))


@every_way
@pytest.mark.parametrize("wanted", [["total"], ["best", "double"], ("positive", "total", "best", "double")])
def test_outputs_are_those_asked_for_in_that_order(engine: anya.Engine, load: Load, ask: Ask, wanted: Any) -> None:
    """Only the outputs asked for come, in the order of asking."""
    load("several_outputs")
    answer = ask(engine, "several_outputs", FEEDS["several_outputs"], outputs=wanted)
    assert list(answer) == list(wanted)
    full = expected("several_outputs", FEEDS["several_outputs"])
    assert_same(answer, {name: full[name] for name in wanted})


@every_way
def test_dynamic_shapes_one_after_the_other(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A model with free axes answers whatever sizes come, one after the other."""
    load("sequence")
    for rows, length in [(1, 1), (3, 8), (1, 300), (100, 2), (3, 8)]:
        x = floats(rows, length)
        answer = ask(engine, "sequence", {"x": x})
        assert_same({"y": answer["y"]}, {"y": x + x})
        np.testing.assert_allclose(answer["total"], x.sum(axis=1), rtol=1e-4, atol=1e-4)


@every_way
def test_a_shape_that_does_not_always_hold_is_no_reason_to_fail(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A model that states three rows and gives fewer is answered with what it gives, and then with three again."""
    load("first_three")
    for rows in (4, 2, 1, 4, 3):
        x = floats(rows, 2)
        assert_same(ask(engine, "first_three", {"x": x}), {"y": x[:3]})


@every_way
def test_a_request_larger_than_a_batch_is_answered_whole(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A request with more rows than max_batch_size runs alone, in one run."""
    load("unnamed_batch", config=anya.ModelConfig(batching=anya.BatchingConfig(max_batch_size=4)))
    x = floats(23, 3)
    assert_same(ask(engine, "unnamed_batch", {"x": x}), {"y": x + x})
    assert stats_of(engine, "unnamed_batch").batches == 1


@every_way
def test_a_bare_array_will_do_for_one_input(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A model of one input takes the array itself."""
    load("unnamed_batch")
    x = floats(2, 3)
    assert_same(ask(engine, "unnamed_batch", x), {"y": x + x})


class Lazy(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, **arrays: Any) -> None:
        self.arrays = arrays

    def __getitem__(self, key: str) -> Any:
        return self.arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


@every_way
@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict, types.MappingProxyType, lambda d: Lazy(**d)])
def test_every_mapping_will_do(engine: anya.Engine, load: Load, ask: Ask, kind: Any) -> None:
    """Inputs come in any mapping, in any order of names."""
    load("two_inputs")
    feeds = FEEDS["two_inputs"]
    assert_same(ask(engine, "two_inputs", kind(dict(reversed(feeds.items())))), expected("two_inputs", feeds))


class WithArray:
    """Something with `__array__` alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


class WithDlpack:
    """Something with DLPack's protocol alone, as a framework's tensor has it."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Subclass(np.ndarray[Any, Any]):
    """An ndarray of another class."""


@every_way
@pytest.mark.parametrize(
    "wrap",
    [WithArray, WithDlpack, memoryview, lambda x: x.view(Subclass), lambda x: WithArray(x[:, ::-1][:, ::-1])],
    ids=["__array__", "__dlpack__", "buffer", "subclass", "view"],
)
def test_whatever_can_become_an_array_is_taken(engine: anya.Engine, load: Load, ask: Ask, wrap: Any) -> None:
    """Objects with `__array__`, `__dlpack__` or the buffer protocol, and subclasses of ndarray, are inputs."""
    load("unnamed_batch")
    x = floats(2, 3)
    answer = ask(engine, "unnamed_batch", {"x": wrap(x)})
    assert_same(answer, {"y": x + x})
    assert type(answer["y"]) is np.ndarray


def odd_layouts() -> dict[str, Any]:
    """The same twelve numbers, lying in memory in other ways."""
    plain = floats(4, 3)
    unaligned = np.frombuffer(b"\0" + plain.tobytes(), np.uint8)[1:].view(np.float32).reshape(4, 3)
    read_only = plain.copy()
    read_only.flags.writeable = False
    wide = np.zeros((8, 6), np.float32)
    wide[::2, ::2] = plain
    assert not unaligned.flags.aligned
    return {
        "fortran": np.asfortranarray(plain),
        "strided": wide[::2, ::2],
        "negative": np.ascontiguousarray(plain[::-1, ::-1])[::-1, ::-1],
        "unaligned": unaligned,
        "read-only": read_only,
        "transposed": np.ascontiguousarray(plain.T).T,
        "native by name": plain.astype("<f4"),
    }


@every_way
@pytest.mark.parametrize("layout", list(odd_layouts()))
def test_every_layout_is_read_right(engine: anya.Engine, load: Load, ask: Ask, layout: str) -> None:
    """Strides of any kind, odd addresses and read-only memory are no errors, and change no number."""
    load("unnamed_batch")
    plain = floats(4, 3)
    assert_same(ask(engine, "unnamed_batch", {"x": odd_layouts()[layout]}), {"y": plain + plain})


def test_a_broadcast_row_is_read_right(engine: anya.Engine, load: Load) -> None:
    """An array whose rows are one row in memory (stride 0) is read as its rows."""
    load("unnamed_batch")
    x = np.broadcast_to(floats(1, 3), (5, 3))
    assert_same(engine.infer("unnamed_batch", x), {"y": x + x})


def test_the_response_tells_how_the_answer_came_about(engine: anya.Engine, load: Load) -> None:
    """infer_detailed names the version, the run and the times, and says that nothing was cached or changed."""
    load("unnamed_batch", version="blue")
    first, second = (engine.infer_detailed("unnamed_batch", floats(3, 3)) for _ in range(2))
    assert (first.version, first.served_by, first.batch_size) == ("blue", "unnamed_batch", 3)
    assert (first.degraded, first.from_cache, first.stale_age, dict(first.sanitized)) == (False, False, None, {})
    assert [(each.model, each.version, each.error) for each in first.attempts] == [("unnamed_batch", "blue", None)]
    assert first.queue_time >= 0 and first.compute_time > 0
    assert first.request_id != second.request_id
