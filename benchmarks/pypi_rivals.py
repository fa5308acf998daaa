# SPDX-License-Identifier: Apache-2.0
"""The micro-batchers that PyPI offers, behind the same face as our own: `batched` and `async-batcher`.

Each is set up as its documentation says, with a synchronous function that runs on executor threads, with its
default timer and with one of a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from async_batcher.batcher import AsyncBatcher
from batched import aio
from rivals import Join, Run


class Batcher(Protocol):
    """What is measured of a batcher: one awaited answer. Its tasks end with their loop."""

    async def infer(self, item: Any) -> Any:
        """One row's answer."""

    def close(self) -> None:
        """Frees its threads."""


def _rows(run: Run, join: Join) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A function of a list that gives a list: each request's own row, still with its batch axis."""

    def run_rows(batch: Sequence[Any]) -> Sequence[Any]:
        answers = run(join(batch))
        return [answers[row : row + 1] for row in range(len(batch))]

    return run_rows


class Batched:
    """PyPI `batched`, its asyncio form: sleeps its timer whenever less than a batch waits, then runs what waits.

    It runs one batch at a time, on a thread of asyncio's default executor.
    """

    def __init__(self, run: Run, join: Join, *, max_batch: int, timer: float) -> None:
        rows = _rows(run, join)

        def of_list(batch: list[Any]) -> list[Any]:
            return list(rows(batch))

        self._call = aio.dynamically(of_list, batch_size=max_batch, timeout_ms=timer * 1e3)

    async def infer(self, item: Any) -> Any:
        """One row's answer."""
        return await self._call(item)

    def close(self) -> None:
        """Nothing to free: its task ends with the loop."""


class AsyncBatched:
    """PyPI `async-batcher`: a full batch leaves at once, a smaller one after the timer; `workers` batches at a time."""

    def __init__(self, run: Run, join: Join, *, workers: int, max_batch: int, timer: float) -> None:
        rows = _rows(run, join)

        class OfRun(AsyncBatcher[Any, Any]):
            def process_batch(self, batch: list[Any]) -> Sequence[Any]:
                return rows(batch)

        self._executor = ThreadPoolExecutor(workers)
        self._batcher = OfRun(
            max_batch_size=max_batch, max_queue_time=timer, concurrency=workers, executor=self._executor
        )

    async def infer(self, item: Any) -> Any:
        """One row's answer."""
        return await self._batcher.process(item)

    def close(self) -> None:
        """Waits for the runs in progress; its task ends with the loop."""
        self._executor.shutdown()


def pypi_batchers(run: Run, join: Join) -> dict[str, Batcher]:
    """Every configuration that is measured, by name. All one batch of 64 at a time, or two of 32."""
    return {
        "batched, 32, 5 ms (its defaults)": Batched(run, join, max_batch=32, timer=0.005),
        "batched, 64, 1 ms": Batched(run, join, max_batch=64, timer=0.001),
        "async-batcher, 1 x 64, 10 ms (its default)": AsyncBatched(run, join, workers=1, max_batch=64, timer=0.01),
        "async-batcher, 1 x 64, 1 ms": AsyncBatched(run, join, workers=1, max_batch=64, timer=0.001),
        "async-batcher, 2 x 32, 1 ms": AsyncBatched(run, join, workers=2, max_batch=32, timer=0.001),
    }
