# SPDX-License-Identifier: Apache-2.0
"""How asynchronous requests end: cancelled, timed out, with their loop, with the engine."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import (
    ONE,
    SPINS,
    assert_at_rest,
    busy,
    crowd,
    floats,
    on_every_loop,
    open_descriptors,
    slow_inputs,
    stats_of,
    until,
    until_in_loop,
)

import anya_engine as anya

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@on_every_loop
def test_cancelling_a_queued_task(engine: anya.Engine, load: Load, run: Run) -> None:
    """Cancelling a task whose request waits ends both at once: the request is never run, and counts as cancelled."""
    load("slow", config=ONE)

    async def main() -> None:
        with busy(engine):
            task = asyncio.create_task(engine.infer_async("slow", slow_inputs()))
            await until_in_loop(lambda: stats_of(engine, "slow").queue_depth == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert stats_of(engine, "slow").ended["CANCELLED"] == 1
            assert stats_of(engine, "slow").ended["OK"] == 0

    run(main())
    assert_at_rest(engine)
    stats = stats_of(engine, "slow")
    assert (stats.accepted, stats.ended["OK"], stats.rows) == (2, 1, 1)


@on_every_loop
def test_cancelling_a_running_task(engine: anya.Engine, load: Load, run: Run) -> None:
    """Cancelling a task whose request runs ends it at once; the run goes on and its answer is dropped."""
    load("slow", config=ONE)

    async def main() -> None:
        task = asyncio.create_task(engine.infer_async("slow", slow_inputs(spins=SPINS)))
        await until_in_loop(lambda: stats_of(engine, "slow").accepted == 1)
        await until_in_loop(lambda: stats_of(engine, "slow").queue_depth == 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stats_of(engine, "slow").ended["CANCELLED"] == 1
        answer = await engine.infer_async("slow", slow_inputs())
        np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])

    run(main())
    assert_at_rest(engine)
    assert dict_of_some(stats_of(engine, "slow").ended) == {"OK": 1, "CANCELLED": 1}


def dict_of_some(counts: dict[str, int]) -> dict[str, int]:
    """The counts that are not zero."""
    return {code: count for code, count in counts.items() if count}


@pytest.mark.parametrize("turns", range(6))
@on_every_loop
def test_cancelling_at_any_moment(engine: anya.Engine, load: Load, run: Run, turns: int) -> None:
    """A task cancelled after so many turns of the loop ends once, cancelled or answered, and the sums agree."""
    load("unnamed_batch")

    async def main() -> int:
        tasks = [asyncio.create_task(engine.infer_async("unnamed_batch", floats(1, 3))) for _ in range(16)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, (dict, asyncio.CancelledError)) for each in outcomes)
        assert all(isinstance(each, dict) for each in outcomes[1::2])
        return sum(isinstance(each, dict) for each in outcomes)

    answered = run(main())
    assert_at_rest(engine)
    stats = stats_of(engine, "unnamed_batch")
    assert answered <= stats.ended["OK"] and stats.accepted <= 16


@pytest.mark.parametrize("in_place", [0, 50])
def test_a_request_cancelled_within_its_turn_is_never_accepted(engine: anya.Engine, load: Load, in_place: int) -> None:
    """A whole turn of requests that are cancelled before it is over leaves no trace, and the engine answers on."""
    batching = anya.BatchingConfig(max_in_place_microseconds=in_place)
    load("unnamed_batch", config=anya.ModelConfig(instances=1, batching=batching))
    for _ in range(200):
        engine.infer("unnamed_batch", floats(1, 3))  # learns what a run costs

    async def main() -> None:
        for _ in range(20):
            asyncio.get_running_loop().call_soon(str)  # else they would be alone in this turn, and go in at once
            asked = [engine.infer_async("unnamed_batch", floats(1, 3)) for _ in range(3)]
            for each in asked:
                each.send(None)
            for each in asked:
                with pytest.raises(asyncio.CancelledError):
                    each.throw(asyncio.CancelledError())
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    asyncio.run(crowd(engine, 8))
    assert stats_of(engine, "unnamed_batch").accepted == 208


@on_every_loop
def test_timeout_ends_the_request(engine: anya.Engine, load: Load, run: Run) -> None:
    """timeout= ends a waiting request with DeadlineExceeded while the instance is still busy; it is never run."""
    load("slow", config=ONE)

    async def main() -> None:
        with busy(engine, spins=3 * SPINS):
            with pytest.raises(anya.DeadlineExceeded, match="timeout of 5.000 ms") as caught:
                await engine.infer_async("slow", slow_inputs(), timeout=0.005)
            assert isinstance(caught.value, TimeoutError)
            assert stats_of(engine, "slow").ended["OK"] == 0  # released before the busy run ended

    run(main())
    assert_at_rest(engine)
    assert stats_of(engine, "slow").rows == 1


@on_every_loop
def test_wait_for_cancels_the_request(engine: anya.Engine, load: Load, run: Run) -> None:
    """asyncio's own timeout cancels the request as a cancelled task does."""
    load("slow", config=ONE)

    async def main() -> None:
        with busy(engine, spins=3 * SPINS):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(engine.infer_async("slow", slow_inputs()), 0.005)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.005):
                    await engine.infer_detailed_async("slow", slow_inputs())
            assert stats_of(engine, "slow").ended["CANCELLED"] == 2

    run(main())


@on_every_loop
def test_closing_the_loop_with_requests_in_flight(engine: anya.Engine, load: Load, run: Run) -> None:
    """A loop that ends while requests run takes nobody with it: they end, and the next loop is served."""
    load("slow", config=ONE)
    load("unnamed_batch")

    async def leave() -> None:
        asyncio.get_running_loop().create_task(engine.infer_async("slow", slow_inputs(spins=SPINS)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(leave())
    run(crowd(engine, 8))
    assert_at_rest(engine)


def test_a_loop_closed_without_goodbye(engine: anya.Engine, load: Load) -> None:
    """A loop that is stopped and closed with a request running: the request ends, and the next loop is served."""
    load("slow", config=ONE)
    loop = asyncio.new_event_loop()
    asked = engine.infer_async("slow", slow_inputs(spins=SPINS))
    future = loop.run_until_complete(step(asked))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    until(lambda: stats_of(engine, "slow").ended["OK"] == 1, "end of the run")
    for _ in range(3):
        answer = asyncio.run(engine.infer_async("slow", slow_inputs()))
        np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])
    asked.close()
    del future


async def step(asked: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine to where it waits, and no further."""
    return asked.send(None)


def test_loops_closed_before_their_turn_was_over(engine: anya.Engine, load: Load) -> None:
    """Loops closed before their requests went in keep no descriptors: the requests were never accepted."""
    load("unnamed_batch")
    asyncio.run(crowd(engine, 2))
    before = open_descriptors()
    for _ in range(20):
        loop = asyncio.new_event_loop()
        asked = engine.infer_async("unnamed_batch", floats(1, 3))
        loop.call_soon(loop.stop)
        loop.call_soon(asked.send, None)
        loop.call_soon(str)  # company in that turn: else the request would go in at once
        loop.run_forever()
        loop.close()
        asked.close()
    assert open_descriptors() <= before + 3


def test_close_lets_go_of_a_loop_closed_before_its_turn_was_over(engine: anya.Engine, load: Load) -> None:
    """Once the engine is closed, nothing keeps a loop whose last requests never went in: not the requests either."""
    load("unnamed_batch")
    loop = asyncio.new_event_loop()
    asked = engine.infer_async("unnamed_batch", floats(1, 3))
    loop.call_soon(loop.stop)
    loop.call_soon(asked.send, None)
    loop.call_soon(str)  # company in that turn: else the request would go in at once
    loop.run_forever()
    loop.close()
    asked.close()
    seen = weakref.ref(loop)
    del loop, asked
    engine.close()
    gc.collect()
    assert seen() is None


@on_every_loop
def test_close_delivers_what_was_accepted(engine: anya.Engine, load: Load, run: Run) -> None:
    """close() while tasks wait, from their own loop or from a thread: every one of them gets its answer."""
    load("slow", config=ONE)

    async def main() -> None:
        tasks = [asyncio.create_task(engine.infer_async("slow", slow_inputs(spins=SPINS // 10))) for _ in range(8)]
        await until_in_loop(lambda: stats_of(engine, "slow").accepted == 8)
        await asyncio.to_thread(engine.close)
        for answer in await asyncio.gather(*tasks):
            np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])
        with pytest.raises(anya.Unavailable):
            await engine.infer_async("slow", slow_inputs())

    run(main())


def test_close_on_the_loops_own_thread(engine: anya.Engine, load: Load) -> None:
    """close() called by a coroutine drains, and the answers are there afterwards."""
    load("slow", config=ONE)

    async def main() -> None:
        task = asyncio.create_task(engine.infer_async("slow", slow_inputs(spins=SPINS // 10)))
        await until_in_loop(lambda: stats_of(engine, "slow").accepted == 1)
        engine.close()
        np.testing.assert_array_equal((await task)["y"], 2 * slow_inputs()["x"])

    asyncio.run(main())
