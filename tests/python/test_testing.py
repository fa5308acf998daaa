# SPDX-License-Identifier: Apache-2.0
"""anya_engine.testing, and what it lets one see: lost devices, chaos, one outcome each."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.support import HUNG, Ask, assert_at_rest, every_way, floats, stats_of

import anya_engine as anya
from anya_engine import testing

X = floats(2, 3, seed=4)
KINDS = [
    *(anya.ExecutionError, anya.ModelOutputInvalid, anya.OutOfMemory),
    *(anya.Unavailable, anya.Overloaded, anya.DeadlineExceeded, anya.Cancelled),
]


@every_way
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_with_the_error_that_was_asked_for(
    engine: anya.Engine, ask: Ask, kind: type[anya.AnyaError]
) -> None:
    """Inside, and not after; counted as that error."""
    engine.load("m", MODELS["unnamed_batch"]())
    with testing.inject(engine, "m", error=kind), pytest.raises(kind) as caught:
        ask(engine, "m", X)
    assert type(caught.value) is kind
    assert "injected" in str(caught.value)
    np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
    assert stats_of(engine, "m").ended[kind.code] == 1


def test_a_share_of_the_requests_in_company_or_alone(engine: anya.Engine) -> None:
    """rate=0.2: about that share fails, whoever shares their runs; the others are right."""
    engine.load("m", MODELS["unnamed_batch"]())
    with testing.inject(engine, "m", error=anya.ExecutionError, rate=0.2):
        futures = [engine.submit("m", X) for _ in range(1000)]
        failed = [future for future in futures if future.exception(HUNG) is not None]
        alone = 0
        for _ in range(1000):
            try:
                engine.infer("m", X)
            except anya.ExecutionError:
                alone += 1
    assert 140 < len(failed) < 260 and 140 < alone < 260
    assert stats_of(engine, "m").ended["OK"] == 2000 - len(failed) - alone


def test_a_delay_is_part_of_the_run(engine: anya.Engine) -> None:
    """What takes longer shows in the time of the run, and the answer is right."""
    engine.load("m", MODELS["unnamed_batch"]())
    with testing.inject(engine, "m", delay=0.02):
        response = engine.infer_detailed("m", X)
    assert response.compute_time >= 0.02
    np.testing.assert_array_equal(response.outputs["y"], X + X)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"error": anya.ConfigError}, "error"),
        ({"error": ValueError}, "error"),
        ({"error": anya.OutOfMemory, "device_lost": True}, "error"),
        ({"delay": -1}, "delay"),
        ({"rate": 1.1}, "rate"),
        ({"version": "2"}, "version"),
    ],
)
def test_what_cannot_be_injected_is_refused(engine: anya.Engine, arguments: dict[str, Any], field: str) -> None:
    """The refusal names the argument."""
    engine.load("m", MODELS["unnamed_batch"]())
    with pytest.raises(anya.AnyaError) as caught, testing.inject(engine, "m", **arguments):
        pass
    assert caught.value.field == field


def test_one_at_a_time(engine: anya.Engine) -> None:
    """A second injection is refused whole, and the first one stays until its end."""
    engine.load("m", MODELS["unnamed_batch"](), version="1")
    engine.load("m", MODELS["unnamed_batch"](), version="2")
    with testing.inject(engine, "m", error=anya.OutOfMemory, version="2"):
        with pytest.raises(anya.ConfigError), testing.inject(engine, "m", error=anya.ExecutionError):
            pass
        engine.infer("m", X, version="1")
        with pytest.raises(anya.OutOfMemory):
            engine.infer("m", X, version="2")
    engine.infer("m", X, version="2")


def test_chaos_ends_with_the_equation(engine: anya.Engine) -> None:
    """20 % of the runs fail in every way there is, asked in every way: one outcome each, and the sums agree."""
    retry = anya.RetryPolicy(initial_backoff=0.0005, max_backoff=0.002)
    breaker = anya.BreakerPolicy(open_duration=0.01, max_open_duration=0.05)
    engine.load("simple", MODELS["unnamed_batch"]())
    chained = anya.ModelConfig(retry=retry, breaker=breaker, fallback=("simple", anya.Default({"y": 0})))
    engine.load("chained", MODELS["unnamed_batch"](), config=chained)
    engine.load("alone", MODELS["unnamed_batch"](), config=anya.ModelConfig(retry=retry, breaker=breaker))
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    wrong: list[Any] = []

    def settle(answer: Any) -> None:
        with lock:
            if isinstance(answer, anya.AnyaError):
                outcomes[answer.code] += 1
            elif isinstance(answer, dict) and (np.array_equal(answer["y"], X + X) or not answer["y"].any()):
                outcomes["OK"] += 1
            else:
                wrong.append(answer)

    def in_a_thread(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(150):
            name, timeout = dice.choice(["chained", "alone"]), dice.choice([None, None, 0.01])
            try:
                if dice.random() < 0.5:
                    settle(engine.infer(name, X, timeout=timeout))
                    continue
                future = engine.submit(name, X, timeout=timeout)
                if dice.random() < 0.2:
                    future.cancel()
                settle(future.exception(HUNG) or future.result(0))
            except anya.AnyaError as error:
                settle(error)

    async def in_a_loop() -> None:
        for _ in range(10):
            asked = [engine.infer_async(name, X) for name in ("chained", "alone") * 8]
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                settle(answer)

    for number, kind in enumerate([*KINDS, None]):
        delay = 0.0 if kind else 0.003
        with (
            testing.inject(engine, "chained", error=kind, delay=delay, rate=0.2),
            testing.inject(engine, "alone", error=kind, delay=delay, rate=0.2),
            testing.inject(engine, "simple", error=anya.ExecutionError, rate=0.2),
        ):
            threads = [threading.Thread(target=in_a_thread, args=(10 * number + n,)) for n in range(3)]
            threads.append(threading.Thread(target=lambda: asyncio.run(in_a_loop())))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(HUNG)
                assert not thread.is_alive(), "hung"
    assert wrong == []
    assert sum(outcomes.values()) == 8 * (3 * 150 + 160)
    assert outcomes["OK"] > 2000
    assert outcomes["EXECUTION_ERROR"] > 0
    assert_at_rest(engine)
