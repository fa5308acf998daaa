# SPDX-License-Identifier: Apache-2.0
"""What runs during a soak: the client of the event loop, its heartbeat, and models that come and go."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import numpy as np
import rivals
import soak_judge as judge
from models import make_models

import anya_engine as anya

CLIENTS = 64
QUESTIONS = 64
CHECK_EVERY = 64  # one answer in so many is compared
TIME_EVERY = 8  # one submission in so many is timed
BEAT = 0.005


@types.coroutine
def first_step(coroutine: Coroutine[Any, Any, Any], costs: list[float]) -> Generator[Any, Any, Any]:
    """Await a coroutine, and note how long it took up to its first suspension."""
    begin = time.perf_counter()
    try:
        waiting = coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        costs.append(time.perf_counter() - begin)
    while True:
        error: BaseException | None = None
        try:
            value = yield waiting
        except BaseException as raised:
            error = raised
        try:
            waiting = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as done:
            return done.value


class Client:
    """Asks the model from the event loop; counts, times and checks the answers. For one loop's thread."""

    def __init__(self, engine: anya.Engine, seed: int, rows: int) -> None:
        model = make_models.MODELS["medium"]()
        engine.load("medium", model)
        made = np.random.default_rng(seed).standard_normal((QUESTIONS, rows, make_models.MEDIUM[0]), dtype=np.float32)
        alone = rivals.runner(rivals.open_session(model))
        self.engine = engine
        self.questions = [{"x": x} for x in made]
        self.expected = [alone(x) for x in made]
        self.asked = self.checked = self.wrong = self.in_flight = 0
        self.open = False  # an open loop is under way, whose latencies count
        self.errors: dict[str, int] = {}
        self.latency = judge.Histogram(most=100.0)
        self.costs: list[float] = []  # of the timed submissions since the last sample
        self._random = random.Random(seed)
        self._drained = asyncio.Event()

    async def ask(self, number: int, due: float) -> None:
        """One request, whatever becomes of it."""
        index = number % QUESTIONS
        asking = self.engine.infer_async("medium", self.questions[index])
        try:
            answer = await (first_step(asking, self.costs) if number % TIME_EVERY == 0 else asking)
        except anya.AnyaError as error:
            self.errors[error.code] = self.errors.get(error.code, 0) + 1
        else:
            if self.open:
                self.latency.add(time.perf_counter() - due)
            if number % CHECK_EVERY == number // CHECK_EVERY % CHECK_EVERY:  # every question takes its turn
                self.checked += 1
                self.wrong += not np.allclose(answer["y"], self.expected[index], rtol=1e-3, atol=1e-5)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._drained.set()

    def start(self, due: float) -> asyncio.Task[None]:
        """Send one request."""
        self.asked += 1
        self.in_flight += 1
        self._drained.clear()
        return asyncio.create_task(self.ask(self.asked, due))

    async def drained(self) -> None:
        """Until nothing is in flight."""
        if self.in_flight:
            await self._drained.wait()

    async def closed_loop(self, seconds: float) -> float:
        """Requests per second with CLIENTS in flight."""
        begin, first = time.perf_counter(), self.asked

        async def one() -> None:
            while (now := time.perf_counter()) < begin + seconds:
                await self.start(now)

        await asyncio.gather(*(one() for _ in range(CLIENTS)))
        return (self.asked - first) / (time.perf_counter() - begin)

    async def open_loop(self, seconds: float, rate: float) -> None:
        """Requests with exponential gaps; those that are late leave at once."""
        clock, gap = time.perf_counter, self._random.expovariate
        due = clock()
        end = due + seconds
        self.open = True
        while due < end:
            now = clock()
            while due <= now and due < end:
                self.start(due)
                due += gap(rate)
            await asyncio.sleep(max(0.0, min(due, end) - clock()))
        await self.drained()
        self.open = False


class Heart:
    """A task that sleeps BEAT and notes how late it wakes, in the histogram of the moment. For one loop's thread."""

    def __init__(self) -> None:
        self.serving, self.control = judge.Histogram(), judge.Histogram()
        self.now: judge.Histogram | None = None

    async def beat(self) -> None:
        """Until cancelled. A beat during which the window changed counts for neither."""
        while True:
            where, due = self.now, time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            if where is not None and where is self.now:
                where.add(max(0.0, time.perf_counter() - due))


class Churn(threading.Thread):
    """Loads, asks and unloads a second model every second, and samples the process when it is gone."""

    def __init__(self, client: Client, samples: int) -> None:
        super().__init__(name="churn", daemon=True)
        self.client = client
        self.serving = threading.Event()  # set by the loop: this is a serving window
        self.windows = 0  # changes with every window
        self.measuring = False
        self.stopped = threading.Event()
        self.loads = 0
        self.failure: BaseException | None = None
        self.begin = time.perf_counter()
        # Made in advance, so that what is measured is not the measuring.
        self._rows = np.zeros((samples, 6))
        self._used = 0

    def run(self) -> None:
        """Until stopped. A failure is kept for the main thread."""
        try:
            model = make_models.MODELS["tiny"]()
            x = np.random.default_rng(3).standard_normal((2, make_models.TINY[0]), dtype=np.float32)
            expected = rivals.runner(rivals.open_session(model))(x)
            next_at = time.perf_counter()
            while not self.stopped.wait(max(0.0, next_at - time.perf_counter())):
                next_at = max(next_at + 1.0, time.perf_counter())
                window = self.windows
                self.client.engine.load("second", model)
                answer = self.client.engine.infer("second", x)["y"]
                np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-5)
                self.client.engine.unload("second")
                self.loads += 1
                self._sample(window)
        except BaseException as error:
            self.failure = error

    def _sample(self, window: int) -> None:
        costs, self.client.costs = self.client.costs, []
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        counted = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208
        # The control's driver has a thread and a descriptor of its own.
        if not (self.measuring and self.serving.is_set() and window == self.windows and len(costs) > 20):
            return
        if self._used < len(self._rows):
            now = time.perf_counter() - self.begin
            memory = pages * os.sysconf("SC_PAGESIZE")
            middle, high = np.percentile(costs, (50, 99))
            self._rows[self._used] = (now, memory, *counted, middle, high)
            self._used += 1

    def samples(self) -> list[judge.Sample]:
        """What was sampled in serving windows."""
        return [
            judge.Sample(
                time=row[0],
                memory=row[1],
                descriptors=int(row[2]),
                threads=int(row[3]),
                submit_median=row[4],
                submit_p99=row[5],
            )
            for row in self._rows[: self._used].tolist()
        ]


def native_seconds() -> float:
    """CPU time of the model's own threads so far."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # ended this moment
            continue
        if name.startswith("anya-medium"):
            total += sum(int(word) for word in rest.split()[11:13])
    return total / os.sysconf("SC_CLK_TCK")
