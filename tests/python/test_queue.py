# SPDX-License-Identifier: Apache-2.0
"""Who waits, in which order, for how long; who is refused, and in which words."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import (
    HUNG,
    SPINS,
    ask_async,
    ask_infer,
    ask_submit,
    busy,
    said,
    slow_inputs,
    stats_of,
    until,
    until_in_loop,
)

import anya_engine as anya

every_way = pytest.mark.parametrize("ask", [ask_infer, ask_submit, ask_async])

#: Rounds of `slow` that no test waits for.
ENDLESS = 1 << 40


def one(**batching: Any) -> anya.ModelConfig:
    """One instance that takes one request at a time from its queue."""
    settings = {"max_batch_size": 1, "max_in_place_microseconds": 0, **batching}
    return anya.ModelConfig(instances=1, batching=anya.BatchingConfig(**settings))


def order_of(engine: anya.Engine, terms: list[dict[str, Any]]) -> list[int]:
    """The order in which requests with these terms are answered, which came in the order given."""
    order: list[int] = []
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(), **each) for each in terms]
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, mine=index: order.append(mine))
    for future in futures:
        future.result(HUNG)
    engine.close()  # joins the thread of the callbacks
    return order


def test_in_one_level_who_is_due_first_goes_first(engine: anya.Engine, load: Load) -> None:
    """Levels come first, deadlines second, arrival last; without a deadline a request is not in a hurry."""
    load("slow", config=one())
    terms: list[dict[str, Any]] = [
        {},
        {"timeout": 9.0},
        {"timeout": 5.0},
        {"priority": 200, "timeout": 3.0},
        {"priority": 1},
        {"timeout": 5.0},
    ]
    assert order_of(engine, terms) == [4, 2, 5, 1, 0, 3]


def test_levels_have_a_default(engine: anya.Engine, load: Load) -> None:
    """With priority_levels a request that names no priority has the default level."""
    load("slow", config=one(priority_levels=3, default_priority_level=3))
    assert order_of(engine, [{}, {"priority": 2}, {"priority": 1}, {"priority": 3}]) == [2, 1, 0, 3]


@every_way
def test_a_priority_beyond_the_levels(engine: anya.Engine, load: Load, ask: Any) -> None:
    """A priority that the model does not have is refused with the levels that it has."""
    load("slow", config=one(priority_levels=3))
    with pytest.raises(anya.InvalidInput, match="priority is 4; the model has priority_levels=3") as caught:
        ask(engine, "slow", slow_inputs(), priority=4)
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("priority", 4, 3)
    assert stats_of(engine, "slow").refused["INVALID_INPUT"] == 1
    ask(engine, "slow", slow_inputs(), priority=3)


@every_way
def test_the_models_own_timeouts(engine: anya.Engine, load: Load, ask: Any) -> None:
    """default_timeout ends a request that names none; a longer one than max_timeout is refused."""
    config = anya.ModelConfig(instances=1, default_timeout=0.01, max_timeout=30)
    load("slow", config=config)
    running = engine.submit("slow", slow_inputs(spins=ENDLESS), timeout=30)
    with pytest.raises(anya.DeadlineExceeded, match="timeout of 10.000 ms") as late:
        ask(engine, "slow", slow_inputs())
    assert (late.value.value, late.value.limit) == (0.01, None)  # seconds, as they were given
    assert running.cancel()
    with pytest.raises(anya.InvalidInput, match="timeout is 31.000 s, max_timeout is 30.000 s") as caught:
        ask(engine, "slow", slow_inputs(), timeout=31)
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("timeout", 31.0, 30.0)
    ask(engine, "slow", slow_inputs(), timeout=30)


@every_way
def test_the_policys_time_in_the_queue(engine: anya.Engine, load: Load, ask: Any) -> None:
    """default_timeout_microseconds bounds the wait of a level, not the run; it ends on time behind a stuck run."""
    hurried = anya.QueuePolicy(default_timeout_microseconds=5_000)
    load("slow", config=one(priority_levels=2, default_priority_level=2, priority_queue_policy={1: hurried}))
    with busy(engine):
        with pytest.raises(anya.DeadlineExceeded, match="queue policy allows 5.000 ms") as caught:
            ask(engine, "slow", slow_inputs(), priority=1)
        assert caught.value.limit == 0.005 and 0.005 <= caught.value.value < HUNG
        assert stats_of(engine, "slow").ended["OK"] == 0
        patient = engine.submit("slow", slow_inputs())
    patient.result(HUNG)
    answer = ask(engine, "slow", slow_inputs(spins=SPINS), priority=1)  # a tenth of a second of run
    np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])


@every_way
def test_a_level_has_its_own_bound(engine: anya.Engine, load: Load, ask: Any) -> None:
    """A full level refuses its own requests, with its numbers; other levels and the queue go on."""
    narrow = anya.QueuePolicy(max_queue_size=2)
    load("slow", config=one(priority_levels=2, default_priority_level=1, priority_queue_policy={2: narrow}))
    with busy(engine):
        waiting = [engine.submit("slow", slow_inputs(), priority=2) for _ in range(2)]
        with pytest.raises(anya.Overloaded, match="queue of this priority is full: 2 requests wait") as caught:
            ask(engine, "slow", slow_inputs(), priority=2)
        assert (caught.value.value, caught.value.limit, caught.value.retryable) == (2, 2, False)
        waiting.append(engine.submit("slow", slow_inputs()))
    for future in waiting:
        future.result(HUNG)
    ask(engine, "slow", slow_inputs(), priority=2)
    assert stats_of(engine, "slow").refused["OVERLOADED"] == 1


def taught(engine: anya.Engine, load: Load, **config: Any) -> None:
    """`slow` with one instance that knows what a request costs when others wait: a few milliseconds at least."""
    settings = anya.BatchingConfig(max_batch_size=1, max_in_place_microseconds=0, max_queue_size=64)
    load("slow", config=anya.ModelConfig(instances=1, batching=settings, **config))
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(spins=SPINS // 20)) for _ in range(5)]
    for future in futures:
        future.result(HUNG)


@every_way
def test_a_time_that_cannot_suffice(engine: anya.Engine, load: Load, ask: Any) -> None:
    """Behind a long queue a short timeout is refused at once, with what was predicted; alone it is let in."""
    taught(engine, load)
    with busy(engine, spins=2 * SPINS):
        waiting = [engine.submit("slow", slow_inputs(spins=SPINS // 20)) for _ in range(40)]
        began = time.perf_counter()
        with pytest.raises(
            anya.DeadlineExceeded, match=r"the time left is 1\.000 ms, the answer is predicted"
        ) as caught:
            ask(engine, "slow", slow_inputs(), timeout=0.001)
        assert time.perf_counter() - began < 1.0
        assert caught.value.predicted_wait > 0.001
        assert caught.value.limit == 0.001
        assert stats_of(engine, "slow").refused["DEADLINE_EXCEEDED"] == 1
        with pytest.raises(anya.Overloaded) as full:
            for _ in range(100):
                engine.submit("slow", slow_inputs())
        assert full.value.predicted_wait > caught.value.predicted_wait / 2
        assert "the predicted wait is" in str(full.value)
    for future in waiting:
        future.result(HUNG)


def test_an_idle_model_refuses_nobody(engine: anya.Engine, load: Load) -> None:
    """Whatever was learned, a lone request is let in however short its time is."""
    taught(engine, load)
    for _ in range(50):
        engine.infer("slow", slow_inputs(), timeout=5.0)
        until(lambda: stats_of(engine, "slow").instances_busy == 0)
    assert stats_of(engine, "slow").refused["DEADLINE_EXCEEDED"] == 0


@every_way
def test_a_run_that_nobody_waits_for_is_stopped(engine: anya.Engine, load: Load, ask: Any) -> None:
    """The caller of an endless run is released at its deadline, the run is stopped, and the instance answers on."""
    load("slow", config=one())
    began = time.perf_counter()
    with pytest.raises(anya.DeadlineExceeded, match="ran out before the answer was there"):
        ask(engine, "slow", slow_inputs(spins=ENDLESS), timeout=0.05)
    assert time.perf_counter() - began < 5.0
    until(lambda: stats_of(engine, "slow").instances_busy == 0, "the end of the stopped run")
    assert stats_of(engine, "slow").terminated_runs == 1
    answer = ask(engine, "slow", slow_inputs())
    np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])


def test_a_run_goes_on_while_anybody_waits(engine: anya.Engine, load: Load) -> None:
    """Of a batch the others get their answers when one of them has left."""
    load("slow", config=anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_in_place_microseconds=0)))
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(spins=SPINS)) for _ in range(4)]
    until(lambda: stats_of(engine, "slow").queue_depth == 0, "the start of the batch")
    for future in futures[1:]:
        future.cancel()
    np.testing.assert_array_equal(futures[0].result(HUNG)["y"], 2 * slow_inputs()["x"])
    assert stats_of(engine, "slow").terminated_runs == 0


def test_a_cancelled_task_stops_its_run(engine: anya.Engine, load: Load) -> None:
    """Cancelling the task that asked for an endless run stops the run."""
    load("slow", config=one())

    async def main() -> None:
        task = asyncio.create_task(engine.infer_async("slow", slow_inputs(spins=ENDLESS)))
        await until_in_loop(lambda: stats_of(engine, "slow").instances_busy == 1)
        await until_in_loop(lambda: stats_of(engine, "slow").queue_depth == 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: stats_of(engine, "slow").terminated_runs == 1, "the end of the stopped run")


def test_a_stuck_instance_shows_in_health(
    engine: anya.Engine, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that was told to stop and does not is named by health() and logged once; all instances stuck: not ready."""
    load("slow")
    [name] = engine._models.serving
    real = engine._models.stable(name)
    numbers = SimpleNamespace(stuck_runs=1, instances=2, failed=False, circuit=None)

    class Stuck:
        name, version = real.name, real.version

        def stats(self) -> SimpleNamespace:
            return numbers

    stuck = Stuck()
    monkeypatch.setattr(engine._models, "_stable", {name: stuck})
    with caplog.at_level(logging.WARNING, "anya_engine"):
        for _ in range(3):
            model = engine.health().models[name]
            assert model.ready
            assert model.reason == "1 of 2 instances are stuck in runs that were told to stop"
        numbers.stuck_runs = 2
        health = engine.health()
        assert not health.ready and not health.models[name].ready
        assert health.reason == "not ready: slow"
    assert [record.message for record in said(caplog)] == [
        f"model 'slow:1': {count} of 2 instances are stuck in runs that were told to stop" for count in (1, 2)
    ]
    numbers.stuck_runs = 0
    assert engine.health().models[name].reason == ""


def test_a_standing_queue_is_overload(engine: anya.Engine, load: Load) -> None:
    """When for an interval nobody waited less than the target, newcomers are refused that would wait longer than it."""
    settings = anya.BatchingConfig(
        max_batch_size=1,
        max_in_place_microseconds=0,
        queue_delay_target_microseconds=20_000,
        queue_delay_interval_microseconds=20_000,
    )
    load("slow", config=anya.ModelConfig(instances=1, batching=settings))
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(spins=SPINS // 20)) for _ in range(60)]  # 5 ms each
    until(lambda: stats_of(engine, "slow").queue_depth < 40, "some of them")
    with pytest.raises(anya.Overloaded, match="requests wait ahead of this one, the predicted wait is") as caught:
        engine.submit("slow", slow_inputs())
    assert caught.value.limit == 0.02
    assert caught.value.predicted_wait > 0.02
    futures.append(engine.submit("slow", slow_inputs(), priority=1))  # who goes first waits for nobody
    for future in futures:
        future.result(HUNG)
    futures = [engine.submit("slow", slow_inputs()) for _ in range(2)]  # the queue was empty: the door is open
    for future in futures:
        future.result(HUNG)
