# SPDX-License-Identifier: Apache-2.0
"""Everybody at once, at random: rule 1 holds, and nothing hangs."""

from __future__ import annotations

import asyncio
import collections
import random
import threading
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.support import HUNG, assert_at_rest, floats, slow_inputs, stats_of

import anya_engine as anya

THREADS = 6
ROUNDS = 8000
TASKS = 32

Outcomes = collections.Counter[str]


class Chaos:
    """One engine, a table of models, and what happened to every request that was made."""

    def __init__(self, engine: anya.Engine, rounds: int, seed: int = 0) -> None:
        self.rounds = rounds
        self.seed = seed
        self.engine = engine
        self.lock = threading.Lock()
        self.outcomes: Outcomes = collections.Counter()
        self.wrong: list[Any] = []
        self.over = threading.Event()
        tight = anya.BatchingConfig(max_queue_size=64, max_batch_size=16)
        for name in ("unnamed_batch", "poison", "slow"):
            engine.load(name, MODELS[name](), config=anya.ModelConfig(instances=2, batching=tight))
        narrow = anya.QueuePolicy(max_queue_size=8, default_timeout_microseconds=4_000)
        levels = anya.BatchingConfig(
            priority_levels=2,
            default_priority_level=1,
            priority_queue_policy={2: narrow},
            queue_delay_interval_microseconds=5_000,
        )
        hurried = anya.ModelConfig(instances=2, batching=levels, default_timeout=0.01, max_timeout=0.02)
        engine.load("hurried", MODELS["slow"](), config=hurried)

    def question(self, dice: random.Random) -> tuple[str, Any, Any]:
        """A model, inputs, and the answer that they must have; None: the run fails."""
        kind = dice.random()
        if kind < 0.7:
            x = floats(dice.choice([1, 1, 1, 2, 20]), 3, seed=dice.randrange(50))
            return "unnamed_batch", x, 2 * x
        if kind < 0.9:
            index = dice.randrange(12)
            rows = np.arange(4, dtype=np.float32) + 4 * index
            return "poison", np.array([index]), rows[None] if index < 10 else None
        if kind < 0.96:
            inputs = slow_inputs(1, spins=dice.randrange(5))
            return "slow", inputs, 2 * inputs["x"]
        if kind < 0.998:
            inputs = slow_inputs(1, spins=dice.randrange(100))
            return "hurried", inputs, 2 * inputs["x"]
        return "hurried", slow_inputs(1, spins=1 << 40), None  # ends by its deadline or its asker, or is refused

    def settle(self, counted: Outcomes, answer: Any, wanted: Any) -> None:
        """Note one outcome; an answer must be the right one."""
        if isinstance(answer, anya.AnyaError):
            counted[answer.code] += 1
        elif isinstance(answer, dict):
            counted["OK"] += 1
            if wanted is None or not np.array_equal(next(iter(answer.values())), wanted):
                self.wrong.append((answer, wanted))
        else:
            self.wrong.append(answer)

    def in_a_thread(self, seed: int) -> None:
        """infer and submit at random, with timeouts, cancellations, callbacks and dropped futures."""
        dice = random.Random(seed)
        counted: Outcomes = collections.Counter()
        held: list[tuple[Any, Any]] = []
        for _ in range(self.rounds):
            name, inputs, wanted = self.question(dice)
            timeout = dice.choice([None, None, None, 1.0, 0.0005])
            counted["made"] += 1
            try:
                if dice.random() < 0.4:
                    self.settle(counted, self.engine.infer(name, inputs, timeout=timeout), wanted)
                    continue
                future = self.engine.submit(name, inputs, timeout=timeout, priority=dice.choice([None, 1, 2, 200]))
            except anya.AnyaError as error:
                counted["refused" if error.code in ("OVERLOADED", "UNAVAILABLE") else "raised"] += 1
                continue
            held.append((future, wanted))
            if dice.random() < 0.2:
                future.cancel()
            if dice.random() < 0.1:
                future.add_done_callback(lambda done: done.exception(0))
            if len(held) > 20:
                self.collect(counted, held)
        self.collect(counted, held)
        with self.lock:
            self.outcomes += counted

    def collect(self, counted: Outcomes, held: list[tuple[Any, Any]]) -> None:
        """The outcomes of what was submitted, once each."""
        for future, wanted in held:
            error = future.exception(HUNG)
            self.settle(counted, error or future.result(0), wanted)
        held.clear()

    async def in_a_loop(self, seed: int, rounds: int) -> None:
        """Crowds of tasks, some of them cancelled after a turn or two."""
        dice = random.Random(seed)
        counted: Outcomes = collections.Counter()
        for _ in range(rounds):
            questions = [self.question(dice) for _ in range(TASKS)]
            tasks = [
                asyncio.create_task(self.engine.infer_async(name, inputs, timeout=dice.choice([None, None, 0.001])))
                for name, inputs, _ in questions
            ]
            for _ in range(dice.randrange(3)):
                await asyncio.sleep(0)
            for task in dice.sample(tasks, TASKS // 8):
                task.cancel()
            for answer, (_, _, wanted) in zip(
                await asyncio.gather(*tasks, return_exceptions=True), questions, strict=True
            ):
                counted["made"] += 1
                if isinstance(answer, asyncio.CancelledError):
                    counted["CANCELLED"] += 1
                else:
                    self.settle(counted, answer, wanted)
        with self.lock:
            self.outcomes += counted

    def other_versions(self) -> None:
        """Versions that come and go all the while."""
        while not self.over.is_set():
            version = self.engine.load("unnamed_batch", MODELS["unnamed_batch"]()).version
            self.engine.infer("unnamed_batch", floats(1, 3), version=version)
            self.engine.unload("unnamed_batch", version)

    def run(self, *more: Any) -> None:
        """Everybody at once; returns when all are done."""
        first = 100 * self.seed
        loops = [
            lambda seed=first + index: asyncio.run(self.in_a_loop(seed, self.rounds // TASKS * 4)) for index in (91, 92)
        ]
        work = [lambda seed=first + index: self.in_a_thread(seed) for index in range(THREADS)]
        threads = [threading.Thread(target=self.guarded, args=(each,)) for each in (*work, *loops, *more)]
        churn = threading.Thread(target=self.guarded, args=(self.other_versions,))
        churn.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * HUNG)
            assert not thread.is_alive(), "hung"
        self.over.set()
        churn.join(HUNG)

    def guarded(self, work: Any) -> None:
        """Run one part; what escapes it is a failure of the test."""
        try:
            work()
        except anya.Unavailable:
            pass
        except BaseException as error:
            self.wrong.append(error)


@pytest.mark.slow
def test_everybody_at_once() -> None:
    """Threads, loops, cancellations, deadlines, failing runs, full queues and changing versions: one outcome each."""
    with anya.Engine() as engine:
        chaos = Chaos(engine, ROUNDS)
        chaos.run()
        assert chaos.wrong == []
        assert_at_rest(engine)
        outcomes = chaos.outcomes
        made = outcomes.pop("made")
        assert made == sum(outcomes.values())
        assert made > 100_000
        assert outcomes["OK"] > outcomes["CANCELLED"] > 0
        assert outcomes["EXECUTION_ERROR"] > 0
        hurried = stats_of(engine, "hurried")
        assert hurried.terminated_runs > 0
        assert hurried.refused["INVALID_INPUT"] > 0


@pytest.mark.slow
def test_closing_in_the_middle() -> None:
    """close() while everybody asks: what was accepted ends, what comes later is refused, nothing hangs, sums agree."""
    for asked in (10, 500, 3000):
        engine = anya.Engine()
        chaos = Chaos(engine, ROUNDS // 4)

        def close(engine: anya.Engine = engine, asked: int = asked) -> None:
            while sum(model.accepted for model in engine.stats().models) < asked:
                threading.Event().wait(0.0005)
            engine.close()

        chaos.run(close)
        assert chaos.wrong == []
        assert_at_rest(engine)
        outcomes = chaos.outcomes
        assert outcomes.pop("made") == sum(outcomes.values())
        assert outcomes["refused"] > 0
