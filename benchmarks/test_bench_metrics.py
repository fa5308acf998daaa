# SPDX-License-Identifier: Apache-2.0
"""What watching costs: a request with everything on against nothing on, and a scrape of many models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from interleave import Bar
from loops import calls_for, crowds_in_turn, microseconds_per_call
from models.make_models import MODELS
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from subjects import CLIENTS, Subject, subject
from versus import Figures, Versus, in_turn

import anya_engine as anya

WATCHED = anya.ModelConfig(predictions=anya.PredictionConfig(values="logits"))
SCRAPED, BARE = "watched and scraped", "the same without"


def load_both(engine: anya.Engine) -> Subject:
    """`tiny` twice: with predictions looked at, and without."""
    of = subject("tiny", rows=CLIENTS)
    engine.load(SCRAPED, of.model, config=WATCHED)
    engine.load(BARE, of.model)
    for name in (SCRAPED, BARE):
        of.check([(0, engine.infer(name, of.items[0]))])
    return of


def test_lone(versus: Versus, engine: anya.Engine) -> None:
    """A tiny model's `infer` with confidence monitoring on: at most 3 % more, or half a microsecond."""
    item = load_both(engine).items[0]
    calls = {name: partial(engine.infer, name, item) for name in (SCRAPED, BARE)}
    turns = calls_for(0.05, calls[BARE], quick=versus.quick)

    def measure(call: Callable[[], Any]) -> Figures:
        return {"µs": microseconds_per_call(call, turns)[0]}

    took = versus.measure(in_turn({name: partial(measure, call) for name, call in calls.items()}), repeats=25)
    half = 1 + max(0.03, 0.5 / float(np.median(took[BARE]["µs"])))
    assert sum(engine.stats().models[0].confidence.counts) > turns
    versus.compare(
        "a watched tiny model, infer",
        took[SCRAPED]["µs"],
        {BARE: took[BARE]["µs"]},
        unit="µs",
        bar=Bar(limit=round(half, 3), better="lower", of="pairs"),
    )


def test_in_flight(versus: Versus, engine: anya.Engine) -> None:
    """With 64 in flight, confidence monitoring costs at most 2 % of the throughput."""
    of = load_both(engine)
    sides = {name: partial(engine.infer_async, name) for name in (SCRAPED, BARE)}
    turns, rounds = (2, 2) if versus.quick else (12, 12)
    with asyncio.Runner() as runner:
        repeat = partial(crowds_in_turn, runner, sides, of.items, of.check, turns=turns, rounds=rounds)
        took = versus.measure(repeat, repeats=101)
    versus.compare(
        "a watched tiny model, 64 in flight",
        took[SCRAPED]["items/s"],
        {BARE: took[BARE]["items/s"]},
        unit="items/s",
        bar=Bar(limit=0.98, better="higher", of="pairs"),
    )


def test_scrape(versus: Versus, engine: anya.Engine) -> None:
    """Text of 20 models in 2 versions, all watched: 5 ms, and other threads run meanwhile."""
    for number in range(2 if versus.quick else 20):
        for version in "12":
            engine.load(f"m{number}", MODELS["tiny"](), version=version, config=WATCHED)
    registry, gauges = CollectorRegistry(), CollectorRegistry()
    registry.register(engine.collector())
    lines = len(engine.metrics_text().splitlines())
    plain = Gauge("g", "As many lines, of its own.", ["n"], registry=gauges)
    for number in range(lines):
        plain.labels(n=number).set(number)

    def milliseconds(call: Callable[[], Any]) -> Figures:
        began = time.perf_counter()
        call()
        return {"ms": (time.perf_counter() - began) * 1e3}

    sides = {
        "engine.metrics_text": partial(milliseconds, engine.metrics_text),
        "engine.collector": partial(milliseconds, partial(generate_latest, registry)),
        "prometheus_client alone": partial(milliseconds, partial(generate_latest, gauges)),
    }
    took = versus.measure(in_turn(sides), repeats=15)
    text = took.pop("engine.metrics_text")["ms"]
    versus.compare(
        "a scrape of 20 models in 2 versions",
        text,
        {side: figures["ms"] for side, figures in took.items()},
        unit="ms",
        better="lower",
        context={"lines": lines},
    )
    versus.compare(
        "a scrape of 20 models in 2 versions, over 5 ms",
        text,
        {"5 ms": [5.0] * len(text)},
        unit="ms",
        bar=Bar(limit=1.0, better="lower"),
        headline=False,
    )
