# SPDX-License-Identifier: Apache-2.0
"""What a rollout costs those who ask: routing beside an engine without one, going back, and versions that come and go.

What is timed, from where to where, is in benchmarks/README.md. All versions are the same model, so that every answer
can be checked, whoever gave it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from interleave import Bar
from loops import calls_for, closed_loop, microseconds_per_call
from overload import Flood, flood, p99
from subjects import CLIENTS, Subject, subject
from versus import Figures, Versus, in_turn

import anya_engine as anya

#: What is to be seen is a fraction of a call: many short turns, of each the median of short bursts of both sides in
#: alternation, so that a scheduler's slice given to somebody else is no part of it.
BURST_SECONDS = 0.0005
BURSTS = 25
TURNS = 81
#: A canary that stays where it is.
STANDING = {"min_duration": 1e6, "max_step_duration": 1e6}
LOAD = 0.7
#: What a change may still do to those who come after it: seconds that count as change.
AFTERMATH = 0.1
ALONE = "the same load, in between"
BURNT = "another process, nice 10, burns as much"


def in_bursts(of: Subject, sides: Mapping[str, Callable[[], Any]], calls: int) -> Callable[[], Mapping[str, Figures]]:
    """One turn of all sides, burst by burst; the last answer of each is checked."""

    def turn() -> Mapping[str, Figures]:
        seen: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(BURSTS):
            for side, call in sides.items():
                microseconds, answer = microseconds_per_call(call, calls)
                of.check([(0, answer)])
                seen[side].append(microseconds)
        return {side: {"µs": median(bursts)} for side, bursts in seen.items()}

    return turn


@pytest.mark.parametrize("keys", [False, True], ids=["no key", "keys"])
def test_routing(versus: Versus, engine: anya.Engine, keys: bool) -> None:
    """A canary in force, routing and counting for the judge, adds a microsecond at most to `infer`."""
    of = subject("tiny", rows=1)
    engine.load("alone", of.model)
    engine.load("canary", of.model)
    engine.load("canary", of.model, version="2")
    engine.deploy("canary", "2", anya.Canary(steps=(50,), **STANDING))
    feed = of.feeds[0]
    users = {name: cycle([f"user-{number}" for number in range(1000)]) for name in ("alone", "canary")}

    def ask(name: str) -> Callable[[], Any]:
        if not keys:
            return partial(engine.infer, name, feed)
        of_name = users[name]
        return lambda: engine.infer(name, feed, key=next(of_name))

    calls = calls_for(BURST_SECONDS, ask("alone"), quick=versus.quick)
    took = versus.measure(in_bursts(of, {name: ask(name) for name in users}, calls), repeats=TURNS)
    versus.compare(
        f"a canary in force, what it adds to infer, {'a key each' if keys else 'no keys'}: tiny",
        took["canary"]["µs"],
        {"one version": took["alone"]["µs"]},
        unit="µs",
        bar=Bar(limit=1.0, better="lower", of="difference"),
    )


def test_label(versus: Versus, engine: anya.Engine, tmp_path: Path) -> None:
    """To ask for a version by its label costs what it costs to ask by its number."""
    of = subject("tiny", rows=1)
    source = tmp_path / "model.onnx"
    source.write_bytes(of.model)
    model = anya.ModelConfig(source=str(source), version="2", version_labels={"canary": "2"})
    engine.apply(anya.EngineConfig(models={"m": model}))
    sides = {name: partial(engine.infer, "m", of.feeds[0], version=name) for name in ("2", "canary")}
    calls = calls_for(BURST_SECONDS, sides["2"], quick=versus.quick)
    took = versus.measure(in_bursts(of, sides, calls), repeats=TURNS)
    versus.compare(
        "a version by its label, over the same by its number: tiny",
        took["canary"]["µs"],
        {"its number": took["2"]["µs"]},
        unit="µs",
        bar=Bar(limit=0.2, better="lower", of="difference"),
        headline=False,
    )


@pytest.mark.parametrize("strategy", [anya.BlueGreen(), anya.Canary(**STANDING)], ids=["blue-green", "canary"])
def test_rollback(versus: Versus, engine: anya.Engine, strategy: anya.Strategy) -> None:
    """While the old version is warm, going back takes less than a millisecond, the first answer after it included."""
    of = subject("tiny", rows=1)
    engine.load("m", of.model)
    engine.load("m", of.model, version="2")

    def back() -> Figures:
        engine.deploy("m", "2", strategy)
        if isinstance(strategy, anya.Canary):
            engine.promote("m")
        assert engine.infer_detailed("m", of.feeds[0]).version == "2"
        begin = time.perf_counter()
        engine.rollback("m")
        answer = engine.infer_detailed("m", of.feeds[0])
        took = time.perf_counter() - begin
        assert answer.version == "1"
        of.check([(0, answer.outputs)])
        return {"ms": took * 1e3}

    took = versus.measure(in_turn({"ours": back}), repeats=3 if versus.quick else 61)["ours"]["ms"]
    versus.compare(
        f"rollback of a {'canary' if isinstance(strategy, anya.Canary) else 'blue-green'} switch to the next answer",
        took,
        {"promised": [1.0] * len(took)},
        unit="ms",
        bar=Bar(limit=1.0, better="lower"),
    )


class Changes(threading.Thread):
    """Loads a version, deploys it, promotes it, rolls it back and unloads it; then changes nothing for as long.

    Every third round goes all at once, and what is unloaded is the version before.
    """

    def __init__(self, engine: anya.Engine, of: Subject) -> None:
        super().__init__(name="changes", daemon=True)
        self.engine = engine
        self.of = of
        self.windows: list[tuple[float, float]] = []  # of change, with what comes right after it
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until `over`. A failure is kept for the main thread."""
        try:
            while not self.over.is_set():
                begin = time.perf_counter()
                self.once(len(self.windows))
                took = time.perf_counter() - begin
                self.over.wait(AFTERMATH)
                self.windows.append((begin, time.perf_counter()))
                self.over.wait(took + AFTERMATH)
        except BaseException as error:
            self.failure = error

    def once(self, number: int) -> None:
        """One round."""
        old = self.engine.status("m").stable
        new = str(int(old) + 1)
        self.engine.load("m", self.of.model, version=new)
        if number % 3 == 0:
            self.engine.deploy("m", new, anya.BlueGreen())
            self.engine.unload("m", old)
            return
        self.engine.deploy("m", new, anya.Canary(steps=(25, 50), control=number % 3 == 2, **STANDING))
        self.engine.promote("m")
        self.engine.rollback("m")
        self.engine.unload("m", new)

    def split(self, result: Flood) -> tuple[list[float], list[float]]:
        """The sorted latencies of what was due while nothing changed, and of the rest."""
        sides: tuple[list[float], list[float]] = ([], [])
        for due, latency in zip(result.dues, result.latencies, strict=True):
            sides[any(begin <= due < end for begin, end in self.windows)].append(latency)
        return sorted(sides[0]), sorted(sides[1])


class Burning(Changes):
    """Changes nothing: where a round would be, another process, of the priority of a load, burns as much CPU time."""

    CODE = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): sum(range(10_000))"

    def __init__(self, engine: anya.Engine, of: Subject, cpu_seconds: float) -> None:
        super().__init__(engine, of)
        self.command = ["nice", "-n", "10", sys.executable, "-S", "-E", "-c", self.CODE, str(cpu_seconds)]

    def once(self, number: int) -> None:
        """One round."""
        subprocess.run(self.command, check=True)


def cpu_of_a_round(engine: anya.Engine, of: Subject) -> float:
    """Seconds of CPU time that a round takes while nobody asks."""
    changes = Changes(engine, of)
    before = time.process_time()
    changes.once(1)
    return time.process_time() - before


def test_versions_come_and_go_under_load(versus: Versus, engine: anya.Engine, long: bool) -> None:
    """At 70 % of the capacity, while versions are loaded, promoted, rolled back and unloaded: no request fails, and p99
    stays within half as much again of what it is in between.
    """
    of = subject("encoder", rows=32)
    engine.load("m", of.model, version="1")
    seconds = 0.2 if versus.quick else 3.0
    repeats = 0
    rounds = 0
    cpu_seconds = cpu_of_a_round(engine, of)

    async def ask(row: int, _special: bool, _left: float) -> Any:
        return await engine.infer_async("m", of.feeds[row], key=row)

    async def load_beside(changes: Changes, rate: float) -> tuple[float, float]:
        changes.start()
        try:
            result = await flood(ask, len(of.feeds), rate=rate, seconds=seconds, deadline=1e6, seed=repeats)
        finally:
            changes.over.set()
            await asyncio.to_thread(changes.join)
        assert changes.failure is None
        assert result.failed == {}
        assert len(result.latencies) == result.asked
        of.check(result.answers)
        quiet, changing = changes.split(result)
        return p99(quiet or changing) * 1e3, p99(changing) * 1e3

    async def under_load() -> Mapping[str, Figures]:
        nonlocal repeats, rounds
        repeats += 1
        infer = partial(engine.infer_async, "m")
        capacity = await closed_loop(infer, of.feeds, clients=CLIENTS, seconds=seconds / 3)
        rate = LOAD * of.checked(capacity)["items/s"]
        changes = Changes(engine, of)
        quiet, changing = await load_beside(changes, rate)
        rounds += len(changes.windows)
        _, burning = await load_beside(Burning(engine, of, cpu_seconds), rate)
        return {ALONE: {"p99 ms": quiet}, BURNT: {"p99 ms": burning}, "ours": {"p99 ms": changing}}

    took = versus.measure(lambda: asyncio.run(under_load()), repeats=1 if versus.quick else 45 if long else 5)
    versus.compare(
        "70 % load, versions come and go, p99 over that in between: encoder",
        took["ours"]["p99 ms"],
        {ALONE: took[ALONE]["p99 ms"]},
        unit="ms",
        bar=Bar(limit=1.5, better="lower", goal=1.2),
        context={"rounds of load, deploy, promote, rollback, unload": rounds},
    )
    # How much of it is the engine's doing, and how much comes to whoever shares these cores.
    versus.compare(
        "70 % load, versions come and go, p99 over that beside as much other work: encoder",
        took["ours"]["p99 ms"],
        {BURNT: took[BURNT]["p99 ms"]},
        unit="ms",
        better="lower",
        context={"CPU time of a round, s": cpu_seconds},
    )
