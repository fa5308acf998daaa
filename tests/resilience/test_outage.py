# SPDX-License-Identifier: Apache-2.0
"""Why there is a budget: an outage played in virtual time, with the policies themselves and a server that can be late.

The server takes 10 ms a request, in order of arrival; callers come 80 times a second and give up after a second, which
the server does not know: what has waited too long is served in vain. For 15 s it stands still. A caller's failure is
one that may be retried.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from anya_engine._fallback import Recovery, Retry
from anya_engine._retry import RetryBudget
from anya_engine.errors import ExecutionError
from anya_engine.resilience import RetryPolicy

RATE, SERVICE, PATIENCE, ROOM = 80, 0.01, 1.0, 110
BEGIN, END, OVER = 10.0, 25.0, 60.0
FAILED = ExecutionError("late")


def goodput(policy: RetryPolicy | None, *, budget: bool) -> tuple[list[float], list[float]]:
    """Answers in time, and attempts, of each second, as a share of the callers of a second."""
    dice = random.Random(7)
    tokens = RetryBudget(policy or RetryPolicy())
    numbers = itertools.count()
    events: list[tuple[float, int, Callable[[], None]]] = []
    waiting: deque[dict[str, Any]] = deque()
    good, offered = [0] * int(OVER + 5), [0] * int(OVER + 5)
    now, successes, busy = 0.0, 0, False

    def at(time: float, call: Callable[[], None]) -> None:
        heapq.heappush(events, (time, next(numbers), call))

    def attempt(recovery: Recovery) -> None:
        offered[min(int(now), len(offered) - 1)] += 1
        one = {"recovery": recovery, "since": now, "ended": False}
        if len(waiting) >= ROOM:
            failed(one)
            return
        waiting.append(one)
        at(now + PATIENCE, lambda: failed(one))
        serve()

    def failed(one: dict[str, Any]) -> None:
        if one["ended"]:
            return
        one["ended"] = True
        take = (lambda: tokens.take(successes)) if budget else (lambda: True)
        step = one["recovery"].failed(FAILED, now, dice.random(), 0.0, take)
        if isinstance(step, Retry):
            at(now + step.wait, lambda: attempt(one["recovery"]))

    def serve() -> None:
        nonlocal busy
        if busy or not waiting:
            return
        busy = True
        one = waiting.popleft()
        at((END if BEGIN <= now < END else now) + SERVICE, lambda: served(one))

    def served(one: dict[str, Any]) -> None:
        nonlocal busy, successes
        busy = False
        if not one["ended"]:
            one["ended"] = True
            successes += 1
            good[min(int(now), len(good) - 1)] += 1
        serve()

    for n in range(int(OVER * RATE)):
        at(n / RATE + dice.random() / RATE, lambda: attempt(Recovery(policy, (), float("inf"))))
    while events:
        now, _, call = heapq.heappop(events)
        if now >= OVER:
            break
        call()
    return [count / RATE for count in good], [count / RATE for count in offered]


def mean(values: list[float], first: float, last: float) -> float:
    """Mean of the seconds from first to last."""
    part = values[int(first) : int(last)]
    return sum(part) / len(part)


def test_with_the_defaults_all_is_well_two_seconds_after_the_outage() -> None:
    """Before, 2 s after, and for good: at least 99 % are answered in time; retries stay within a tenth."""
    good, offered = goodput(RetryPolicy(), budget=True)
    assert mean(good, 2, BEGIN) >= 0.99
    assert mean(good, END + 2, OVER) >= 0.99
    assert min(good[int(END) + 3 : int(OVER) - 1]) >= 0.95  # a second has 80 callers, more or less
    assert mean(offered, BEGIN + 1, END) < 1.1


def test_without_a_budget_the_outage_never_ends() -> None:
    """The same with retries that nobody pays for: three times the load keeps the server serving in vain."""
    good, offered = goodput(RetryPolicy(), budget=False)
    assert mean(good, 2, BEGIN) >= 0.99
    assert mean(good, OVER - 20, OVER - 1) < 0.5
    assert mean(offered, OVER - 20, OVER - 1) > 2


@pytest.mark.parametrize("backoff", [0.025, 1.0])
def test_jitter_alone_is_no_protection(backoff: float) -> None:
    """Longer waits only make the storm come later."""
    good, _ = goodput(RetryPolicy(initial_backoff=backoff, max_backoff=2.0), budget=False)
    assert mean(good, OVER - 20, OVER - 1) < 0.5


def test_without_retries_it_ends_by_itself() -> None:
    """The server of this play recovers when it is left alone: it is the retries that keep it down."""
    good, _ = goodput(None, budget=True)
    assert mean(good, END + 2, OVER - 1) >= 0.99
