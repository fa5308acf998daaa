# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad requests, cases 47 to 64: each by its number, with the outcome it must have.

The words and facts of each refusal are held by test_bad_input.py, layouts and snapshots in depth by test_infer.py and
test_memory.py, rules of values against NumPy by test_rule_oracle.py. Here stands what the catalogue promises.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.awkward import POISON_ROWS
from python.conftest import Load
from python.support import ONE, Ask, answers, busy, every_way, expected, floats, refused, stats_of

import anya_engine as anya

INVALID, TOO_LARGE = anya.InvalidInput, anya.InputTooLarge
X = floats(2, 3)


def claimed(rows: int) -> Any:
    """An array of 4 bytes that claims to be rows x 3 float32."""
    return np.broadcast_to(np.float32(1), (rows, 3))


#: Number, what -> model, inputs, terms, outcome.
CASES: dict[str, tuple[str, Any, dict[str, Any], type[anya.AnyaError]]] = {
    "47 float64": ("unnamed_batch", {"x": X.astype(np.float64)}, {}, INVALID),
    "47 float16": ("unnamed_batch", {"x": X.astype(np.float16)}, {}, INVALID),
    "47 int32": ("unnamed_batch", {"x": X.astype(np.int32)}, {}, INVALID),
    "48 big-endian": ("unnamed_batch", {"x": X.astype(">f4")}, {}, INVALID),
    "49 object": ("unnamed_batch", {"x": X.astype(object)}, {}, INVALID),
    "49 datetime": ("unnamed_batch", {"x": np.zeros((2, 3), "M8[s]")}, {}, INVALID),
    "49 complex": ("unnamed_batch", {"x": X.astype(np.complex64)}, {}, INVALID),
    "49 structured": ("unnamed_batch", {"x": np.zeros((2, 3), [("a", "f4")])}, {}, INVALID),
    "49 long double": ("unnamed_batch", {"x": X.astype(np.longdouble)}, {}, INVALID),
    "49 masked": ("unnamed_batch", {"x": np.ma.masked_array(X, mask=X > 0)}, {}, INVALID),
    "50 rank": ("unnamed_batch", {"x": X[None]}, {}, INVALID),
    "50 0-d": ("unnamed_batch", {"x": np.float32(1)}, {}, INVALID),
    "50 fixed dimension": ("unnamed_batch", {"x": floats(2, 4)}, {}, INVALID),
    "50 batch across inputs": ("two_inputs", {"a": floats(2, 3), "b": floats(3, 3)}, {}, INVALID),
    "51 batch of 0": ("unnamed_batch", {"x": floats(0, 3)}, {}, INVALID),
    "51 dimension of 0": ("sequence", {"x": floats(2, 0)}, {}, INVALID),
    "52 claims 12 TiB": ("unnamed_batch", {"x": claimed(1 << 40)}, {}, TOO_LARGE),
    "52 claims one row more": ("unnamed_batch", {"x": claimed((256 << 20) // 12 + 1)}, {}, TOO_LARGE),
    "53 claims 2^61 bytes": ("sequence", {"x": np.broadcast_to(np.float32(1), (1 << 29, 1 << 30))}, {}, TOO_LARGE),
    "57 missing": ("two_inputs", {"a": X}, {}, INVALID),
    "57 unknown": ("unnamed_batch", {"x": X, "z": X}, {}, INVALID),
    "57 NUL": ("unnamed_batch", {"x\0": X}, {}, INVALID),
    "57 10 kB": ("unnamed_batch", {"x" * 10_240: X}, {}, INVALID),
    "58 invalid UTF-8": ("strings", {"text": np.array([b"ok", b"\xff\xfe"], object)}, {}, INVALID),
    "58 overlong": ("strings", {"text": np.array([b"\xc0\xaf"], object)}, {}, INVALID),
    "58 surrogate": ("strings", {"text": np.array(["\udc80"], object)}, {}, INVALID),
    "58 NUL": ("strings", {"text": np.array(["a\0b"], object)}, {}, INVALID),
    "60 unknown output": ("unnamed_batch", {"x": X}, {"outputs": ["nothing"]}, INVALID),
    "61 negative deadline": ("unnamed_batch", {"x": X}, {"timeout": -1.0}, INVALID),
    "61 NaN deadline": ("unnamed_batch", {"x": X}, {"timeout": math.nan}, INVALID),
    "61 huge deadline": ("unnamed_batch", {"x": X}, {"timeout": 1e300}, INVALID),
    "61 priority 0": ("unnamed_batch", {"x": X}, {"priority": 0}, INVALID),
    "61 priority 256": ("unnamed_batch", {"x": X}, {"priority": 256}, INVALID),
}


@every_way
@pytest.mark.parametrize("case", list(CASES))
def test_case(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """The request is refused with the catalogue's outcome, counted once, and the model answers the next one."""
    name, inputs, terms, outcome = CASES[case]
    load(name)
    if name != "unnamed_batch":
        load("unnamed_batch")
    with refused(engine, name, outcome):
        ask(engine, name, inputs, **terms)
    answers(engine)


def test_every_number_is_here() -> None:
    """The table and the tests below cover 47 to 64 without a gap."""
    numbers = {int(case.split()[0]) for case in CASES}
    numbers |= {int(name.split("_")[2]) for name in globals() if name.startswith("test_case_")}
    assert numbers == set(range(47, 65))


def test_case_53_no_shape_reaches_the_engine_that_overflows() -> None:
    """NumPy itself holds no array of 2^63 elements or more; what it can hold is refused by its shape (above)."""
    with pytest.raises(ValueError, match=r"too (big|large)"):
        np.broadcast_to(np.float32(1), (1 << 40, 1 << 40))


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "columns first": np.asfortranarray,
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "odd address": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
}
RULE = anya.ModelConfig(inputs={"x": anya.InputRule(min=-100, max=100)})


@every_way
@pytest.mark.parametrize("config", [None, RULE], ids=["plain", "rule"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_case_54_any_layout_is_read_right(
    engine: anya.Engine, load: Load, ask: Ask, layout: str, config: anya.ModelConfig | None
) -> None:
    """Non-contiguous, negative strides, unaligned, read-only: the right answer, with and without a rule."""
    load("unnamed_batch", config=config)
    x = floats(4, 3)
    given = LAYOUTS[layout](x)
    np.testing.assert_array_equal(ask(engine, "unnamed_batch", {"x": given})["y"], x + x)
    np.testing.assert_array_equal(given, x)


@every_way
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_case_55_nonfinite_is_refused(engine: anya.Engine, load: Load, ask: Ask, value: float) -> None:
    """finite="reject": refused with field, value and the element's index."""
    load("unnamed_batch", config=anya.ModelConfig(inputs={"x": anya.InputRule()}))
    x = floats(4, 3)
    x[2, 1] = value
    with refused(engine, "unnamed_batch", INVALID, "'x'", "element 7", "not finite", field="x"):
        ask(engine, "unnamed_batch", {"x": x})
    with pytest.raises(INVALID) as caught:
        ask(engine, "unnamed_batch", {"x": x})
    assert (caught.value.index, str(caught.value.value)) == (7, str(value))
    answers(engine)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (anya.InputRule(finite="clip", min=-2, max=2), [2, -2, 1]),
        (anya.InputRule(finite="clip"), [np.finfo(np.float32).max, np.finfo(np.float32).min, 1]),
        (anya.InputRule(finite="replace", replace_with=0.5), [0.5, 0.5, 1]),
    ],
    ids=["clip to bounds", "clip to the type", "replace"],
)
def test_case_55_nonfinite_is_changed_and_counted(
    engine: anya.Engine, load: Load, rule: anya.InputRule, wanted: list[float]
) -> None:
    """finite="clip" and "replace": per policy, counted in the response and in stats(); the caller's array stays."""
    load("identity_float32", config=anya.ModelConfig(inputs={"x": rule}))
    x = np.array([[np.inf, -np.inf, 1]], np.float32)
    response = engine.infer_detailed("identity_float32", x)
    np.testing.assert_array_equal(response.outputs["y"], np.array([wanted], np.float32))
    assert response.sanitized == {"x": 2}
    assert np.isinf(x[0, :2]).all()
    [count] = stats_of(engine, "identity_float32").tensors
    assert (count.name, count.sanitized, count.nonfinite) == ("x", 2, 2)
    assert engine.infer_detailed("identity_float32", floats(1, 3)).sanitized == {}


RANGES: dict[str, tuple[str, anya.InputRule, list[float], int, Any, Any]] = {
    "below min": ("identity_float32", anya.InputRule(min=-1), [0, -1, -1.5], 2, -1.5, -1.0),
    "above max": ("identity_float32", anya.InputRule(max=1), [1, 1.25, 0], 1, 1.25, 1.0),
    "index above the vocabulary": (
        "identity_int64",
        anya.InputRule(min=0, max=30521),
        [0, 30521, 30522],
        2,
        30522,
        30521,
    ),
    "negative index": ("identity_int64", anya.InputRule(min=0, max=9), [0, -1, 2], 1, -1, 0),
    "not allowed": ("identity_int64", anya.InputRule(allowed=(0, 1)), [0, 1, 2], 2, 2, None),
    "in a gap": ("identity_uint8", anya.InputRule(allowed=(0, 5)), [0, 5, 3], 2, 3, None),
    "float not allowed": ("identity_float64", anya.InputRule(allowed=(0, 0.5)), [0, 0.5, 0.25], 2, 0.25, None),
}


@every_way
@pytest.mark.parametrize("case", list(RANGES))
def test_case_56_values_out_of_range(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """Outside min and max, beyond the vocabulary, not in the list: refused with field, value, limit and index."""
    name, rule, values, index, value, limit = RANGES[case]
    load(name, config=anya.ModelConfig(inputs={"x": rule}))
    with pytest.raises(INVALID) as caught:
        ask(engine, name, {"x": np.array([values], name.removeprefix("identity_"))})
    error = caught.value
    assert (error.field, error.index, error.value, error.limit) == ("x", index, value, limit)
    assert f"element {index} is {value}" in str(error)


def test_case_57_a_mapping_cannot_name_an_input_twice(engine: anya.Engine, load: Load) -> None:
    """A duplicate name can only come from a mapping that lies about itself; it is refused, not taken twice."""
    load("two_inputs")

    class Twice(dict[str, Any]):
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Any:
            return iter(["a", "a"])

        def items(self) -> Any:
            return [("a", X), ("a", X)]

    with refused(engine, "two_inputs", INVALID):
        engine.infer("two_inputs", Twice())


@every_way
def test_case_58_a_string_too_large_is_refused_before_it_is_encoded(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """A string above the limit is refused by its length: InputTooLarge, without a copy of it."""
    load("strings", config=anya.ModelConfig(max_request_bytes=1 << 20))
    with refused(engine, "strings", TOO_LARGE, "max_request_bytes"):
        ask(engine, "strings", {"text": np.array(["x" * ((1 << 20) + 1)], object)})
    with refused(engine, "strings", TOO_LARGE, "max_request_bytes"):
        ask(engine, "strings", {"text": np.array(["é" * (1 << 19), "é"], object)})


def test_case_59_the_callers_array_may_change_after_submit(engine: anya.Engine, load: Load) -> None:
    """An array that is overwritten while its request waits does not change the answer."""
    load("slow", config=ONE)
    load("unnamed_batch", config=anya.ModelConfig(inputs={"x": anya.InputRule()}, instances=1))
    x = floats(64, 3)
    wanted = x + x
    future = engine.submit("unnamed_batch", {"x": x})
    x[:] = np.nan
    np.testing.assert_array_equal(future.result()["y"], wanted)
    with busy(engine):
        given = {"x": floats(2, 4), "spins": np.zeros(2, np.int64)}
        later = engine.submit("slow", given)
        reference = expected("slow", {name: array.copy() for name, array in given.items()})
        given["x"][:] = 7
    np.testing.assert_array_equal(later.result()["y"], reference["y"])
    answers(engine)


@every_way
def test_case_62_an_array_that_raises_or_reenters(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """`__array__` that raises is its own error and queues nothing; one that asks the engine gets its answer."""
    load("unnamed_batch")

    class Raises:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise ZeroDivisionError("mine")

    class Reenters:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return engine.infer("unnamed_batch", X)["y"]

    with pytest.raises(ZeroDivisionError, match="mine"):
        ask(engine, "unnamed_batch", {"x": Raises()})
    assert stats_of(engine, "unnamed_batch").accepted == 0
    np.testing.assert_array_equal(ask(engine, "unnamed_batch", {"x": Reenters()})["y"], 4 * X)


@every_way
@pytest.mark.parametrize("config", [None, anya.ModelConfig(inputs={"x": anya.InputRule(min=-1, max=1)})])
def test_case_63_subnormals_and_minus_zero(
    engine: anya.Engine, load: Load, ask: Ask, config: anya.ModelConfig | None
) -> None:
    """Subnormals and -0.0 come back to the bit, alone and in company, with and without a rule."""
    load("identity_float32", config=config)
    x = np.array(
        [[-0.0, np.finfo(np.float32).smallest_subnormal, -np.finfo(np.float32).smallest_normal / 2]], np.float32
    )
    assert ask(engine, "identity_float32", {"x": x})["y"].tobytes() == x.tobytes()
    together = ask(engine, "identity_float32", {"x": np.repeat(x, 5, axis=0)})["y"]
    assert together.tobytes() == x.tobytes() * 5


def test_case_64_only_the_culprit_of_a_batch_fails(engine: anya.Engine, load: Load) -> None:
    """Of requests that share a run, valid to every rule, the one that breaks it fails, and it alone."""
    load("poison", config=ONE)
    requests = [np.array([POISON_ROWS if index == 5 else index], np.int64) for index in range(8)]

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(engine.infer_async("poison", i) for i in requests), return_exceptions=True)

    for index, outcome in enumerate(asyncio.run(gathered())):
        if index == 5:
            assert type(outcome) is anya.ExecutionError
        else:
            np.testing.assert_array_equal(outcome["y"], expected("poison", {"i": requests[index]})["y"])
    assert stats_of(engine, "poison").splits > 0
