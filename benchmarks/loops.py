# SPDX-License-Identifier: Apache-2.0
"""How a side is asked and timed: bare calls, closed loops of tasks or of threads, lone requests, plain runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any, TypeVar

Item = TypeVar("Item")


def microseconds_per_call(call: Callable[[], Any], calls: int) -> tuple[float, Any]:
    """The mean time of one call in a bare loop, and the last call's answer."""
    answer: Any = None
    times = repeat(None, calls)
    begin = time.perf_counter()
    for _ in times:
        answer = call()
    return (time.perf_counter() - begin) / calls * 1e6, answer


def calls_for(seconds: float, call: Callable[[], Any], *, quick: bool) -> int:
    """How many calls take about so long, at least one; a handful when it must be quick."""
    if quick:
        return 3
    once = min(microseconds_per_call(call, 3)[0] for _ in range(3)) / 1e6
    return max(1, round(seconds / once))


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One closed-loop round: how many answers, how fast, and one answer of each client with what was asked."""

    count: int
    items_per_second: float
    p50_ms: float
    p99_ms: float
    answers: Sequence[tuple[int, Any]]

    def figures(self) -> dict[str, float]:
        """The numbers, by their units."""
        return {"items/s": self.items_per_second, "p50 ms": self.p50_ms, "p99 ms": self.p99_ms}


def _loop(latencies: list[float], answers: Sequence[tuple[int, Any]], elapsed: float) -> Loop:
    latencies.sort()
    return Loop(
        count=len(latencies),
        items_per_second=len(latencies) / elapsed,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * 1e3,
        answers=answers,
    )


async def closed_loop(
    infer: Callable[[Item], Awaitable[Any]], items: Sequence[Item], *, clients: int, seconds: float
) -> Loop:
    """`clients` tasks, each awaiting one request after another until the time is over.

    Timed from the first request to the last answer: what was in flight at the end is waited for, and counts.
    """
    clock = time.perf_counter
    latencies: list[float] = []
    answers: list[tuple[int, Any]] = []
    end = clock() + seconds

    async def client(index: int) -> None:
        begin = clock()
        while True:
            answer = await infer(items[index])
            now = clock()
            latencies.append(now - begin)
            if now >= end:
                break
            begin = now
            index = (index + clients) % len(items)
        answers.append((index, answer))

    begin = clock()
    await asyncio.gather(*(client(start % len(items)) for start in range(clients)))
    return _loop(latencies, answers, clock() - begin)


async def crowd(infer: Callable[[Item], Awaitable[Any]], items: Sequence[Item], rounds: int) -> list[Any]:
    """A task for each item, which asks so many times; their last answers."""

    async def client(item: Item) -> Any:
        for _ in range(rounds):
            answer = await infer(item)
        return answer

    return await asyncio.gather(*map(client, items))


def crowds_in_turn(
    runner: asyncio.Runner,
    sides: Mapping[str, Callable[[Item], Awaitable[Any]]],
    items: Sequence[Item],
    check: Callable[[list[tuple[int, Any]]], None],
    *,
    turns: int,
    rounds: int,
) -> dict[str, dict[str, float]]:
    """The median rate of each side in turns of a few milliseconds, who goes first changing. The last answers of each
    are checked, after all turns.

    For sides that differ by little: a machine's moods last longer than a pair of turns.
    """
    rates: dict[str, list[float]] = {side: [] for side in sides}
    answers: dict[str, list[Any]] = {}
    for turn in range(turns):
        for side in sides if turn % 2 else reversed(sides):
            begin = time.perf_counter()
            answers[side] = runner.run(crowd(sides[side], items, rounds))
            rates[side].append(len(items) * rounds / (time.perf_counter() - begin))
    for those in answers.values():
        check(list(enumerate(those)))
    return {side: {"items/s": median(each)} for side, each in rates.items()}


def threaded_loop(infer: Callable[[Item], Any], items: Sequence[Item], *, clients: int, seconds: float) -> Loop:
    """The same with as many threads, each blocking on its request; timed from when all of them are ready."""
    clock = time.perf_counter
    begun = 0.0

    def started() -> None:
        nonlocal begun
        begun = clock()

    ready = threading.Barrier(clients, action=started)

    def client(index: int) -> tuple[list[float], int, Any, float]:
        latencies: list[float] = []
        ready.wait()
        end = begun + seconds
        begin = clock()
        while True:
            answer = infer(items[index])
            now = clock()
            latencies.append(now - begin)
            if now >= end:
                return latencies, index, answer, now
            begin = now
            index = (index + clients) % len(items)

    with ThreadPoolExecutor(clients) as pool:
        done = [future.result() for future in [pool.submit(client, start % len(items)) for start in range(clients)]]
    return _loop(
        [latency for latencies, _, _, _ in done for latency in latencies],
        [(index, answer) for _, index, answer, _ in done],
        max(now for _, _, _, now in done) - begun,
    )


async def lone_awaited(
    sides: Mapping[str, Callable[[], Awaitable[Any]]], check: Callable[[Any], None], *, count: int, pause: float
) -> dict[str, list[float]]:
    """Latencies, in microseconds, of single requests on a loop idle for `pause` seconds: one of each side in turn, so
    that neighbours meet the machine in one mood. Every answer is checked.
    """
    latencies: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(count):
        for side, infer in sides.items():
            await asyncio.sleep(pause)
            begin = time.perf_counter()
            answer = await infer()
            latencies[side].append((time.perf_counter() - begin) * 1e6)
            check(answer)
    return latencies


def lone_calls(infer: Callable[[], Any], *, count: int, pause: float) -> tuple[float, Any]:
    """The median latency, in microseconds, of single calls on a thread that slept `pause` seconds; the last answer."""
    latencies = []
    answer: Any = None
    for _ in range(count):
        time.sleep(pause)
        begin = time.perf_counter()
        answer = infer()
        latencies.append(time.perf_counter() - begin)
    return median(latencies) * 1e6, answer
