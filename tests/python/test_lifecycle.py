# SPDX-License-Identifier: Apache-2.0
"""Beginnings and ends: close, several engines, fork, interpreter exit, garbage collection, the GIL."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.conftest import Load
from python.support import HUNG, ONE, SPINS, assert_clean, busy, floats, run_python, slow_inputs, stats_of

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
            asked = (engine.infer_async("unnamed_batch", x), other.infer_async("unnamed_batch", np.array(4, np.float32)))
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


FORK = """
def refused(ask):
    try:
        ask()
    except anya.Unavailable as error:
        assert "fork" in str(error), error
        return True
    return False

engine = anya.Engine()
engine.load("slow", MODELS["slow"](), config=ONE)
x = slow_inputs()
engine.infer("slow", x)
engine.submit("slow", x).result()
asyncio.run(engine.infer_async("slow", x))
pending = engine.submit("slow", slow_inputs(spins=SPINS))
queued = engine.submit("slow", x)
sys.stdout.flush()
child = os.fork()
if child == 0:
    signal.alarm(20)  # a deadlock ends here
    assert refused(lambda: engine.infer("slow", x))
    assert refused(lambda: engine.infer_detailed("slow", x))
    assert refused(lambda: engine.submit("slow", x))
    assert refused(lambda: asyncio.run(engine.infer_async("slow", x)))
    assert refused(lambda: asyncio.run(engine.infer_detailed_async("slow", x)))
    assert refused(lambda: engine.load("other", MODELS["tiny"]()))
    assert refused(lambda: queued.result())
    assert refused(lambda: pending.result(1))
    health = engine.health()
    assert not health.live and not health.ready and "fork" in health.reason
    {end}
    print("child")
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
pending.result(); queued.result(); engine.infer("slow", x)
asyncio.run(engine.infer_async("slow", x))
assert engine.health().ready
engine.close()
print("parent")
"""


@pytest.mark.parametrize(
    "end",
    [
        "engine.close()",
        "engine.close(); engine.close(); del engine; gc.collect()",
        "del engine, pending, queued; gc.collect()",
        "pass",
    ],
    ids=["close", "close and collect", "collect", "leave"],
)
def test_a_forked_child(end: str) -> None:
    """In a forked child every call is refused in words and nothing hangs, whatever it does at its end; the parent goes on."""
    assert_clean(run_python(FORK.replace("{end}", end)), "child", "parent")


def test_a_forked_child_makes_its_own_engine() -> None:
    """A child may make an engine of its own, and the parent's goes on."""
    done = run_python(
        """
        engine = anya.Engine()
        engine.load("m", MODELS["unnamed_batch"]())
        x = floats(2, 3)
        asyncio.run(engine.infer_async("m", x))
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with anya.Engine() as own:
                own.load("m", MODELS["unnamed_batch"]())
                assert (own.infer("m", x)["y"] == 2 * x).all()
                assert (asyncio.run(own.infer_async("m", x))["y"] == 2 * x).all()
            print("child")
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (engine.infer("m", x)["y"] == 2 * x).all()
        print("parent")
        """
    )
    assert_clean(done, "child", "parent")


EXITS = {
    "futures": "futures = [engine.submit('slow', slow_inputs(spins=SPINS // 20)) for _ in range(10)]",
    "futures dropped": "for _ in range(10): engine.submit('slow', slow_inputs(spins=SPINS // 20))",
    "callbacks": "engine.submit('slow', slow_inputs(spins=SPINS // 4)).add_done_callback(lambda f: print('called'))",
    "closed": "engine.submit('slow', slow_inputs(spins=SPINS // 4)); engine.close()",
    "collected": "engine.submit('slow', slow_inputs(spins=SPINS // 4)); del engine; gc.collect()",
    "daemon waiting": """
def wait():
    engine.submit('slow', slow_inputs(spins=SPINS)).result()
threading.Thread(target=wait, daemon=True).start()
until(lambda: stats_of(engine, 'slow').accepted == 2)
""",
    "loop": """
async def main():
    asyncio.get_running_loop().create_task(engine.infer_async('slow', slow_inputs(spins=SPINS // 4)))
    for _ in range(3): await asyncio.sleep(0)
asyncio.run(main())
""",
    "exit inside a loop": """
async def main():
    asyncio.get_running_loop().create_task(engine.infer_async('slow', slow_inputs(spins=SPINS // 4)))
    for _ in range(3): await asyncio.sleep(0)
    sys.exit(0)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("how", list(EXITS))
def test_interpreter_exit_with_work_in_flight(how: str) -> None:
    """An interpreter that ends with work in flight ends cleanly: no crash, no hang, nothing on stderr."""
    head = "engine = anya.Engine()\nengine.load('slow', MODELS['slow'](), config=ONE)\n"
    head += "engine.submit('slow', slow_inputs()).result()\n"
    done = run_python(head + EXITS[how] + "\nprint('end')\n")
    assert_clean(done, "end", *(["called"] if how == "callbacks" else []))


def test_an_interrupt_ends_the_wait() -> None:
    """Control-C while a caller waits raises KeyboardInterrupt at once, and cancels a request that it alone waited for."""
    done = run_python(
        """
        engine = anya.Engine()
        engine.load("slow", MODELS["slow"](), config=ONE)
        first = engine.submit("slow", slow_inputs(spins=20 * SPINS))
        until(lambda: stats_of(engine, "slow").queue_depth == 0)
        for ask in (lambda: engine.infer("slow", slow_inputs()), first.result):
            threading.Thread(target=lambda: (
                until(lambda: ask is first.result or stats_of(engine, "slow").queue_depth == 1),
                os.kill(os.getpid(), signal.SIGINT))).start()
            try:
                ask()
            except KeyboardInterrupt:
                print("interrupted")
        ended = stats_of(engine, "slow").ended
        print(ended["CANCELLED"], ended["OK"])
        first.cancel()
        """
    )
    assert_clean(done, "interrupted", "interrupted", "1", "0")
