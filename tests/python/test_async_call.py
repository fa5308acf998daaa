# SPDX-License-Identifier: Apache-2.0
"""`infer_async` returns a coroutine of the core's own: it must be as good as one that `async def` makes."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import gc
import unittest.mock
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.conftest import Load
from python.support import ONE, assert_at_rest, busy, floats, on_every_loop, slow_inputs, stats_of, until_in_loop

import anya_engine as anya

Run = Callable[[Coroutine[Any, Any, Any]], Any]
QUEUED = anya.ModelConfig(batching=anya.BatchingConfig(max_in_place_microseconds=0))
in_place_or_queued = pytest.mark.parametrize("config", [None, QUEUED], ids=["in_place", "queued"])


def test_it_is_a_coroutine_to_those_who_ask(engine: anya.Engine, load: Load) -> None:
    """asyncio, abc and mocks with a spec see a coroutine function, and a coroutine in what it returns."""
    load("unnamed_batch")
    asked = engine.infer_async("unnamed_batch", floats(1, 3))
    assert isinstance(asked, collections.abc.Coroutine)
    assert asyncio.iscoroutine(asked) and not asyncio.isfuture(asked)
    assert asyncio.iscoroutinefunction(anya.Engine.infer_async)
    assert isinstance(unittest.mock.create_autospec(anya.Engine).infer_async, unittest.mock.AsyncMock)
    asked.close()


@on_every_loop
@pytest.mark.parametrize(
    "wrap", [asyncio.shield, asyncio.ensure_future, asyncio.gather, lambda c: asyncio.wait_for(c, 60)]
)
def test_asyncio_takes_it_anywhere(engine: anya.Engine, load: Load, run: Run, wrap: Callable[[Any], Any]) -> None:
    """shield, ensure_future, gather and wait_for make a task of it, and get its answer."""
    load("unnamed_batch")
    x = floats(1, 3)

    async def main() -> Any:
        return await wrap(engine.infer_async("unnamed_batch", x))

    answer = run(main())
    answer = answer[0] if isinstance(answer, list) else answer
    np.testing.assert_allclose(answer["y"], engine.infer("unnamed_batch", x)["y"], rtol=1e-5)


def test_nothing_is_asked_before_it_is_awaited(engine: anya.Engine, load: Load) -> None:
    """A call that is never awaited asks nothing, and Python says so as it does of any coroutine."""
    load("unnamed_batch")
    with pytest.warns(RuntimeWarning, match="never awaited"):
        engine.infer_async("unnamed_batch", floats(1, 3))
    engine.infer_async("unnamed_batch", floats(1, 3)).close()  # closed by hand: nothing to warn of
    assert stats_of(engine, "unnamed_batch").accepted == 0


def test_a_model_that_is_missing_is_missed_at_the_await(engine: anya.Engine) -> None:
    """An unknown model raises when the call is awaited, not when it is made."""
    asked = engine.infer_async("nowhere", floats(1, 3))
    with pytest.raises(anya.ModelNotFound):
        asyncio.run(asked)


@in_place_or_queued
def test_it_can_be_awaited_once(engine: anya.Engine, load: Load, config: anya.ModelConfig | None) -> None:
    """A second await of one call is refused, like that of any coroutine."""
    load("unnamed_batch", config=config)

    async def main() -> None:
        asked = engine.infer_async("unnamed_batch", floats(1, 3))
        await asked
        with pytest.raises(RuntimeError, match="already awaited"):
            await asked

    asyncio.run(main())


def test_outside_of_a_loop_it_says_so(engine: anya.Engine, load: Load) -> None:
    """Stepped by hand without a running loop, the call raises what asyncio raises, and asks nothing."""
    load("unnamed_batch")
    asked = engine.infer_async("unnamed_batch", floats(1, 3))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asked.send(None)
    assert stats_of(engine, "unnamed_batch").accepted == 0


@on_every_loop
@in_place_or_queued
def test_each_task_goes_on_in_its_own_context(
    engine: anya.Engine, load: Load, run: Run, config: anya.ModelConfig | None
) -> None:
    """Tasks that share a batch keep their own context variables and are the current task when they go on."""
    load("unnamed_batch", config=config)
    mine: contextvars.ContextVar[int] = contextvars.ContextVar("mine")

    async def client(number: int) -> None:
        mine.set(number)
        task = asyncio.current_task()
        for turn in range(5):
            await engine.infer_async("unnamed_batch", floats(1, 3))
            assert mine.get() == number + turn
            assert asyncio.current_task() is task
            mine.set(number + turn + 1)

    async def main() -> None:
        await asyncio.gather(*(client(100 * number) for number in range(16)))

    run(main())
    assert_at_rest(engine)


@in_place_or_queued
def test_tasks_written_in_python_can_wait_too(engine: anya.Engine, load: Load, config: anya.ModelConfig | None) -> None:
    """asyncio's task written in Python, which debuggers put in place of the C one, gets answers and cancellations."""
    load("unnamed_batch", config=config)
    x = floats(1, 3)

    async def ask() -> Any:
        return await engine.infer_async("unnamed_batch", x)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, **more: asyncio.tasks._PyTask(coroutine, loop=loop, **more))
        cancelled = loop.create_task(ask())
        await asyncio.sleep(0)
        cancelled.cancel()
        answers = await asyncio.gather(*(loop.create_task(ask()) for _ in range(8)))
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return answers

    for answer in asyncio.run(main()):
        np.testing.assert_allclose(answer["y"], engine.infer("unnamed_batch", x)["y"], rtol=1e-5)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@in_place_or_queued
def test_an_interrupt_out_of_one_task_loses_no_other(
    engine: anya.Engine, load: Load, config: anya.ModelConfig | None, kind: type[BaseException]
) -> None:
    """An interrupt that leaves one task ends the loop's run; when it runs again, the others of that batch go on."""
    load("unnamed_batch", config=config)
    answered = []

    async def client(number: int) -> None:
        await engine.infer_async("unnamed_batch", floats(1, 3))
        if number == 3:
            raise kind
        answered.append(number)

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(client(number)) for number in range(8)]
    with pytest.raises(kind):
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(asyncio.wait(tasks))
    assert sorted(answered) == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(tasks[3].exception(), kind)
    loop.close()
    assert_at_rest(engine)


def test_closing_the_engine_in_a_task_answers_its_neighbours(load: Load, engine: anya.Engine) -> None:
    """A task that goes on from a batch and closes the engine leaves the batch's other tasks their answers."""
    load("unnamed_batch", config=QUEUED)
    answers: list[int] = []

    async def client(number: int) -> None:
        await engine.infer_async("unnamed_batch", floats(1, 3))
        if number == 0:
            late = asyncio.create_task(client(99))
            await asyncio.sleep(0)
            engine.close()
            await asyncio.wait([late])
        answers.append(number)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*(client(number) for number in range(8))), 60)

    asyncio.run(main())
    assert sorted(set(answers) - {99}) == list(range(8))


def test_a_loop_can_be_left_with_requests_under_way(engine: anya.Engine, load: Load) -> None:
    """A loop that stops with requests in flight goes on where it was when it runs again, whatever ran in between."""
    load("slow", config=ONE)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    with busy(engine):
        waiting = first.create_task(engine.infer_async("slow", slow_inputs()))
        first.run_until_complete(until_in_loop(lambda: stats_of(engine, "slow").queue_depth == 1))
    answer = second.run_until_complete(engine.infer_async("slow", slow_inputs()))
    np.testing.assert_array_equal(first.run_until_complete(waiting)["y"], answer["y"])
    first.close()
    second.close()
    assert_at_rest(engine)


def test_two_engines_on_one_loop(engine: anya.Engine, load: Load) -> None:
    """A task that one engine has woken may ask another engine at once."""
    load("unnamed_batch")
    with anya.Engine() as other:
        other.load("again", MODELS["unnamed_batch"]())

        async def client() -> None:
            for _ in range(10):
                answer = await engine.infer_async("unnamed_batch", floats(1, 3))
                np.testing.assert_allclose(
                    (await other.infer_async("again", floats(1, 3)))["y"], answer["y"], rtol=1e-5
                )

        async def main() -> None:
            await asyncio.gather(*(client() for _ in range(8)))

        asyncio.run(main())
        assert_at_rest(other)
    assert_at_rest(engine)


@in_place_or_queued
def test_nothing_is_kept_of_calls_that_are_over(
    engine: anya.Engine, load: Load, config: anya.ModelConfig | None
) -> None:
    """Answered, failed, cancelled and closed calls leave neither inputs nor tasks behind."""
    load("unnamed_batch", config=config)

    class Input:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return floats(1, 3)

    kept: list[weakref.ref[Any]] = []

    async def main() -> None:
        for _ in range(3):
            mine = Input()
            kept.append(weakref.ref(mine))
            tasks = [asyncio.create_task(engine.infer_async("unnamed_batch", mine)) for _ in range(4)]
            kept.extend(weakref.ref(task) for task in tasks)
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with pytest.raises(anya.InvalidInput):
                await engine.infer_async("unnamed_batch", np.zeros((1, 99), np.float32))
            engine.infer_async("unnamed_batch", mine).close()
            del mine, tasks

    asyncio.run(main())
    assert_at_rest(engine)
    gc.collect()
    assert [each() for each in kept if each() is not None] == []
