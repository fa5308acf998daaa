# SPDX-License-Identifier: Apache-2.0
"""One synchronous caller, a batch of one: the whole call against ONNX Runtime's, the Python layer against its core.

What is timed, from where to where, is in benchmarks/README.md. Answers are checked on the very objects that the timed
calls returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import rivals
from interleave import Bar
from loops import calls_for, microseconds_per_call
from subjects import Subject, subject
from versus import Versus, in_turn

import anya_engine as anya

ROUND_SECONDS = 0.25


def timed(of: Subject, call: Callable[[], Any], calls: int) -> Callable[[], Mapping[str, float]]:
    """One round of bare calls, the last answer checked."""

    def measure() -> Mapping[str, float]:
        microseconds, answer = microseconds_per_call(call, calls)
        of.check([(0, answer[0] if isinstance(answer, list) else answer)])
        return {"µs": microseconds}

    return measure


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("tiny", Bar(limit=0.70, better="lower", goal=0.62)),
        ("medium", Bar(limit=1.03, better="lower")),
        ("magika", Bar(limit=1.03, better="lower")),
    ],
)
def test_one_caller(versus: Versus, engine: anya.Engine, name: str, bar: Bar) -> None:
    """A synchronous batch of one costs no more than `InferenceSession.run`, much less where the call is the cost."""
    of = subject(name, rows=1)
    engine.load(name, of.model)
    session = rivals.open_session(of.model)
    theirs: Callable[[], Any] = partial(session.run, [of.output], of.feeds[0])
    calls = calls_for(ROUND_SECONDS, theirs, quick=versus.quick)
    sides = {
        "InferenceSession.run": timed(of, theirs, calls),
        "ours": timed(of, partial(engine.infer, name, of.feeds[0]), calls),
    }
    took = versus.measure(in_turn(sides))
    versus.compare(
        f"one caller, batch of one: {name}",
        took["ours"]["µs"],
        {"InferenceSession.run": took["InferenceSession.run"]["µs"]},
        unit="µs",
        bar=bar,
    )


class _Spy:
    """Stands in for a served model once, to learn what `Engine.infer` calls it with."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.arguments: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}

    def infer(self, *arguments: Any, **named: Any) -> Any:
        self.arguments, self.named = arguments, named
        return self._model.infer(*arguments, **named)


def test_python_layer(versus: Versus, engine: anya.Engine) -> None:
    """`Engine.infer` adds less than a microsecond to the call of the extension that it makes."""
    of = subject("tiny", rows=1)
    engine.load("tiny", of.model)
    table = engine._models
    model = table.serving["tiny"]
    spy: Any = _Spy(model)
    table.serving = {"tiny": spy}
    engine.infer("tiny", of.feeds[0])
    table.serving = {"tiny": model}
    assert spy.arguments[0] is of.feeds[0]
    inside: Callable[[], Any] = partial(model.infer, *spy.arguments, **spy.named)
    calls = calls_for(ROUND_SECONDS / 5, inside, quick=versus.quick)  # a small difference: many short turns
    sides = {
        "the extension's infer": timed(of, inside, calls),
        "ours": timed(of, partial(engine.infer, "tiny", of.feeds[0]), calls),
    }
    took = versus.measure(in_turn(sides), repeats=61)
    versus.compare(
        "the Python layer, one caller: tiny",
        took["ours"]["µs"],
        {"the extension's infer": took["the extension's infer"]["µs"]},
        unit="µs",
        bar=Bar(limit=0.8, better="lower", of="difference"),
    )
