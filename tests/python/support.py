# SPDX-License-Identifier: Apache-2.0
"""What the engine's tests share: inputs, plain ONNX Runtime to compare with, waits without sleep, fresh processes."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from models.make_models import MODELS

import anya_engine as anya
from anya_engine import _log

#: Rounds of the model `slow` that take about a tenth of a second.
SPINS = 10_000
#: What no test should ever take; a wait that ends here has hung.
HUNG = 60.0

#: One instance that never runs on an event loop's thread: what is asked while it works has to queue.
ONE = anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_in_place_microseconds=0))


def floats(*shape: int, seed: int = 5) -> Any:
    """Random float32 numbers of a shape, the same every time."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def slow_inputs(rows: int = 1, spins: int = 0) -> dict[str, Any]:
    """Inputs of the model `slow`: so many rows, each of them asking for so many rounds."""
    return {"x": floats(rows, 4), "spins": np.full(rows, spins, np.int64)}


@functools.cache
def reference(name: str) -> ort.InferenceSession:
    """A plain session over a test model, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(MODELS[name](), options, providers=["CPUExecutionProvider"])


def expected(name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """What plain ONNX Runtime answers, by name of output."""
    session = reference(name)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_same(answer: Mapping[str, Any], wanted: Mapping[str, Any], *, rtol: float = 0.0) -> None:
    """Names, dtypes, shapes and values agree; values to the bit unless a tolerance is given."""
    assert set(answer) == set(wanted)
    for name, array in wanted.items():
        assert isinstance(answer[name], np.ndarray), name
        assert answer[name].dtype == array.dtype, name
        assert answer[name].shape == array.shape, name
        if rtol:
            np.testing.assert_allclose(answer[name], array, rtol=rtol, atol=rtol, err_msg=name)
        else:
            np.testing.assert_array_equal(answer[name], array, err_msg=name)


def stats_of(engine: anya.Engine, name: str, version: str | None = None) -> Any:
    """The counters of one version; of the only one, or the first, where none is named."""
    return next(m for m in engine.stats().models if m.name == name and version in (None, m.version))


def until(condition: Callable[[], bool], what: str = "condition") -> None:
    """Give the processor away until something is so; a test that would wait for ever fails instead."""
    end = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        os.sched_yield()


async def until_in_loop(condition: Callable[[], bool], what: str = "condition") -> None:
    """Like `until`, giving the loop its turns."""
    end = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        await asyncio.sleep(0)


def assert_at_rest(engine: anya.Engine) -> None:
    """Rule 1: nothing is in flight, and accepted is exactly the sum of the outcomes, for every version."""
    until(lambda: all(m.in_flight == m.queue_depth == m.instances_busy == 0 for m in engine.stats().models), "rest")
    for model in engine.stats().models:
        assert model.accepted == sum(model.ended.values()), (model.name, model.accepted, model.ended)


def ask_infer(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask and wait."""
    return engine.infer(*arguments, **more)


def ask_submit(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask through a Future."""
    return engine.submit(*arguments, **more).result(HUNG)


def ask_async(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask from a loop of its own."""
    return asyncio.run(engine.infer_async(*arguments, **more))


Ask = Callable[..., Any]

every_way = pytest.mark.parametrize("ask", [ask_infer, ask_submit, ask_async])


@contextmanager
def refused(
    engine: anya.Engine, name: str, error: type[anya.AnyaError], *words: str, field: str | None = None
) -> Iterator[None]:
    """Inside, one request to the model is refused: class, code, words, field; one refusal counted, none accepted."""
    before = stats_of(engine, name)
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    message = str(caught.value)
    for word in (name, *words):
        assert word in message, message
    if field is not None:
        assert caught.value.field == field
    after = stats_of(engine, name)
    assert after.accepted == before.accepted
    assert after.ended == before.ended
    changed = {code: after.refused[code] - count for code, count in before.refused.items()}
    assert {code: count for code, count in changed.items() if count} == {error.code: 1}


def answers(engine: anya.Engine) -> None:
    """The model `unnamed_batch` still answers, and right."""
    x = floats(2, 3, seed=9)
    np.testing.assert_array_equal(engine.infer("unnamed_batch", {"x": x})["y"], x + x)


@contextmanager
def busy(engine: anya.Engine, name: str = "slow", *, spins: int = SPINS, version: str | None = None) -> Iterator[Any]:
    """The one instance of `slow` at work on a request of its own; inside, whatever is asked has to queue."""
    future = engine.submit(name, slow_inputs(spins=spins), version=version)
    until(lambda: stats_of(engine, name, version).queue_depth == 0, "start of the slow run")
    yield future
    future.result(HUNG)


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, once all of it has been handled."""
    assert _log.flush(HUNG)
    return caplog.records


def environment() -> dict[str, str]:
    """The environment of an interpreter that sees the package and the test models."""
    package, tests = Path(anya.__file__).parents[1], Path(__file__).parents[1]
    places = [str(package), str(tests), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


class Worker:
    """A Python of its own that reads lines and answers each with a line."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *map(str, arguments)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Let it do something without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """The answer to what it was told."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, line: object) -> str:
        """Tell it something; its answer."""
        self.tell(str(line))
        return self.answer()

    def kill(self) -> None:
        """SIGKILL; it may be dead already."""
        self.process.kill()
        self.process.communicate(timeout=HUNG)


def run_python(code: str, *, seconds: float = HUNG) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees the package and the test models; killed when it hangs."""
    # What forks here knows that it has threads; from 3.12 on Python warns of it.
    options = ("-X", "faulthandler", "-W", "ignore::DeprecationWarning")
    return subprocess.run(
        [sys.executable, *options, "-c", PRELUDE + textwrap.dedent(code)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


PRELUDE = """
import asyncio, gc, os, signal, sys, threading, weakref
import numpy as np
import anya_engine as anya
from models.make_models import MODELS
from python.support import ONE, SPINS, floats, slow_inputs, until, stats_of
"""


def assert_clean(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The process ended by itself, silently, after printing these words."""
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert (done.stdout.split(), done.stderr) == (list(words), "")


def on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop, where it is installed."""
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


on_every_loop = pytest.mark.parametrize("run", [asyncio.run, on_uvloop])


async def crowd(engine: anya.Engine, count: int, seed: int = 0) -> None:
    """So many tasks at once, each with numbers of its own, each gets its own answer."""
    xs = [floats(1, 3, seed=seed * 1000 + index) for index in range(count)]
    answers = await asyncio.gather(*(engine.infer_async("unnamed_batch", {"x": x}) for x in xs))
    for x, answer in zip(xs, answers, strict=True):
        np.testing.assert_array_equal(answer["y"], 2 * x)


def open_descriptors() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))
