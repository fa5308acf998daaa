# SPDX-License-Identifier: Apache-2.0
"""Many requests at once, in three ways, and what was wrong with their answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conformance.compare import differences

import anya_engine as anya

#: What no wait here should ever take.
HUNG = 120.0
#: Times to ask at most until some answers came from a shared run.
ROUNDS = 40


def by_tasks(engine: anya.Engine, name: str, requests: Sequence[Any], *, in_flight: int = 64) -> list[anya.Response]:
    """So many tasks of one event loop, each asking one request after the other."""
    answers: dict[int, anya.Response] = {}
    waiting = iter(enumerate(requests))

    async def client() -> None:
        for index, inputs in waiting:
            answers[index] = await engine.infer_detailed_async(name, inputs)

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(in_flight)))

    asyncio.run(all_of_them())
    return [answers[index] for index in range(len(requests))]


def by_threads(engine: anya.Engine, name: str, requests: Sequence[Any], *, threads: int = 16) -> list[anya.Response]:
    """So many threads that start together, each asking its share."""
    answers: dict[int, anya.Response] = {}
    errors: list[BaseException] = []
    start = threading.Barrier(threads)

    def ask(first: int) -> None:
        try:
            start.wait(HUNG)
            for index in range(first, len(requests), threads):
                answers[index] = engine.infer_detailed(name, requests[index])
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=ask, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(HUNG)
    if errors:
        raise errors[0]
    return [answers[index] for index in range(len(requests))]


def until_shared(
    ask: Callable[..., list[anya.Response]], engine: anya.Engine, name: str, requests: Sequence[Any], input_name: str
) -> tuple[list[anya.Response], int]:
    """Ask for everything, again and again until some rows shared a run: all answers, and how many were in company.

    Where the engine has learned that a batch does not pay, it has to forget that first: then it tries.
    """
    answers: list[anya.Response] = []
    for _ in range(ROUNDS):
        engine.reset_run_times(name)
        answers += ask(engine, name, requests)
        rows = (len(requests[index % len(requests)][input_name]) for index in range(len(answers)))
        if shared := sum(own < answer.batch_size for own, answer in zip(rows, answers, strict=True)):
            return answers, shared
    return answers, 0


def wrong_answers(
    answers: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], *, rtol: float = 0.0, atol: float = 0.0
) -> dict[int, str]:
    """The numbers of the requests that were answered wrongly, with what is wrong."""
    pairs = enumerate(zip(answers, wanted, strict=True))
    return {i: found for i, (got, want) in pairs if (found := differences(got, want, rtol=rtol, atol=atol))}
