# SPDX-License-Identifier: Apache-2.0
"""More requests than can be answered: an open loop of tasks with a deadline each, and what became of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: What a side is asked: the row, whether this request is of the favoured few, and the seconds that are left for it.
Ask = Callable[[int, bool, float], Awaitable[Any]]


def p99(times: Sequence[float]) -> float:
    """The value that one in a hundred reaches; of sorted ones."""
    return times[len(times) * 99 // 100]


@dataclass(kw_only=True)
class Flood:
    """What became of the requests of one open loop."""

    seconds: float
    deadline: float
    asked: int = 0
    favoured: int = 0
    favoured_in_time: int = 0
    latencies: list[float] = field(default_factory=list)  # of what was answered, from when it was due
    dues: list[float] = field(default_factory=list)  # of the same, when that was
    answers: list[tuple[int, Any]] = field(default_factory=list)  # some of them
    failed: dict[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """Answers in time per second, p99 of what was answered, and the share of the favoured answered in time."""
        times = sorted(self.latencies)
        in_time = sum(each <= self.deadline for each in times)
        return {
            "in time/s": in_time / self.seconds,
            "answered/s": len(times) / self.seconds,
            "p99 ms": p99(times) * 1e3 if times else float("inf"),
            "favoured": self.favoured_in_time / self.favoured if self.favoured else 1.0,
        }


async def flood(
    ask: Ask,
    rows: int,
    *,
    rate: float,
    seconds: float,
    deadline: float,
    favoured: float = 0.0,
    seed: int = 1,
    warm_up: float = 0.3,
) -> Flood:
    """Requests leave at `rate`, with exponential gaps, whatever has become of those before them.

    A latency counts from when a request was due, so what the loop itself is late is in it. Requests of the warm-up are
    asked and not counted.
    """
    clock = time.perf_counter
    dice = random.Random(seed)
    result = Flood(seconds=seconds, deadline=deadline)
    pending: set[asyncio.Task[None]] = set()

    async def one(row: int, due: float, special: bool, counts: bool) -> None:
        try:
            answer = await ask(row, special, max(0.0, due + deadline - clock()))
        except Exception as error:  # whatever a side refuses with is no answer
            code = type(error).__name__
            if counts:
                result.failed[code] = result.failed.get(code, 0) + 1
            return
        if not counts:
            return
        late = clock() - due
        result.latencies.append(late)
        result.dues.append(due)
        result.favoured_in_time += special and late <= deadline
        if len(result.latencies) % 16 == 1:
            result.answers.append((row, answer))

    begin = clock() + warm_up
    due = clock()
    while due < begin + seconds:
        while due <= clock() and due < begin + seconds:
            special = dice.random() < favoured
            counts = due >= begin
            result.asked += counts
            result.favoured += special and counts
            task = asyncio.ensure_future(one(result.asked % rows, due, special, counts))
            pending.add(task)
            task.add_done_callback(pending.discard)
            due += dice.expovariate(rate)
        await asyncio.sleep(max(0.0, due - clock()))
    for _ in range(2000):  # what is waiting now is late: it need not be answered, but has to end
        if not pending:
            break
        await asyncio.sleep(0.005)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return result


def of_engine(engine: Any, name: str, feeds: Sequence[Mapping[str, Any]]) -> Ask:
    """Ours: the time left is the request's timeout; the favoured have the highest priority."""

    def ask(row: int, special: bool, left: float) -> Awaitable[Any]:
        answer: Awaitable[Any] = engine.infer_async(name, feeds[row], timeout=left, priority=1 if special else None)
        return answer

    return ask


def of_batcher(batcher: Any, items: Sequence[Any]) -> Ask:
    """A batcher that knows no deadlines: the caller stops waiting at its own."""

    async def ask(row: int, special: bool, left: float) -> Any:  # it has no priorities
        async with asyncio.timeout(left):
            return await batcher.infer(items[row])

    return ask
