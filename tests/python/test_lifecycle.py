# SPDX-License-Identifier: Apache-2.0
"""Beginnings and ends: close, several engines, fork, interpreter exit, garbage collection, the GIL."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.conftest import Load
from python.support import HUNG, ONE, SPINS, busy, floats, said, slow_inputs, stats_of, until

import anya_engine as anya


def test_close_drains(engine: anya.Engine, load: Load) -> None:
    """close() answers what was accepted, whoever waits for it, and only then returns."""
    load("slow", config=ONE)
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(spins=10)) for _ in range(20)]
        engine.close()
    assert all(future.done() for future in futures)
    for future in futures:
        np.testing.assert_array_equal(future.result(0)["y"], 2 * slow_inputs()["x"])


def test_close_is_idempotent(engine: anya.Engine, load: Load) -> None:
    """close() again, from several threads at once, and after the context manager's, does nothing."""
    load("slow", config=ONE)
    engine.submit("slow", slow_inputs(spins=SPINS))
    threads = [threading.Thread(target=engine.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    engine.close()
    with engine:
        pass
    assert stats_of(engine, "slow").ended["OK"] == 1


def test_what_a_closed_engine_says(engine: anya.Engine, load: Load) -> None:
    """A closed engine loads nothing, and still tells what it did."""
    load("unnamed_batch")
    engine.infer("unnamed_batch", floats(1, 3))
    engine.close()
    with pytest.raises(anya.Unavailable, match="closed"):
        engine.load("other", MODELS["scalar"]())
    assert stats_of(engine, "unnamed_batch").ended["OK"] == 1
    assert [model.name for model in engine.models()] == ["unnamed_batch"]
    assert "closed" in repr(engine)


def test_the_context_manager_closes_on_an_error() -> None:
    """Leaving the block by an exception closes too, and lets the exception through."""
    with pytest.raises(KeyError), anya.Engine() as engine:
        engine.load("m", MODELS["unnamed_batch"]())
        raise KeyError
    with pytest.raises(anya.Unavailable):
        engine.infer("m", floats(1, 3))


def test_two_engines(load: Load, engine: anya.Engine) -> None:
    """Two engines in one process know nothing of each other: models, counters, ends."""
    load("unnamed_batch")
    with anya.Engine() as other:
        other.load("unnamed_batch", MODELS["scalar"]())
        x = floats(2, 3)
        np.testing.assert_array_equal(engine.infer("unnamed_batch", x)["y"], 2 * x)
        assert other.infer("unnamed_batch", np.array(1, np.float32))["y"] == 2
        assert stats_of(engine, "unnamed_batch").accepted == stats_of(other, "unnamed_batch").accepted == 1

        async def of_both() -> list[Any]:
            asked = (
                engine.infer_async("unnamed_batch", x),
                other.infer_async("unnamed_batch", np.array(4, np.float32)),
            )
            return await asyncio.gather(*asked)

        mine, its = asyncio.run(of_both())
        assert its["y"] == 5 and mine["y"].shape == (2, 3)
    np.testing.assert_array_equal(engine.infer("unnamed_batch", x)["y"], 2 * x)


def test_the_callers_thread_runs_an_idle_engines_request(engine: anya.Engine, load: Load) -> None:
    """A synchronous request that finds an instance idle is run in place."""
    load("unnamed_batch")
    before = stats_of(engine, "unnamed_batch").in_place
    engine.infer("unnamed_batch", floats(1, 3))
    assert stats_of(engine, "unnamed_batch").in_place == before + 1


def test_collecting_an_engine_with_pending_futures(load: Load) -> None:
    """An engine that nobody holds any more is freed; futures that somebody holds still get their answers."""
    engine = anya.Engine()
    engine.load("slow", MODELS["slow"](), config=ONE)
    futures = [engine.submit("slow", slow_inputs(spins=SPINS // 10)) for _ in range(5)]
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    for future in futures:
        np.testing.assert_array_equal(future.result(HUNG)["y"], 2 * slow_inputs()["x"])


def beats_during(work: Any) -> int:
    """How often another Python thread got to run while `work` ran."""
    stop, started, beats = threading.Event(), threading.Event(), [0]

    def beat() -> None:
        while not stop.is_set():
            beats[0] += 1
            started.set()
            time.sleep(0)

    thread = threading.Thread(target=beat)
    thread.start()
    started.wait(HUNG)
    before = beats[0]
    work()
    during = beats[0] - before
    stop.set()
    thread.join(HUNG)
    return during


def test_nothing_long_holds_the_gil(engine: anya.Engine, load: Load) -> None:
    """Loading, running, waiting, unloading and closing leave the GIL to other threads."""
    load("slow", config=ONE)
    medium = MODELS["medium"]()
    assert beats_during(lambda: engine.load("medium", medium)) > 20
    assert beats_during(lambda: engine.infer("slow", slow_inputs(spins=SPINS))) > 20
    assert beats_during(lambda: engine.submit("slow", slow_inputs(spins=SPINS)).result()) > 20
    engine.submit("slow", slow_inputs(spins=SPINS))
    assert beats_during(lambda: engine.unload("slow")) > 20
    load("slow", config=ONE)
    engine.submit("slow", slow_inputs(spins=SPINS))
    assert beats_during(engine.close) > 20


def test_log_records_are_data(engine: anya.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """What is loaded, changed over and unloaded is in each record's `anya`, for handlers that write JSON."""
    with caplog.at_level("INFO", "anya_engine"):
        for version in ("1", "2"):
            engine.load("m", MODELS["version_" + version](), version=version)
        engine.deploy("m", "2", anya.BlueGreen())
        engine.unload("m", "1")
    told = [getattr(record, "anya", {}) for record in said(caplog) if record.name == "anya_engine"]
    assert [(each["event"], each["model"]) for each in told] == [
        *(("loaded", "m"), ("loaded", "m"), ("rollout", "m"), ("unloaded", "m")),
    ]
    assert told[1]["digest"] == engine.models()[0].digest
    assert told[2]["weights"] == {"2": 100.0}


def test_an_engine_leaves_no_thread(load: Load) -> None:
    """Engines that were closed, or only forgotten, leave nothing of theirs behind."""

    def ours() -> list[str]:
        gc.collect()
        return sorted(
            name for task in Path("/proc/self/task").glob("*/comm") if (name := task.read_text())[:5] == "anya-"
        )

    async def ask(engine: anya.Engine) -> None:
        await engine.infer_async("m", floats(1, 64))

    before = ours()
    for is_closed in (True, False, True, False):
        engine = anya.Engine()
        engine.load("m", MODELS["tiny"](), config=ONE)
        asyncio.run(ask(engine))
        engine.submit("m", floats(1, 64), timeout=HUNG).result(HUNG)
        if is_closed:
            engine.close()
        del engine
    until(lambda: ours() == before)


def test_what_is_no_configuration_is_refused(engine: anya.Engine) -> None:
    """A path, a dictionary or swapped arguments in place of a configuration or an engine: an error that says what."""
    with pytest.raises(anya.ConfigError, match=r"Engine\.from_file"):
        anya.Engine("engine.toml")  # type: ignore[arg-type]
    with pytest.raises(anya.ConfigError, match="ModelConfig"):
        engine.load("m", MODELS["tiny"](), config={"instances": 2})  # type: ignore[arg-type]
    with pytest.raises(anya.ConfigError, match="the port comes before it"):
        anya.start_metrics_server(engine, 0)  # type: ignore[arg-type]
