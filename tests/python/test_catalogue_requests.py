# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad inputs and faults, by number: queue, threads and lifecycle (65 to 78), resources (88 to 96).

What another test proves already is named in PROVED_BY, which is checked to exist. Number 90 needs a GPU that runs out
of memory; number 94, an output that breaks a rule, belongs to the rules of outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python.conftest import Load
from python.support import (
    HUNG,
    ONE,
    ask_async,
    ask_infer,
    ask_submit,
    assert_at_rest,
    assert_clean,
    busy,
    floats,
    run_python,
    slow_inputs,
    stats_of,
)

import anya_engine as anya

TESTS = Path(__file__).resolve().parents[1]

#: number: file and test that prove the outcome, in words of the catalogue.
PROVED_BY: dict[str, list[tuple[str, str]]] = {
    "65 queue full": [
        ("python/test_batching.py", "test_the_queue_has_an_end"),
        ("cpp/batching/batcher_test.cc", "AFullQueueRefusesAndKeepsTheRequest"),
    ],
    "66 deadline passes in queue": [
        ("python/test_future.py", "test_the_requests_own_timeout_ends_it"),
        ("cpp/batching/batcher_test.cc", "WhatExpiresInTheQueueIsNeverRun"),
    ],
    "67 deadline passes during run": [
        ("python/test_queue.py", "test_a_run_that_nobody_waits_for_is_stopped"),
        ("python/test_memory.py", "test_memory_of_a_caller_released_early_is_kept"),
    ],
    "68 cancel before, during, after": [
        ("python/test_future.py", "test_cancel_before_the_run"),
        ("python/test_future.py", "test_cancel_during_the_run"),
        ("python/test_future.py", "test_cancel_after_the_end"),
        ("python/test_async_ends.py", "test_cancelling_at_any_moment"),
        ("python/test_async_ends.py", "test_a_request_cancelled_within_its_turn_is_never_accepted"),
    ],
    "69 close with work in flight": [
        ("python/test_lifecycle.py", "test_close_drains"),
        ("python/test_lifecycle.py", "test_close_is_idempotent"),
        ("python/test_lifecycle.py", "test_what_a_closed_engine_says"),
    ],
    "70 a run fails": [
        ("python/test_batching.py", "test_only_the_culprit_fails"),
        ("cpp/batching/batch_memory_test.cc", "EveryAllocationMayFail"),
    ],
    "71 fork": [("python/test_processes.py", "test_a_forked_child")],
    "72 interpreter shutdown, collection": [
        ("python/test_processes.py", "test_interpreter_exit_with_work_in_flight"),
        ("python/test_lifecycle.py", "test_collecting_an_engine_with_pending_futures"),
    ],
    "73 a callback raises": [("python/test_future.py", "test_a_callback_that_raises")],
    "74 KeyboardInterrupt": [
        ("python/test_processes.py", "test_an_interrupt_ends_the_wait"),
        ("python/test_async_call.py", "test_an_interrupt_out_of_one_task_loses_no_other"),
    ],
    "75 chaos": [
        ("python/test_chaos.py", "test_everybody_at_once"),
        ("cpp/batching/batcher_chaos_test.cc", "ThreeInstancesAndASmallQueue"),
    ],
    "76 load and unload": [("python/test_versions.py", "test_loads_do_not_leak_memory_or_descriptors")],
    "88 an allocation fails": [("cpp/batching/batch_memory_test.cc", "EveryAllocationMayFail")],
    "91 endless and stuck runs": [
        ("python/test_queue.py", "test_a_run_that_nobody_waits_for_is_stopped"),
        ("python/test_queue.py", "test_a_stuck_instance_shows_in_health"),
        ("cpp/batching/batcher_ends_test.cc", "ARunThatWillNotStopIsReported"),
    ],
}


@pytest.mark.parametrize("case", list(PROVED_BY))
def test_the_proof_is_where_it_is_said_to_be(case: str) -> None:
    """Each test that a case rests on exists under its name."""
    for file, name in PROVED_BY[case]:
        text = (TESTS / file).read_text(encoding="utf-8")
        wanted = rf"^def {name}\(" if file.endswith(".py") else rf"^TEST\(\w+, {name}\)"
        assert re.search(wanted, text, flags=re.MULTILINE), (file, name)


every_way = pytest.mark.parametrize("ask", [ask_infer, ask_submit, ask_async])


def right(answer: Any) -> None:
    """The answer to slow_inputs()."""
    np.testing.assert_array_equal(answer["y"], 2 * slow_inputs()["x"])


@every_way
def test_67_a_late_answer_reaches_nobody(engine: anya.Engine, load: Load, ask: Any) -> None:
    """67: a caller whose time runs out during the run is released, and whoever asks next gets an answer of its own."""
    load("slow", config=ONE)
    for seed in range(5):
        with pytest.raises(anya.DeadlineExceeded):
            ask(engine, "slow", slow_inputs(spins=1 << 40), timeout=0.01)
        own = {"x": floats(1, 4, seed=100 + seed), "spins": np.zeros(1, np.int64)}
        np.testing.assert_array_equal(ask(engine, "slow", own)["y"], 2 * own["x"])
    assert_at_rest(engine)
    assert stats_of(engine, "slow").ended["DEADLINE_EXCEEDED"] == 5


def test_75_a_thousand_threads(engine: anya.Engine, load: Load) -> None:
    """75: a thousand threads submit, wait, cancel and time out while one of them closes; every request ends once."""
    load("slow", config=anya.ModelConfig(instances=2, batching=anya.BatchingConfig(max_queue_size=128)))
    outcomes: list[str] = []
    closer = 700

    def one(index: int) -> None:
        dice = random.Random(index)
        if index == closer:
            engine.close()
            return
        try:
            future = engine.submit(
                "slow",
                slow_inputs(spins=dice.randrange(60)),
                timeout=dice.choice([None, 0.002, 5.0]),
                priority=dice.choice([None, 1, 255]),
            )
        except anya.AnyaError as error:
            outcomes.append("refused " + error.code)
            return
        if dice.random() < 0.3:
            future.cancel()
        failure = future.exception(HUNG)
        if failure is None:
            right(future.result(0))
        outcomes.append("ended " + (failure.code if isinstance(failure, anya.AnyaError) else "OK"))

    before = threading.stack_size(256 << 10)
    try:
        threads = [threading.Thread(target=one, args=(index,)) for index in range(1000)]
        for thread in threads:
            thread.start()
    finally:
        threading.stack_size(before)
    for thread in threads:
        thread.join(HUNG)
        assert not thread.is_alive()
    assert len(outcomes) == 999
    stats = stats_of(engine, "slow")
    for code, count in stats.ended.items():
        assert outcomes.count("ended " + code) == count, code
    for code, count in stats.refused.items():
        assert outcomes.count("refused " + code) == count, code
    assert outcomes.count("ended OK") > 0
    assert outcomes.count("refused UNAVAILABLE") > 0


def test_77_a_suspended_process() -> None:
    """77: after SIGSTOP and SIGCONT what is overdue has ended, what is patient is answered, and nothing hangs."""
    done = run_python(
        """
        import subprocess
        engine = anya.Engine()
        engine.load("slow", MODELS["slow"](), config=ONE)
        running = engine.submit("slow", slow_inputs(spins=SPINS))
        until(lambda: stats_of(engine, "slow").queue_depth == 0)
        late = [engine.submit("slow", slow_inputs(), timeout=0.1) for _ in range(5)]
        patient = [engine.submit("slow", slow_inputs(), timeout=60.0) for _ in range(5)]
        wake = '''
        import os, signal, sys, time
        pid = int(sys.argv[1])
        while open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        '''
        import textwrap
        waker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(wake), str(os.getpid())])
        os.kill(os.getpid(), signal.SIGSTOP)
        for future in late:
            assert type(future.exception(30)) is anya.DeadlineExceeded, future.exception(30)
        for future in [running, *patient]:
            assert (future.result(30)["y"] == 2 * slow_inputs()["x"]).all()
        engine.infer("slow", slow_inputs(), timeout=30.0)
        assert waker.wait(30) == 0
        engine.close()
        print("awake")
        """
    )
    assert_clean(done, "awake")


def test_78_threads_that_cannot_be_had() -> None:
    """78: a load that gets only some of its threads fails in words and leaves none behind; the next one works."""
    done = run_python(
        """
        import resource
        def anya_threads():
            names = [open(f"/proc/self/task/{tid}/comm").read() for tid in os.listdir("/proc/self/task")]
            return sum(name.startswith("anya-slow") for name in names)
        engine = anya.Engine()
        engine.load("slow", MODELS["slow"](), config=ONE)
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        unlimited = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20), unlimited[1]))
        try:
            engine.load("slow", MODELS["slow"](), config=anya.ModelConfig(instances=500))
        except anya.Unavailable as error:
            print("refused")
            assert "thread" in str(error), error
        resource.setrlimit(resource.RLIMIT_AS, unlimited)
        assert anya_threads() == 1, anya_threads()
        assert engine.load("slow", MODELS["slow"](), config=anya.ModelConfig(instances=3)).version == "2"
        assert anya_threads() == 4
        engine.infer("slow", slow_inputs(), version="2")
        engine.close()
        print("works")
        """
    )
    assert_clean(done, "refused", "works")


def test_89_memory_for_a_batch_that_cannot_be_had() -> None:
    """89: where a batch is too much for the memory, smaller ones are tried; a request that is, is OUT_OF_MEMORY."""
    done = run_python(
        """
        import resource
        from models.parts import const, model, value
        from onnx import helper
        wide = model(
            [
                helper.make_node("Expand", ["x", "wide"], ["many"]),
                helper.make_node("ReduceMax", ["many", "along"], ["y"], keepdims=1),
            ],
            [value("x", ["N", "one"])], [value("y", ["N", "one"])],  # of more than one shape: what pays is not measured
            [const("wide", [1, 10 << 20], np.int64), const("along", [1], np.int64)],
        )
        config = anya.ModelConfig(
            instances=1, enable_cpu_mem_arena=False, enable_mem_pattern=False,
            batching=anya.BatchingConfig(max_batch_size=8, max_in_place_microseconds=0),
        )
        engine = anya.Engine()
        engine.load("wide", wide, config=config)
        x = floats(8, 1)
        engine.submit("wide", x[:1]).result()

        def leave_room_for_one():
            # A row takes 40 MiB, more than malloc ever keeps for the next (32); with 22 more there is no room for two
            # rows, nor for a new arena of malloc (64), but for a thread or two.
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + (62 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))

        leave_room_for_one()
        try:
            engine.infer("wide", x)
        except anya.OutOfMemory as error:
            print(error.code, error.retryable)
        splits = 0
        for _ in range(50):  # after 8 runs of one row it is tried whether two pay
            leave_room_for_one()
            futures = [engine.submit("wide", x[row : row + 1]) for row in range(8)]
            for row, future in enumerate(futures):
                assert future.result()["y"][0, 0] == x[row, 0]
            splits = stats_of(engine, "wide").splits
            if splits:
                break
        print("split" if splits else "whole")
        engine.close()
        """
    )
    assert_clean(done, "OUT_OF_MEMORY", "True", "split")


def test_95_no_descriptors_and_no_folder(tmp_path: Path) -> None:
    """95: without descriptors, or in a folder that is gone, loads fail by name, and what is loaded serves on."""
    done = run_python(
        f"""
        import resource
        engine = anya.Engine()
        engine.load("slow", MODELS["slow"](), config=ONE)
        path = {str(tmp_path)!r}
        with open(path + "/model.onnx", "wb") as file:
            file.write(MODELS["tiny"]())
        def serves():
            engine.infer("slow", slow_inputs())
            engine.submit("slow", slow_inputs()).result()
        def refused(source):
            try:
                engine.load("tiny", source)
            except anya.ModelLoadError as error:
                return type(error).__name__ != "ModelInvalid"
            return False
        serves()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, limits[1]))
        assert refused(path + "/model.onnx")
        serves()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.mkdir(path + "/gone")
        os.chdir(path + "/gone")
        os.rmdir(path + "/gone")
        assert refused("model.onnx")
        serves()
        os.chdir(path)
        assert engine.load("tiny", "model.onnx").version == "1"
        engine.close()
        print("served")
        """
    )
    assert_clean(done, "served")


class Sink(logging.Handler):
    """A place for log records that raises, or never returns while it is blocked."""

    def __init__(self, gate: threading.Event | None) -> None:
        super().__init__(logging.NOTSET)
        self.gate = gate
        self.reached = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Whatever comes."""
        self.reached.set()
        if self.gate is None:
            raise OSError(f"no room for {record.levelname}")
        self.gate.wait(HUNG)


@pytest.fixture(params=["raises", "blocks"])
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    """The root logger writes into a sink that does not work."""
    gate = threading.Event() if request.param == "blocks" else None
    made = Sink(gate)
    root = logging.getLogger()
    before = root.level
    root.addHandler(made)
    root.setLevel(logging.DEBUG)
    yield made
    root.removeHandler(made)
    root.setLevel(before)
    if gate is not None:
        gate.set()


def test_96_a_sink_that_raises_or_blocks(engine: anya.Engine, load: Load, sink: Sink) -> None:
    """96: no request, however it ends, waits for a log record or a scrape; counting needs neither."""
    logging.getLogger().removeHandler(sink)
    load("slow", config=ONE)
    load("poison", config=ONE)
    logging.getLogger().addHandler(sink)

    def tell() -> None:
        with contextlib.suppress(OSError):
            logging.getLogger("somebody").handle(RECORD)

    blocked = threading.Thread(target=tell, daemon=True)
    blocked.start()
    assert sink.reached.wait(HUNG)
    for ask in (ask_infer, ask_submit):
        right(ask(engine, "slow", slow_inputs()))
        with pytest.raises(anya.ExecutionError):
            ask(engine, "poison", np.array([99]))
        with busy(engine), pytest.raises(anya.DeadlineExceeded):
            ask(engine, "slow", slow_inputs(), timeout=0.001)

    async def crowd() -> None:
        for answer in await asyncio.gather(*(engine.infer_async("slow", slow_inputs()) for _ in range(8))):
            right(answer)

    if sink.gate is None:  # asyncio itself logs that a loop begins, and stands still if that does
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(logging.getLogger("asyncio"), "disabled", True)
            asyncio.run(crowd())
    stats = stats_of(engine, "slow")
    assert stats.ended["DEADLINE_EXCEEDED"] == 2
    if sink.gate is not None:
        sink.gate.set()
    blocked.join(HUNG)


RECORD = logging.LogRecord("somebody", logging.ERROR, __file__, 1, "words", None, None)
