# SPDX-License-Identifier: Apache-2.0
"""infer_async: any loop, any number of tasks, one outcome each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import (
    HUNG,
    ONE,
    SPINS,
    assert_at_rest,
    assert_clean,
    crowd,
    floats,
    on_every_loop,
    open_descriptors,
    run_python,
    slow_inputs,
    stats_of,
)

import anya_engine as anya

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@on_every_loop
def test_sixty_four_at_once(engine: anya.Engine, load: Load, run: Run) -> None:
    """Sixty-four concurrent tasks each get their own answer, on asyncio's loop and on uvloop."""
    load("unnamed_batch")
    run(crowd(engine, 64))
    assert stats_of(engine, "unnamed_batch").ended["OK"] == 64


@pytest.mark.parametrize("in_place", [0, 50])
def test_one_turn_makes_few_batches(engine: anya.Engine, load: Load, in_place: int) -> None:
    """Tasks that ask in the same turn of the loop go in together: 64 requests, a handful of runs."""
    batching = anya.BatchingConfig(max_in_place_microseconds=in_place)
    load("unnamed_batch", config=anya.ModelConfig(instances=1, batching=batching))
    asyncio.run(crowd(engine, 64))
    assert stats_of(engine, "unnamed_batch").batches <= 4


@on_every_loop
def test_loops_one_after_the_other(engine: anya.Engine, load: Load, run: Run) -> None:
    """An engine outlives loops: each new one is served, and closed ones leave no descriptors behind."""
    load("unnamed_batch")
    run(crowd(engine, 8))
    before = open_descriptors()
    for seed in range(20):
        run(crowd(engine, 8, seed))
    assert open_descriptors() <= before + 2


def test_several_loops_at_once(engine: anya.Engine, load: Load) -> None:
    """Loops in several threads ask the same engine at the same time; every answer reaches its own loop."""
    load("unnamed_batch")
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    async def several(seed: int) -> None:
        start.wait(HUNG)
        for turn in range(10):
            await crowd(engine, 16, seed * 100 + turn)

    def work(seed: int) -> None:
        try:
            asyncio.run(several(seed))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    assert failures == []
    assert stats_of(engine, "unnamed_batch").ended["OK"] == 4 * 10 * 16


@on_every_loop
def test_task_group(engine: anya.Engine, load: Load, run: Run) -> None:
    """A TaskGroup whose one request fails cancels the others and raises that failure; all of them end."""
    load("poison", config=ONE)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for index in (1, 99, 2):
                    group.create_task(engine.infer_async("poison", {"i": np.array([index])}))
        assert [type(each) for each in caught.value.exceptions] == [anya.ExecutionError]

    run(main())
    assert_at_rest(engine)
    assert stats_of(engine, "poison").accepted == 3


def test_infer_async_outside_a_loop(engine: anya.Engine, load: Load) -> None:
    """Driving infer_async without a running loop is asyncio's own RuntimeError, and accepts nothing."""
    load("unnamed_batch")
    asked = engine.infer_async("unnamed_batch", floats(1, 3))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asked.send(None)
    assert stats_of(engine, "unnamed_batch").accepted == 0


@on_every_loop
def test_the_loop_stays_awake(engine: anya.Engine, load: Load, run: Run) -> None:
    """While a request runs the loop goes on: other coroutines take many turns."""
    load("slow", config=ONE)

    async def main() -> int:
        task = asyncio.create_task(engine.infer_async("slow", slow_inputs(spins=SPINS)))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert run(main()) > 100


def test_answers_need_no_other_event(engine: anya.Engine, load: Load) -> None:
    """An idle loop, with nothing else to wake it, hears of its answers: a fresh process, one task after the other."""
    done = run_python(
        """
        async def main():
            for _ in range(50):
                await engine.infer_async("unnamed_batch", floats(1, 3))
        engine = anya.Engine()
        engine.load("unnamed_batch", MODELS["unnamed_batch"](), config=ONE)
        asyncio.run(main())
        print("done")
        """
    )
    assert_clean(done, "done")
