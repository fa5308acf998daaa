# SPDX-License-Identifier: Apache-2.0
"""What a user has without this project: plain ONNX Runtime, and the micro-batchers a good engineer writes around it.

They are rivals, not straw men: one thread per session run, batches of whatever waits and no timer, no work on the event
loop that could be left out. Each request is one row; the model has one output. What a batcher is given and hands to
`run` is one array for a model of one input, a mapping of names to arrays for others, which `join_mappings` joins.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime as ort

Run = Callable[[Any], Any]
Join = Callable[[Sequence[Any]], Any]


def open_session(model: bytes, threads: int = 1) -> ort.InferenceSession:
    """A plain session on the CPU; with one thread per run there is no pool, so no spinning either."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def runner(session: ort.InferenceSession) -> Run:
    """array (or mapping) -> array: the session's `run` with its names bound, which is its fastest form."""
    output = [session.get_outputs()[0].name]
    names = [each.name for each in session.get_inputs()]
    if len(names) > 1:
        return lambda feeds: session.run(output, feeds)[0]
    name = names[0]
    return lambda x: session.run(output, {name: x})[0]


def join_mappings(items: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The rows of several requests as one request, input by input."""
    return {name: np.concatenate([item[name] for item in items]) for name in items[0]}


class QueueMicroBatcher:
    """The thirty lines anyone writes: an asyncio.Queue, worker tasks that take what waits, an executor for the run."""

    def __init__(self, run: Run, *, workers: int, max_batch: int, join: Join = np.concatenate) -> None:
        self._run = run
        self._join = join
        self._workers = workers
        self._max_batch = max_batch
        self._executor = ThreadPoolExecutor(workers)
        self._queue: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def infer(self, x: Any) -> Any:
        """One row's answer."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((x, future))
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                answers = await loop.run_in_executor(self._executor, self._run, self._join([x for x, _ in batch]))
            except Exception as error:  # the batch's waiters get it, the worker lives on
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                if not future.done():  # else cancelled
                    future.set_result(answers[row : row + 1])

    def close(self) -> None:
        """Ends the workers; waits for the runs in progress."""
        for task in self._tasks:
            task.cancel()
        self._executor.shutdown()


class AsyncMicroBatcher:
    """The same, tuned: no tasks of its own, no queue object, a new batch only after those just answered asked again.

    Requests of one event loop share a run: at most `max_batch` rows, on `workers` executor threads.
    """

    def __init__(self, run: Run, *, workers: int, max_batch: int, join: Join = np.concatenate) -> None:
        self._run = run
        self._join = join
        self._max_batch = max_batch
        self._idle = workers
        self._executor = ThreadPoolExecutor(workers)
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._scheduled = False

    def infer(self, x: Any) -> asyncio.Future[Any]:
        """The future of one row's answer; whoever else asks in this turn of the loop goes along."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((x, future))
        if self._idle and not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._dispatch, loop)
        return future

    def _dispatch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        while self._idle and self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            self._idle -= 1
            self._executor.submit(self._work, loop, batch)

    def _work(self, loop: asyncio.AbstractEventLoop, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            answers = self._run(self._join([x for x, _ in batch]))
        except Exception as error:  # the batch's waiters get it, the worker lives on
            loop.call_soon_threadsafe(self._finish, loop, batch, None, error)
        else:
            loop.call_soon_threadsafe(self._finish, loop, batch, answers, None)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Any, asyncio.Future[Any]]],
        answers: Any,
        error: Exception | None,
    ) -> None:
        self._idle += 1
        for row, (_, future) in enumerate(batch):
            if future.done():  # cancelled
                continue
            if error is None:
                future.set_result(answers[row : row + 1])
            else:
                future.set_exception(error)
        if not self._scheduled:  # after the clients just woken have asked again
            self._scheduled = True
            loop.call_soon(self._dispatch, loop)

    def close(self) -> None:
        """Waits for the runs in progress."""
        self._executor.shutdown()


class ThreadMicroBatcher:
    """The same for blocking callers in threads: a queue, `workers` threads, a future per request."""

    def __init__(self, run: Run, *, workers: int, max_batch: int, join: Join = np.concatenate) -> None:
        self._run = run
        self._join = join
        self._max_batch = max_batch
        self._queue: SimpleQueue[tuple[Any, Future[Any]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def infer(self, x: Any) -> Any:
        """One row's answer; blocks."""
        future: Future[Any] = Future()
        self._queue.put((x, future))
        return future.result()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < self._max_batch and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    self._queue.put(None)
                    break
                batch.append(item)
            try:
                answers = self._run(self._join([x for x, _ in batch]))
            except Exception as error:  # the batch's waiters get it, the worker lives on
                for _, future in batch:
                    future.set_exception(error)
            else:
                for row, (_, future) in enumerate(batch):
                    future.set_result(answers[row : row + 1])

    def close(self) -> None:
        """Ends the worker threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()


def plain_runs(run: Run, batch: Any, *, rows: int, threads: int, seconds: float) -> tuple[float, Any]:
    """Items per second of plain runs of a ready-made batch, over and over on each of the threads; the last answer."""
    clock = time.perf_counter
    begin = clock()
    end = begin + seconds

    def work() -> tuple[int, Any]:
        runs, answer = 0, None
        while not runs or clock() < end:
            answer = run(batch)
            runs += 1
        return runs, answer

    if threads == 1:
        done = [work()]
    else:
        with ThreadPoolExecutor(threads) as pool:
            done = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
    return rows * sum(runs for runs, _ in done) / (clock() - begin), done[-1][1]
