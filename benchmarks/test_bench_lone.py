# SPDX-License-Identifier: Apache-2.0
"""One request every 20 ms: it waits for no company, whatever the delay setting says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from interleave import Bar
from loops import lone_awaited, lone_calls
from programs import hop_microseconds
from subjects import Subject, subject
from versus import Figures, Versus, in_turn

import anya_engine as anya

RUN = "InferenceSession.run"
HOP = "bare futex, eventfd, epoll"
#: label -> max_queue_delay_microseconds
DELAYS = {"no delay": 0, "a delay of 10 ms": 10_000}


def cadence(versus: Versus) -> tuple[int, float]:
    """How many requests a repeat has, and the pause before each."""
    return (2, 0.001) if versus.quick else (15, 0.02)


def load_with_delays(engine: anya.Engine, of: Subject) -> None:
    """The model once per delay setting, under the setting's label."""
    for label, delay in DELAYS.items():
        batching = anya.BatchingConfig(max_queue_delay_microseconds=delay)
        engine.load(label, of.model, config=anya.ModelConfig(batching=batching))


@pytest.mark.parametrize("name", ["tiny", "medium"])
def test_lone_call(versus: Versus, engine: anya.Engine, name: str) -> None:
    """`infer` on an idle engine takes no longer than `InferenceSession.run` at the same pace."""
    of = subject(name, rows=1)
    load_with_delays(engine, of)
    count, pause = cadence(versus)

    def measure(call: Callable[[], Any]) -> Figures:
        microseconds, answer = lone_calls(call, count=count, pause=pause)
        of.check([(0, answer)])
        return {"µs": microseconds}

    sides = {RUN: partial(measure, partial(of.run, of.items[0]))}
    for label in DELAYS:
        sides[label] = partial(measure, partial(engine.infer, label, of.feeds[0]))
    took = versus.measure(in_turn(sides))
    for label in DELAYS:
        versus.compare(
            f"lone request every 20 ms, infer, {label}: {name}",
            took[label]["µs"],
            {RUN: took[RUN]["µs"]},
            unit="µs",
            bar=Bar(limit=1.05, better="lower"),
            headline=label == "no delay",
        )


@pytest.mark.parametrize("name", ["tiny", "medium"])
def test_lone_awaited_request(versus: Versus, engine: anya.Engine, programs: Path, name: str) -> None:
    """`infer_async` on an idle loop adds little more to the run than a thread hop; a short model not even that.

    `tiny` is short enough to run on the loop's own thread, `medium` goes to a worker.
    """
    of = subject(name, rows=1)
    load_with_delays(engine, of)
    count, pause = cadence(versus)

    async def plain() -> Any:
        return of.run(of.items[0])

    sides: dict[str, Callable[[], Awaitable[Any]]] = {RUN: plain}
    for label in DELAYS:
        sides[label] = partial(engine.infer_async, label, of.feeds[0])

    with asyncio.Runner() as loop:

        def measure() -> Mapping[str, Figures]:
            alone = lone_awaited(sides, lambda answer: of.check([(0, answer)]), count=count, pause=pause)
            latencies = loop.run(alone)
            figures: dict[str, Figures] = {HOP: {"µs": hop_microseconds(programs, count=count, pause=pause)}}
            for side, each in latencies.items():
                added = [ours - run for ours, run in zip(each, latencies[RUN], strict=True)]
                figures[side] = {"µs": median(each), "added µs": median(added)}
            return figures

        took = versus.measure(measure)

    raw, hop = took[RUN]["µs"], took[HOP]["µs"]
    for label in DELAYS:
        title = f"lone request every 20 ms, infer_async, {label}"
        if name == "tiny":
            versus.compare(
                f"{title}, over run on the loop: {name}",
                took[label]["µs"],
                {RUN: raw},
                unit="µs",
                bar=Bar(limit=25.0, better="lower", of="difference"),
                headline=label == "no delay",
                context={f"{HOP}, last repeat, µs": hop[-1]},
            )
        else:
            versus.compare(
                f"{title}, what it adds to run, over a bare hop: {name}",
                took[label]["added µs"],
                {HOP: hop},
                unit="µs",
                bar=Bar(limit=1.5, better="lower"),
                headline=label == "no delay",
                context={f"{RUN} on the loop, last repeat, µs": raw[-1]},
            )
