# SPDX-License-Identifier: Apache-2.0
"""One request path against its rivals: a lone synchronous caller, 64 in flight on an event loop, a lone awaited one.

What is timed, from where to where, is in benchmarks/README.md. Every benchmark compares its answers with plain
ONNX Runtime's, on the very objects that the timed calls returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import rivals
from interleave import Bar, Loop, calls_for, closed_loop, lone_requests, microseconds_per_call
from models import make_models
from versus import Versus

import anya_engine as anya

CLIENTS = 64
ROUND_SECONDS = 0.25
RTOL, ATOL = 1e-3, 1e-5


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model with rows to ask and the answers plain ONNX Runtime gives to each row alone."""

    name: str
    model: bytes
    input: str
    output: str
    rows: Sequence[Any]
    expected: Sequence[Any]
    run: rivals.Run

    def check(self, answers: Sequence[tuple[int, Any]]) -> None:
        """Every answer is the one for the row that was asked."""
        for index, answer in answers:
            assert answer.shape == self.expected[index].shape
            np.testing.assert_allclose(answer, self.expected[index], rtol=RTOL, atol=ATOL)


def subject(name: str, rows: int) -> Subject:
    """The measured model of that name: `tiny`, `medium` or `magika`."""
    rng = np.random.default_rng(5)
    if name == "magika":
        model = (files("magika") / "models" / "standard_v3_3" / "model.onnx").read_bytes()
        feeds: list[Any] = [rng.integers(0, 256, (1, 2048), dtype=np.int32) for _ in range(rows)]
    else:
        model = make_models.MODELS[name]()
        width = make_models.TINY[0] if name == "tiny" else make_models.MEDIUM[0]
        feeds = [rng.standard_normal((1, width), dtype=np.float32) for _ in range(rows)]
    session = rivals.open_session(model)
    run = rivals.runner(session)
    return Subject(
        name=name,
        model=model,
        input=session.get_inputs()[0].name,
        output=session.get_outputs()[0].name,
        rows=feeds,
        expected=[run(row) for row in feeds],
        run=run,
    )


@pytest.fixture
def engine() -> Iterator[anya.Engine]:
    """An engine with the defaults a user gets."""
    with anya.Engine() as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("tiny", Bar(limit=0.75, better="lower")),
        ("medium", Bar(limit=1.03, better="lower")),
        ("magika", Bar(limit=1.03, better="lower")),
    ],
)
def test_one_caller(versus: Versus, engine: anya.Engine, name: str, bar: Bar) -> None:
    """A synchronous batch of one costs no more than `InferenceSession.run`, much less where the call is the cost."""
    of = subject(name, rows=1)
    engine.load(name, of.model)
    session = rivals.open_session(of.model)
    feeds = {of.input: of.rows[0]}
    theirs: Callable[[], Any] = partial(session.run, [of.output], feeds)
    ours: Callable[[], Any] = partial(engine.infer, name, feeds)

    calls = calls_for(ROUND_SECONDS, theirs, quick=versus.quick)

    def measure(call: Callable[[], Any], pick: Any) -> float:
        microseconds, answer = microseconds_per_call(call, calls)
        of.check([(0, answer[pick])])
        return microseconds

    versus(
        f"one caller, batch of one: {name}",
        lambda: measure(ours, of.output),
        {"InferenceSession.run": lambda: measure(theirs, 0)},
        unit="µs",
        bar=bar,
    )


@pytest.mark.parametrize(("name", "per_client", "limit"), [("tiny", 400, 1.5), ("medium", 100, 1.3)])
@pytest.mark.parametrize("batcher", [rivals.QueueMicroBatcher, rivals.AsyncMicroBatcher])
def test_64_in_flight(
    versus: Versus,
    engine: anya.Engine,
    batcher: type[rivals.QueueMicroBatcher | rivals.AsyncMicroBatcher],
    name: str,
    per_client: int,
    limit: float,
) -> None:
    """64 tasks of one event loop get more answers per second than through the better of two hand-written batchers.

    The bar is against the thirty lines anyone writes; how far the same idea, tuned, gets is measured beside it.
    """
    plain = batcher is rivals.QueueMicroBatcher
    bar = Bar(limit=limit, better="higher") if plain else None
    kind = "30-line micro-batcher" if plain else "tuned micro-batcher"
    of = subject(name, rows=4 * CLIENTS)
    engine.load(name, of.model)
    feeds = [{of.input: row} for row in of.rows]
    turns = 8 if versus.quick else per_client
    last: dict[str, Loop] = {}

    with (
        asyncio.Runner() as loop,
        closing(batcher(of.run, workers=1, max_batch=64)) as one,
        closing(batcher(of.run, workers=2, max_batch=32)) as two,
    ):

        def measure(label: str, infer: Callable[[Any], Awaitable[Any]], ask: Sequence[Any]) -> float:
            done = loop.run(closed_loop(infer, ask, clients=CLIENTS, per_client=turns))
            of.check([(index, _array(answer, of.output)) for index, answer in done.answers])
            last[label] = done
            return done.items_per_second

        versus(
            f"64 in flight, one event loop, {kind}: {name}",
            lambda: measure("ours", partial(engine.infer_async, name), feeds),
            {
                f"{kind}, 1 worker x 64": lambda: measure("1 x 64", one.infer, of.rows),
                f"{kind}, 2 workers x 32": lambda: measure("2 x 32", two.infer, of.rows),
            },
            unit="items/s",
            bar=bar,
            better="higher",
            context={
                **{f"{side}, p{q} ms": partial(_latency, last, side, q) for side in _SIDES for q in (50, 99)},
                "ideal: raw, batch 32, two threads, items/s": partial(_ideal, of, 4 if versus.quick else 400),
                "thread micro-batcher, 2 workers, items/s": partial(_threads, of, 2 if versus.quick else 40),
            },
        )


@pytest.mark.parametrize("name", ["tiny", "medium"])
def test_lone_request_on_an_idle_loop(versus: Versus, engine: anya.Engine, name: str) -> None:
    """A single awaited request on an idle loop waits for no company, and is answered sooner than by a batcher."""
    of = subject(name, rows=1)
    engine.load(name, of.model)
    feeds = {of.input: of.rows[0]}
    count, pause = (2, 0.0) if versus.quick else (50, 0.002)

    async def raw() -> Any:
        return of.run(of.rows[0])

    with asyncio.Runner() as loop, closing(rivals.AsyncMicroBatcher(of.run, workers=2, max_batch=32)) as batcher:

        def measure(infer: Callable[[], Awaitable[Any]]) -> float:
            microseconds, answer = loop.run(lone_requests(infer, count=count, pause=pause))
            of.check([(0, _array(answer, of.output))])
            return microseconds

        versus(
            f"lone request on an idle loop: {name}",
            lambda: measure(partial(engine.infer_async, name, feeds)),
            {"micro-batcher, 2 workers x 32": lambda: measure(partial(batcher.infer, of.rows[0]))},
            unit="µs",
            better="lower",
            context={"InferenceSession.run on the loop itself, µs": lambda: measure(raw)},
        )


# --- context: where the ceiling is, and what threads would do --------------------------------------------------------

_SIDES = ("ours", "1 x 64", "2 x 32")


def _array(answer: Any, output: str) -> Any:
    return answer[output] if isinstance(answer, dict) else answer


def _latency(last: dict[str, Loop], side: str, quantile: int) -> float:
    return last[side].p50_ms if quantile == 50 else last[side].p99_ms


def _ideal(of: Subject, turns: int) -> float:
    """Items per second of plain sessions on ready-made batches of 32, two threads: nothing in process can beat it."""
    batch = np.concatenate(of.rows[:32])

    def work() -> None:
        for _ in range(turns):
            of.run(batch)

    elapsed, _ = microseconds_per_call(partial(rivals.in_threads, work, 2), 1)
    return 2 * 32 * turns / elapsed * 1e6


def _threads(of: Subject, turns: int) -> float:
    """Items per second of 64 blocking threads that share the thread micro-batcher."""
    with closing(rivals.ThreadMicroBatcher(of.run, workers=2, max_batch=32)) as batcher:

        def client() -> None:
            for turn in range(turns):
                answer = batcher.infer(of.rows[turn % len(of.rows)])
            of.check([((turns - 1) % len(of.rows), answer)])

        elapsed, _ = microseconds_per_call(partial(rivals.in_threads, client, CLIENTS), 1)
    return CLIENTS * turns / elapsed * 1e6
