# SPDX-License-Identifier: Apache-2.0
"""submit() and its Future."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import HUNG, ONE, SPINS, assert_at_rest, busy, slow_inputs, stats_of, until

import anya_engine as anya


@pytest.fixture
def slow(engine: anya.Engine, load: Load) -> anya.Engine:
    """An engine with one instance of `slow`, and `poison`."""
    load("slow", config=ONE)
    load("poison", config=ONE)
    return engine


def right(answer: Any) -> None:
    """The answer to slow_inputs()."""
    np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])


def test_result(slow: anya.Engine) -> None:
    """result() waits for the answer, and gives the same one every time."""
    future = slow.submit("slow", slow_inputs(spins=100))
    answer = future.result()
    right(answer)
    assert future.done() and not future.cancelled()
    assert future.exception() is None
    assert future.result(0) is answer


def test_a_result_that_is_not_there_yet(slow: anya.Engine) -> None:
    """result(timeout) running out raises TimeoutError, not DeadlineExceeded, and leaves the request alive."""
    with busy(slow):
        future = slow.submit("slow", slow_inputs())
        for ask in (future.result, future.exception):
            for timeout in (0, 0.001):
                with pytest.raises(
                    TimeoutError, match=rf"not there after {float(timeout)} s; the request goes on"
                ) as caught:
                    ask(timeout)
                assert not isinstance(caught.value, anya.AnyaError)
        assert not future.done()
        assert not future.cancelled()
    right(future.result(HUNG))


def test_it_is_no_future_of_the_standard_library(slow: anya.Engine) -> None:
    """asyncio.wrap_future, concurrent.futures.wait and await refuse it; a callback passes its outcome on to one."""
    future = slow.submit("slow", slow_inputs())
    assert not isinstance(future, concurrent.futures.Future)
    assert not hasattr(future, "__await__")
    with pytest.raises((AssertionError, TypeError)):
        asyncio.wrap_future(future)  # type: ignore[type-var]
    with pytest.raises(AttributeError):
        concurrent.futures.wait([future])  # type: ignore[list-item]
    made: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.add_done_callback(lambda done: made.set_result(done.result()))
    right(made.result(HUNG))


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_wait_without_sense(slow: anya.Engine, timeout: float) -> None:
    """A negative or NaN wait is a ValueError, and does not touch the request."""
    future = slow.submit("slow", slow_inputs())
    with pytest.raises(ValueError, match="timeout"):
        future.result(timeout)
    right(future.result(HUNG))


def test_the_requests_own_timeout_ends_it(slow: anya.Engine) -> None:
    """timeout= of submit ends the request: DeadlineExceeded, counted, never run."""
    with busy(slow, spins=3 * SPINS):
        future = slow.submit("slow", slow_inputs(), timeout=0.005)
        error = future.exception(HUNG)
        assert type(error) is anya.DeadlineExceeded
        assert stats_of(slow, "slow").ended["DEADLINE_EXCEEDED"] == 1
        assert stats_of(slow, "slow").ended["OK"] == 0
    with pytest.raises(anya.DeadlineExceeded):
        future.result()


def test_a_failure_is_raised_and_returned(slow: anya.Engine) -> None:
    """A failed run is the future's exception, and what result() raises, every time."""
    future = slow.submit("poison", np.array([77]))
    error = future.exception(HUNG)
    assert type(error) is anya.ExecutionError
    for _ in range(2):
        with pytest.raises(anya.ExecutionError, match="poison") as caught:
            future.result()
        assert caught.value is error


def test_cancel_before_the_run(slow: anya.Engine) -> None:
    """cancel() of a waiting request ends it: True once, Cancelled, never run."""
    with busy(slow):
        future = slow.submit("slow", slow_inputs())
        assert future.cancel() is True
        assert future.cancel() is False
        assert future.done() and future.cancelled()
        with pytest.raises(anya.Cancelled):
            future.result()
        assert isinstance(future.exception(), anya.Cancelled)
    assert_at_rest(slow)
    assert stats_of(slow, "slow").rows == 1


def test_cancel_during_the_run(slow: anya.Engine) -> None:
    """cancel() of a running request ends it at once; the run's answer is dropped, and the next request is right."""
    running = slow.submit("slow", slow_inputs(spins=SPINS))
    until(lambda: stats_of(slow, "slow").queue_depth == 0, "start of the run")
    assert running.cancel() is True
    assert isinstance(running.exception(0), anya.Cancelled)
    right(slow.submit("slow", slow_inputs()).result(HUNG))
    assert_at_rest(slow)
    assert stats_of(slow, "slow").ended["CANCELLED"] == 1


def test_cancel_after_the_end(slow: anya.Engine) -> None:
    """cancel() of what has ended is False and changes nothing."""
    future = slow.submit("slow", slow_inputs())
    right(future.result(HUNG))
    assert future.cancel() is False
    assert not future.cancelled()
    right(future.result())


def test_callbacks_on_a_pending_future(slow: anya.Engine) -> None:
    """Callbacks of a pending future run once each, in order, with the future, when it has ended: not before."""
    called: list[tuple[int, Any]] = []
    last = threading.Event()
    with busy(slow):
        future = slow.submit("slow", slow_inputs())
        for number in range(3):
            future.add_done_callback(lambda done, n=number: called.append((n, done)))
        future.add_done_callback(lambda _: last.set())
        assert called == []
    assert last.wait(HUNG)
    assert [(number, done is future) for number, done in called] == [(0, True), (1, True), (2, True)]


def test_callbacks_on_a_done_future(slow: anya.Engine) -> None:
    """A callback added after the end runs at once, on the thread that adds it."""
    future = slow.submit("slow", slow_inputs())
    future.result(HUNG)
    threads: list[int] = []
    future.add_done_callback(lambda _: threads.append(threading.get_ident()))
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("how", ["failure", "cancel", "deadline", "close"])
def test_callbacks_whatever_the_outcome(slow: anya.Engine, how: str) -> None:
    """Failed, cancelled and timed out requests call back too, and so do those that close() drains."""
    seen: list[str] = []
    last = threading.Event()

    def note(future: Any) -> None:
        error = future.exception(0)
        seen.append("OK" if error is None else error.code)
        last.set()

    if how == "failure":
        slow.submit("poison", np.array([99])).add_done_callback(note)
    else:
        with busy(slow):
            future = slow.submit("slow", slow_inputs(), timeout=0.002 if how == "deadline" else None)
            future.add_done_callback(note)
            if how == "cancel":
                future.cancel()
            if how == "close":
                slow.close()
    assert last.wait(HUNG)
    wanted = {"failure": "EXECUTION_ERROR", "cancel": "CANCELLED", "deadline": "DEADLINE_EXCEEDED", "close": "OK"}
    assert seen == [wanted[how]]


def test_a_callback_that_raises(slow: anya.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a callback raises goes to sys.unraisablehook; the callbacks after it and other futures are unharmed."""
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: raised.append(seen.exc_value))
    last = threading.Event()

    def broken(_: Any) -> None:
        raise RuntimeError("mine")

    with busy(slow):
        future = slow.submit("slow", slow_inputs())
        future.add_done_callback(broken)
        other = slow.submit("slow", slow_inputs())
        other.add_done_callback(lambda _: last.set())
    assert last.wait(HUNG)
    right(future.result())
    future.add_done_callback(broken)
    assert [str(each) for each in raised] == ["mine", "mine"]


def test_a_callback_may_ask_the_engine(slow: anya.Engine) -> None:
    """A callback may submit, wait and add callbacks of its own; the engine does not stand still for it."""
    answers: list[Any] = []
    last = threading.Event()

    def again(future: Any) -> None:
        answers.append(future.result(0))
        answers.append(slow.infer("slow", slow_inputs()))
        slow.submit("slow", slow_inputs()).add_done_callback(finish)

    def finish(future: Any) -> None:
        answers.append(future.result(0))
        last.set()

    slow.submit("slow", slow_inputs(spins=100)).add_done_callback(again)
    assert last.wait(HUNG)
    assert len(answers) == 3
    for answer in answers:
        right(answer)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as they can: what must not be seen half done is seen."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("index", [3, 99])
def test_many_threads_wait_for_one_future(slow: anya.Engine, eager_switching: None, index: int) -> None:
    """However many threads wait for one future, each gets the same answer or the same error."""
    for _ in range(30):
        start = threading.Barrier(9)
        outcomes: list[Any] = []
        future = slow.submit("poison", np.array([index]))

        def wait(future: Any = future, start: Any = start, outcomes: list[Any] = outcomes) -> None:
            start.wait(HUNG)
            try:
                outcomes.append(future.result(HUNG))
            except BaseException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        start.wait(HUNG)
        for thread in threads:
            thread.join(HUNG)
        assert len(outcomes) == 8
        assert {type(each) for each in outcomes} == {dict if index < 10 else anya.ExecutionError}
        assert all(each is outcomes[0] for each in outcomes)


def test_many_threads_cancel_one_future(slow: anya.Engine) -> None:
    """Of many threads that cancel one future exactly one did it."""
    for _ in range(20):
        with busy(slow, spins=200):
            future = slow.submit("slow", slow_inputs())
            start = threading.Barrier(4)
            did: list[bool] = []

            def cancel(start: Any = start, future: Any = future, did: list[bool] = did) -> None:
                start.wait(HUNG)
                did.append(future.cancel())

            threads = [threading.Thread(target=cancel) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HUNG)
            assert sum(did) == (1 if future.cancelled() else 0)


def test_dropping_a_future(slow: anya.Engine) -> None:
    """A future that nobody keeps does not cancel its request: it runs, counts, and is freed."""
    with busy(slow):
        for _ in range(10):
            slow.submit("slow", slow_inputs())
        assert stats_of(slow, "slow").queue_depth == 10
    assert_at_rest(slow)
    assert stats_of(slow, "slow").ended["OK"] == 11


def test_a_dropped_future_still_calls_back(slow: anya.Engine) -> None:
    """A callback runs even if nobody kept the future."""
    last = threading.Event()
    with busy(slow):
        slow.submit("slow", slow_inputs()).add_done_callback(lambda _: last.set())
    assert last.wait(HUNG)


def test_a_future_outlives_its_engine(slow: anya.Engine) -> None:
    """Futures keep their answers and errors after unload and close."""
    good, bad = slow.submit("slow", slow_inputs()), slow.submit("poison", np.array([99]))
    slow.unload("slow")
    slow.close()
    right(good.result())
    with pytest.raises(anya.ExecutionError):
        bad.result()
    called: list[Any] = []
    good.add_done_callback(called.append)
    assert called == [good]
