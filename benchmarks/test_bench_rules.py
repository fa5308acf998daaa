# SPDX-License-Identifier: Apache-2.0
"""What rules cost: values of a large input checked on the way in, and a request refused.

Both are whole calls of `engine.infer`. The verdicts of ours and of NumPy are compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from interleave import Bar
from loops import calls_for, microseconds_per_call
from models import make_models
from models.parts import const, model, value
from onnx import helper
from versus import Versus, in_turn

import anya_engine as anya

SHAPE = (1, 3, 224, 224)
BYTES = 602_112
LOW, HIGH = -4.0, 4.0
ROUND_SECONDS = 0.1
#: So many different arrays, in turn: what a service is sent does not lie in the first-level cache.
ARRAYS = 24
RULE = anya.ModelConfig(inputs={"x": anya.InputRule(min=LOW, max=HIGH)})
NUMPY = "NumPy: isfinite, min, max"


def first_element() -> bytes:
    """x [N, 3, 224, 224] -> y [N, 1, 1, 1] = each row's first element: a run that reads next to nothing."""
    ends = [const(name, at, np.int64) for name, at in (("from", [0, 0, 0]), ("to", [1, 1, 1]), ("axes", [1, 2, 3]))]
    slice_node = helper.make_node("Slice", ["x", "from", "to", "axes"], ["y"])
    return model([slice_node], [value("x", ["N", *SHAPE[1:]])], [value("y", ["N", 1, 1, 1])], ends)


def by_numpy(x: Any) -> bool:
    """The same rule as a service would write it."""
    return bool(np.isfinite(x).all() and x.min() >= LOW and x.max() <= HIGH)


def is_taken(engine: anya.Engine, x: Any) -> bool:
    """The engine's verdict; a refusal must name the very element."""
    try:
        engine.infer("ruled", x)
    except anya.InvalidInput as error:
        wrong = ~(np.isfinite(x) & (x >= LOW) & (x <= HIGH))
        assert error.index == int(np.argmax(wrong))
        return False
    return True


def microseconds(call: Callable[[], Any], calls: int) -> Callable[[], dict[str, float]]:
    """One round of bare calls."""
    return lambda: {"µs": microseconds_per_call(call, calls)[0]}


def test_range_and_finite(versus: Versus, engine: anya.Engine) -> None:
    """Range and finite rules on 602 112 bytes: what they add to the call, in place, is at least 6 GB/s."""
    engine.load("plain", first_element())
    engine.load("ruled", first_element(), config=RULE)
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(LOW, HIGH, SHAPE).astype(np.float32) for _ in range(ARRAYS)]
    for index, x in enumerate(arrays):
        assert is_taken(engine, x) and by_numpy(x)
        np.testing.assert_array_equal(engine.infer("ruled", x)["y"].ravel(), x.ravel()[:1])
        wrong = x.copy()
        wrong.ravel()[(index * 40_009) % x.size] = (np.nan, np.inf, -4.5, 4.5)[index % 4]
        assert not is_taken(engine, wrong) and not by_numpy(wrong)

    feeds = [{"x": x} for x in arrays]
    turns = {name: cycle(feeds) for name in ("plain", "ruled", NUMPY)}
    sides: dict[str, Callable[[], Any]] = {
        "plain": lambda: engine.infer("plain", next(turns["plain"])),
        "ruled": lambda: engine.infer("ruled", next(turns["ruled"])),
        NUMPY: lambda: by_numpy(next(turns[NUMPY])["x"]),
    }
    calls = calls_for(ROUND_SECONDS, sides[NUMPY], quick=versus.quick)
    took = versus.measure(in_turn({name: microseconds(call, calls) for name, call in sides.items()}))
    added = [max(ruled - plain, 0.01) for ruled, plain in zip(took["ruled"]["µs"], took["plain"]["µs"], strict=True)]
    versus.compare(
        "range and finite rules on 602 112 bytes of float32, what they add to infer",
        added,
        {NUMPY: took[NUMPY]["µs"]},
        unit="µs",
        bar=Bar(limit=1.0, better="lower"),
        context={"infer without rules, last repeat, µs": took["plain"]["µs"][-1]},
    )
    versus.compare(
        "range and finite rules on 602 112 bytes of float32, bytes over what they add",
        [BYTES / each / 1e3 for each in added],
        {"promised": [6.0] * len(added)},
        unit="GB/s",
        bar=Bar(limit=1.0, better="higher", goal=10 / 6),
    )


def refused_calls(ask: Callable[[], Any]) -> Callable[[], None]:
    """A call that must be refused, with the refusal caught and not read."""

    def call() -> None:
        try:
            ask()
        except anya.InvalidInput:
            return
        raise AssertionError("taken")

    return call


@pytest.mark.parametrize("what", ["value", "shape"])
def test_refusal(versus: Versus, engine: anya.Engine, what: str) -> None:
    """A request that breaks a rule is refused in 3 µs at most, raising and catching included."""
    engine.load("tiny", make_models.MODELS["tiny"](), config=RULE)
    x = np.zeros((1, 64 if what == "value" else 65), np.float32)
    x[0, 63] = 5.0
    ask = partial(engine.infer, "tiny", {"x": x})
    with pytest.raises(anya.InvalidInput, match="element 63 is 5" if what == "value" else "size 65 on axis 1"):
        ask()

    def by_hand() -> None:
        try:
            if x.shape[1] != 64 or not by_numpy(x):
                raise ValueError("refused")
        except ValueError:
            pass

    call = refused_calls(ask)
    calls = calls_for(ROUND_SECONDS, call, quick=versus.quick)
    took = versus.measure(in_turn({NUMPY: microseconds(by_hand, calls), "ours": microseconds(call, calls)}))
    versus.compare(
        f"refusal of a {what}, infer to except",
        took["ours"]["µs"],
        {"promised": [3.0] * len(took["ours"]["µs"])},
        unit="µs",
        bar=Bar(limit=1.0, better="lower"),
        context={f"{NUMPY}, raise and except, last repeat, µs": took[NUMPY]["µs"][-1]},
    )
