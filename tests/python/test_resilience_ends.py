# SPDX-License-Identifier: Apache-2.0
"""How requests that are being tried again end: deadlines, cancellation, the engine's end, others' mistakes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.failures import QUICK, X, failing_once
from python.support import HUNG, Ask, every_way, stats_of, until

import anya_engine as anya
from anya_engine import testing


@every_way
def test_a_deadline_shorter_than_one_attempt(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """The time is over before the run: no retry, no other model, the default at once."""
    engine = guarded(retry=QUICK, fallback=("simple", anya.Default({"y": 3})))
    with testing.inject(engine, "m", delay=0.05):
        np.testing.assert_array_equal(ask(engine, "m", X, timeout=0.005)["y"], np.full((2, 3), 3))
    assert stats_of(engine, "simple").accepted == 0


def test_a_future_can_be_cancelled_between_attempts(guarded: Callable[..., anya.Engine]) -> None:
    """While it waits for its second attempt it ends as cancelled, once, and is not asked again."""
    engine = guarded(retry=anya.RetryPolicy(initial_backoff=3600, max_backoff=3600))
    called: list[bool] = []
    with testing.inject(engine, "m", error=anya.ExecutionError):
        engine._models.recoveries.draw = lambda: 0.99
        future = engine.submit("m", X)
        future.add_done_callback(lambda done: called.append(done.cancelled()))
        until(lambda: stats_of(engine, "m").ended["EXECUTION_ERROR"] == 1, "first attempt")
        assert not future.done()
        with pytest.raises(TimeoutError):
            future.result(0.001)
        assert future.cancel()
    assert future.cancelled() and not future.cancel()
    until(lambda: called == [True], "callback")
    with pytest.raises(anya.Cancelled):
        future.result(HUNG)
    assert stats_of(engine, "m").accepted == 1


def test_a_task_can_be_cancelled_between_attempts(guarded: Callable[..., anya.Engine]) -> None:
    """Likewise, awaited."""
    engine = guarded(retry=anya.RetryPolicy(initial_backoff=3600, max_backoff=3600))
    engine._models.recoveries.draw = lambda: 0.99

    async def main() -> None:
        task = asyncio.create_task(engine.infer_async("m", X))
        while stats_of(engine, "m").ended["EXECUTION_ERROR"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with testing.inject(engine, "m", error=anya.ExecutionError):
        asyncio.run(main())


def test_closing_ends_what_waits_for_its_backoff() -> None:
    """close() does not wait an hour: the next attempt is refused at once, the default answers."""
    engine = anya.Engine()
    policy = anya.RetryPolicy(initial_backoff=3600, max_backoff=3600)
    config = anya.ModelConfig(retry=policy, fallback=(anya.Default({"y": 5}),))
    engine.load("m", MODELS["unnamed_batch"](), config=config)
    engine._models.recoveries.draw = lambda: 0.99
    called = threading.Event()
    with testing.inject(engine, "m", error=anya.ExecutionError):
        future = engine.submit("m", X)
        future.add_done_callback(lambda _: called.set())
        until(lambda: stats_of(engine, "m").ended["EXECUTION_ERROR"] == 1, "first attempt")
        engine.close()
    np.testing.assert_array_equal(future.result(HUNG)["y"], np.full((2, 3), 5))
    assert called.is_set()


@every_way
def test_what_waits_is_asked_again_as_it_was(
    guarded: Callable[..., anya.Engine], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever does not wait may change its arrays: the retry has what was given."""
    engine = guarded(retry=QUICK)
    failing_once(engine, monkeypatch)
    mine = X.copy()
    if ask.__name__ == "ask_submit":
        future = engine.submit("m", mine)
        mine[:] = 0
        answer = future.result(HUNG)
    elif ask.__name__ == "ask_async":

        async def main() -> Any:
            task = asyncio.create_task(engine.infer_async("m", mine))
            await asyncio.sleep(0)
            mine[:] = 0
            return await task

        answer = asyncio.run(main())
    else:
        answer = engine.infer("m", mine)
    np.testing.assert_array_equal(answer["y"], X + X)
