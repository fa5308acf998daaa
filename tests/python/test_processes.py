# SPDX-License-Identifier: Apache-2.0
"""Processes: forks, ends of interpreters, interrupts."""

from __future__ import annotations

import signal

import pytest
from python.support import assert_clean, run_python

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
    """In a forked child every call is refused in words and nothing hangs, whatever its end; the parent goes on."""
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
    print('end')
    sys.exit(0)
asyncio.run(main())
""",
}


@pytest.mark.parametrize("how", list(EXITS))
def test_interpreter_exit_with_work_in_flight(how: str) -> None:
    """An interpreter that ends with work in flight ends cleanly: no crash, no hang, nothing on stderr."""
    head = "engine = anya.Engine()\nengine.load('slow', MODELS['slow'](), config=ONE)\n"
    head += "engine.submit('slow', slow_inputs()).result()\n"
    done = run_python(head + EXITS[how] + ("" if "sys.exit" in EXITS[how] else "\nprint('end')\n"))
    assert_clean(done, "end", *(["called"] if how == "callbacks" else []))


def test_an_interrupt_ends_the_wait() -> None:
    """Control-C while a caller waits raises KeyboardInterrupt; a request that only the caller knew is cancelled."""
    done = run_python(
        """
        engine = anya.Engine()
        engine.load("slow", MODELS["slow"](), config=ONE)
        first = engine.submit("slow", slow_inputs(spins=20 * SPINS))
        until(lambda: stats_of(engine, "slow").queue_depth == 0)
        armed = False
        def once(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        def poke():
            until(lambda: stats_of(engine, "slow").accepted == 2)
            while armed:
                os.kill(os.getpid(), signal.SIGINT)
                os.sched_yield()
        signal.signal(signal.SIGINT, once)
        for ask in (lambda: engine.infer("slow", slow_inputs()), lambda: first.result(30)):
            try:
                armed = True
                threading.Thread(target=poke).start()
                ask()
            except KeyboardInterrupt:
                print("interrupted")
            armed = False
        ended = stats_of(engine, "slow").ended
        print(ended["CANCELLED"], ended["OK"])
        first.cancel()
        """
    )
    assert_clean(done, "interrupted", "interrupted", "1", "0")


#: An engine with a run that does not end, and a thread that presses Control-C whenever that is armed.
PRESSED = """
import atexit
engine = anya.Engine()
engine.load("slow", MODELS["slow"](), config=ONE)
endless = engine.submit("slow", slow_inputs(spins=1 << 40))
until(lambda: stats_of(engine, "slow").queue_depth == 0)
armed = False
def arm():
    global armed
    armed = True
def once(*_):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
def press():
    while True:
        if armed:
            os.kill(os.getpid(), signal.SIGINT)
        os.sched_yield()
signal.signal(signal.SIGINT, once)
threading.Thread(target=press, daemon=True).start()
"""


def test_an_interrupt_ends_the_wait_of_close() -> None:
    """Control-C while close() drains raises KeyboardInterrupt; nothing new is taken, and close() again waits on."""
    done = run_python(
        PRESSED
        + """
try:
    arm()
    engine.close()
except KeyboardInterrupt:
    print("interrupted", endless.done())
try:
    engine.infer("slow", slow_inputs())
except anya.Unavailable:
    print("refused")
endless.cancel()
engine.close()
print(stats_of(engine, "slow").ended["CANCELLED"], stats_of(engine, "slow").in_flight)
"""
    )
    assert_clean(done, "interrupted", "False", "refused", "1", "0")


def test_who_is_interrupted_at_the_end_too_has_left() -> None:
    """Control-C in close(), and again in the draining at the interpreter's exit: the process ends, the run does not."""
    done = run_python(PRESSED + "atexit.register(arm)\narm()\nengine.close()\n")
    assert done.returncode == -signal.SIGINT, done
    assert done.stderr.count("\nKeyboardInterrupt") == 2 and "Fatal" not in done.stderr, done.stderr
