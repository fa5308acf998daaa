# SPDX-License-Identifier: Apache-2.0
"""What being ready for failures costs while there are none, what a refusal costs, and how soon an outage is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from interleave import Bar
from loops import calls_for, microseconds_per_call
from models import make_models
from versus import Versus, in_turn

import anya_engine as anya
from anya_engine import testing

ROUND_SECONDS = 0.02
X = np.ones((1, 64), np.float32)
ALL = anya.ModelConfig(retry=anya.RetryPolicy(), breaker=anya.BreakerPolicy(), fallback=("simple",))
#: One that stays open.
SHUT = anya.BreakerPolicy(open_duration=3600, max_open_duration=3600)


def microseconds(call: Callable[[], Any], calls: int) -> Callable[[], dict[str, float]]:
    """One round of bare calls."""
    return lambda: {"µs": microseconds_per_call(call, calls)[0]}


def open_breaker(engine: anya.Engine, name: str) -> None:
    """Make it fail until its breaker opens."""
    level = logging.getLogger("anya_engine").level
    logging.getLogger("anya_engine").setLevel(logging.CRITICAL)
    with testing.inject(engine, name, error=anya.ExecutionError):
        while engine.status(name).circuits["1"].state != "open":
            try:
                engine.infer(name, X, allow_degraded=False)
            except anya.AnyaError:
                continue
    logging.getLogger("anya_engine").setLevel(level)


def test_all_is_well(versus: Versus, engine: anya.Engine) -> None:
    """Retry, breaker and fallback configured: a successful `infer` costs half a microsecond more at most."""
    model = make_models.MODELS["tiny"]()
    engine.load("simple", model)
    engine.load("plain", model)
    engine.load("all", model, config=ALL)
    np.testing.assert_array_equal(*(next(iter(engine.infer(name, X).values())) for name in ("plain", "all")))
    sides = {name: partial(engine.infer, name, {"x": X}) for name in ("plain", "all")}
    calls = calls_for(ROUND_SECONDS, sides["plain"], quick=versus.quick)
    took = versus.measure(in_turn({name: microseconds(call, calls) for name, call in sides.items()}), repeats=61)
    versus.compare(
        "infer with retry, breaker and fallback, all well: tiny",
        took["all"]["µs"],
        {"without": took["plain"]["µs"]},
        unit="µs",
        bar=Bar(limit=0.5, better="lower", of="difference"),
    )


def test_open_breaker(versus: Versus, engine: anya.Engine) -> None:
    """An open breaker's refusal, and its decision for the fallback, cost two microseconds at most."""
    model = make_models.MODELS["tiny"]()
    engine.load("simple", model)
    engine.load("refusing", model, config=anya.ModelConfig(breaker=SHUT))
    engine.load("falling", model, config=anya.ModelConfig(breaker=SHUT, fallback=("simple",)))
    for name in ("refusing", "falling"):
        open_breaker(engine, name)
    assert engine.infer_detailed("falling", X).served_by == "simple"

    def refused() -> None:
        try:
            engine.infer("refusing", {"x": X})
        except anya.Unavailable:
            return
        raise AssertionError("taken")

    sides: dict[str, Callable[[], Any]] = {
        "refused": refused,
        "simple": partial(engine.infer, "simple", {"x": X}),
        "falling": partial(engine.infer, "falling", {"x": X}),
    }
    calls = calls_for(ROUND_SECONDS, sides["simple"], quick=versus.quick)
    took = versus.measure(in_turn({name: microseconds(call, calls) for name, call in sides.items()}), repeats=61)
    versus.compare(
        "open breaker: refusal, infer to except",
        took["refused"]["µs"],
        {"promised": [2.0] * len(took["refused"]["µs"])},
        unit="µs",
        bar=Bar(limit=1.0, better="lower"),
    )
    versus.compare(
        "open breaker: answer of the fallback",
        took["falling"]["µs"],
        {"the fallback itself": took["simple"]["µs"]},
        unit="µs",
        bar=Bar(limit=2.0, better="lower", of="difference"),
    )


@pytest.mark.parametrize("seconds", [15.0])
def test_outage(versus: Versus, engine: anya.Engine, seconds: float) -> None:
    """All runs fail for 15 s at 80 callers a second: 2 s later 99 % are answered again, with the defaults."""
    logging.getLogger("anya_engine").setLevel(logging.CRITICAL)
    rate, after = (80, 5.0) if not versus.quick else (80, 0.3)
    config = anya.ModelConfig(retry=anya.RetryPolicy(), breaker=anya.BreakerPolicy())
    engine.load("m", make_models.MODELS["tiny"](), config=config)
    outage = seconds if not versus.quick else 0.2

    def one_round() -> dict[str, dict[str, float]]:
        begin = time.monotonic()
        asked: list[tuple[float, anya.Future | None]] = []
        held = testing.inject(engine, "m", error=anya.ExecutionError)
        held.__enter__()
        failing = True
        for number in range(int((outage + after) * rate)):
            due = begin + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            if failing and due - begin >= outage:
                held.__exit__(None, None, None)
                failing = False
            try:
                asked.append((due - begin, engine.submit("m", X)))
            except anya.AnyaError:
                asked.append((due - begin, None))
        late = [future for due, future in asked if due >= outage + min(2.0, after / 2)]
        good = sum(future is not None and future.exception(60) is None for future in late)
        return {"ours": {"%": 100 * good / len(late)}}

    rounds: list[dict[str, dict[str, float]]] = []
    versus._benchmark.pedantic(lambda: rounds.append(one_round()), rounds=1)
    logging.getLogger("anya_engine").setLevel(logging.NOTSET)
    versus.compare(
        "good answers from 2 s after an outage of 15 s on, defaults",
        [each["ours"]["%"] for each in rounds],
        {"promised": [99.0] * len(rounds)},
        unit="%",
        bar=Bar(limit=1.0, better="higher"),
    )
