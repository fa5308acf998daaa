# SPDX-License-Identifier: Apache-2.0
"""A long run at 80 % load, models coming and going beside it: nothing may grow, and the event loop must stay free.

`nox -s soak -- --seconds 600`. Windows alternate: in a serving window this process's event loop sends requests on an
open schedule through `infer_async`; in a control window the core's own C++ driver sends them at the same rate, and the
loop has nothing to do. A heartbeat on the loop measures in both how late it wakes. A thread loads, asks and unloads
a second model every second throughout, and samples the process when the second model is gone.

A request is due when the schedule says so. The client sends what it is late with at once, and a latency counts from
when the request was due. Exit status: 0 all holds, 1 something that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import os
import random
import sys
import threading
import time
import types
from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any

import numpy as np
import soak_judge as judge

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import interleave
import rivals
from models import make_models

import anya_engine as anya
from anya_engine import _load_driver as load_driver

LOAD = 0.8
CLIENTS = 64
QUESTIONS = 64
CHECK_EVERY = 64  # one answer in so many is compared
TIME_EVERY = 8  # one submission in so many is timed
BEAT = 0.005
SERVING, CONTROL = 6.0, 2.0
SETTLE = 0.25  # seconds at the start of a window that belong to neither


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
        try:
            value = yield waiting
        except BaseException as error:
            step = coroutine.throw, error
        else:
            step = coroutine.send, value
        try:
            waiting = step[0](step[1])
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
        while due < end:
            now = clock()
            while due <= now and due < end:
                self.start(due)
                due += gap(rate)
            await asyncio.sleep(max(0.0, min(due, end) - clock()))
        await self.drained()


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


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """The run; returns everything that was found."""
    engine = anya.Engine()
    client = Client(engine, options.seed, options.rows)
    heart, churn = Heart(), Churn(client, int(options.seconds) + 1)
    beating = asyncio.create_task(heart.beat())
    churn.start()
    # Once more than the queue takes, so that every pool has the size that a hiccup of the machine would give it later.
    for _ in range(2 * anya.BatchingConfig().max_queue_size):
        client.start(time.perf_counter())
    await client.drained()
    await client.closed_loop(1.0)
    client.asked, client.errors, client.latency = 0, {}, judge.Histogram(most=100.0)
    capacities: list[float] = []
    native = {"serving": [0.0, 0.0], "control": [0.0, 0.0]}  # CPU seconds of the model's threads, seconds
    reports: list[load_driver.LoadReport] = []
    begin = time.perf_counter()
    while churn.failure is None and (now := time.perf_counter() - begin) < options.warm_up + options.seconds:
        churn.measuring = measured = now >= options.warm_up
        # Found anew for every pair of windows: 80 % of what the machine could do a minute ago may be 120 % now.
        capacities.append(await client.closed_loop(options.capacity_seconds))
        rate = options.rate or LOAD * float(np.median(capacities[-3:]))
        if len(capacities) % 8 == 1:
            print(f"{now:5.0f} s: capacity {capacities[-1]:,.0f} requests/s, driven at {rate:,.0f}", flush=True)
        for kind, seconds, histogram in (("serving", SERVING, heart.serving), ("control", CONTROL, heart.control)):
            churn.windows += 1
            asyncio.get_running_loop().call_later(SETTLE, setattr, heart, "now", histogram if measured else None)
            cpu, wall = native_seconds(), time.perf_counter()
            if kind == "serving":
                churn.serving.set()
                await client.open_loop(seconds, rate)
                churn.serving.clear()
            else:
                plan = load_driver.LoadPlan(mode="open", rate=rate, seed=churn.windows, duration=seconds)
                report = await asyncio.to_thread(load_driver.drive, engine, "medium", client.questions, plan)
                reports.append(report)
            heart.now = None
            if measured:
                native[kind][0] += native_seconds() - cpu
                native[kind][1] += time.perf_counter() - wall
    churn.stopped.set()
    await asyncio.to_thread(churn.join)
    beating.cancel()
    if churn.failure is not None:
        raise churn.failure
    stats = [
        {"name": each.name, "accepted": each.accepted, "ended": dict(each.ended), "in_flight": each.in_flight}
        | {"batches": each.batches, "rows": each.rows}
        for each in engine.stats().models
    ]
    engine.close()

    control_errors = sum(sum(each["errors"].values()) + each["malformed"] + each["unsent"] for each in reports)
    shed = client.errors.pop("OVERLOADED", 0)
    criteria = [
        *judge.growth(churn.samples()),
        *judge.conservation(stats),
        judge.Criterion(name="wrong answers", value=client.wrong, bound=0, note=f"{client.checked} checked"),
        judge.Criterion(name="failed requests", value=sum(client.errors.values()), bound=0, note=str(client.errors)),
        judge.Criterion(name="shed requests", value=shed / client.asked, bound=0.001, noisy=True),
        judge.Criterion(
            name="loads missing", value=options.seconds / 4 - churn.loads, bound=0, note=f"{churn.loads} loads"
        ),
        judge.heartbeat(heart.serving, heart.control),
    ]
    return {
        "machine": interleave.machine(),
        "commit": interleave.commit(),
        "seconds": options.seconds,
        "capacities": capacities,
        "rate": rate,
        "asked": client.asked,
        "control_requests": sum(each["asked"] for each in reports),
        "control_errors": control_errors,
        "control_latency_p99": max((each["latency"]["p99"] for each in reports), default=math.nan),
        "control_lateness_p99": max((each["lateness"]["p99"] for each in reports), default=math.nan),
        "latency": {str(share): client.latency.percentile(share) for share in (0.5, 0.9, 0.99, 0.999)},
        "native_cpu_share": {kind: cpu / max(wall, 1e-9) for kind, (cpu, wall) in native.items()},
        "loads": churn.loads,
        "stats": stats,
        "samples": [dataclasses.asdict(each) for each in churn.samples()],
        "heartbeat": {name: getattr(heart, name).counts for name in ("serving", "control")},
        "bars": {name: getattr(heart, name).bars() for name in ("serving", "control")},
        "criteria": criteria,
    }


def show(found: dict[str, Any]) -> None:
    """The report in text."""
    print(interleave.machine_line(found["machine"]), f"commit {found['commit']}")
    latency = ", ".join(f"p{float(share) * 100:g} {value * 1e3:.1f} ms" for share, value in found["latency"].items())
    print(f"{found['asked']} requests; latency from due to answer: {latency}")
    print(f"{found['control_requests']} requests by the driver, {found['control_errors']} of them failed or unsent")
    cpu = ", ".join(f"{kind} {share:.2f}" for kind, share in found["native_cpu_share"].items())
    print(f"CPU seconds per second in the model's own threads: {cpu}")
    for name, bars in found["bars"].items():
        print(f"\nheartbeat of {BEAT * 1e3:g} ms, how late it woke, {name}:")
        print("\n".join(bars))
    print()
    for criterion in found["criteria"]:
        print(criterion)


def main(arguments: list[str]) -> int:
    """Run, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="measured, the warm-up not included")
    parser.add_argument("--warm-up", type=float, default=16.0, help="seconds before that")
    parser.add_argument(
        "--capacity-seconds", type=float, default=0.5, help="of each closed loop that finds the capacity"
    )
    parser.add_argument(
        "--rate", type=float, default=None, help=f"requests per second instead of {LOAD:.0%} of capacity"
    )
    parser.add_argument("--rows", type=int, default=16, help="of a request; so many that the model is the bottleneck")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything that was found")
    parser.add_argument(
        "--enforce", action="store_true", help="what is noisy fails too; for long runs on a quiet machine"
    )
    options = parser.parse_args(arguments)
    found = asyncio.run(soak(options))
    show(found)
    status = judge.exit_status(found["criteria"], enforce=options.enforce)
    if options.json:
        found["criteria"] = [dataclasses.asdict(each) | {"holds": each.holds} for each in found["criteria"]]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
