# SPDX-License-Identifier: Apache-2.0
"""Whose memory is whose: inputs are let go, outputs belong to the caller, a snapshot is a snapshot."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.parts import model, value
from onnx import helper
from python.conftest import Load
from python.support import (
    HUNG,
    ONE,
    ask_infer,
    ask_submit,
    busy,
    floats,
    run_python,
    slow_inputs,
    stats_of,
    until,
)

import anya_engine as anya

Ask = Callable[..., Any]


def ask_in_loop(engine: anya.Engine, *arguments: Any, **more: Any) -> Any:
    """Ask from a loop; a failure does not pass through asyncio.run, which would tie it into a cycle of its own."""

    async def main() -> tuple[Any, str]:
        try:
            return await engine.infer_async(*arguments, **more), ""
        except anya.AnyaError as error:
            return None, error.code

    answer, code = asyncio.run(main())
    if code:
        raise anya.errors.class_for(code)
    return answer


every_way = pytest.mark.parametrize("ask", [ask_infer, ask_submit, ask_in_loop])


def let_go(engine: anya.Engine, watched: list[Any], before: list[int]) -> bool:
    """True once nobody holds the objects more than before; requests give things back at the next one's turn."""
    engine.infer("unnamed_batch", np.zeros((1, 3), np.float32))
    return [sys.getrefcount(each) for each in watched] == before


@every_way
def test_inputs_are_let_go(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """After an answer, a refusal and a failure, the references to arrays and mappings are what they were."""
    load("unnamed_batch")
    load("poison")
    x, strided, wrong, bad = floats(2, 3), floats(2, 6)[:, ::2], floats(2, 4), np.array([99])
    inputs, poison = {"x": x}, {"i": bad}
    watched = [x, strided, wrong, bad, inputs, poison]
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(20):
        ask(engine, "unnamed_batch", inputs)
        ask(engine, "unnamed_batch", strided)
        for call in (
            lambda: ask(engine, "unnamed_batch", wrong),
            lambda: ask(engine, "poison", poison),
            lambda: ask(engine, "unnamed_batch", x, outputs=["nope"]),
            lambda: ask(engine, "unnamed_batch", {"x": x, "y": x}),
        ):
            with pytest.raises(anya.AnyaError):
                call()
    del call
    until(lambda: let_go(engine, watched, before), "inputs let go")


def test_inputs_of_cancelled_requests_are_let_go(engine: anya.Engine, load: Load) -> None:
    """Cancelled and expired requests let their inputs go too, once the run that read them is over."""
    load("slow", config=ONE)
    load("unnamed_batch")
    inputs = slow_inputs()
    watched = [inputs, inputs["x"], inputs["spins"]]
    before = [sys.getrefcount(each) for each in watched]
    with busy(engine):
        for _ in range(10):
            engine.submit("slow", inputs).cancel()
        with pytest.raises(anya.DeadlineExceeded):
            engine.infer("slow", inputs, timeout=0.002)
    until(lambda: let_go(engine, watched, before), "inputs let go")


@every_way
@pytest.mark.parametrize("rows", [1, 20_000])
def test_outputs_belong_to_the_caller(engine: anya.Engine, load: Load, ask: Ask, rows: int) -> None:
    """Arrays of an answer are writable, alike to any other, and independent of the next answer and of the engine."""
    load("unnamed_batch")
    x = floats(rows, 3)
    first = ask(engine, "unnamed_batch", x)["y"]
    assert first.flags.writeable and first.flags.c_contiguous and first.flags.aligned
    assert not np.shares_memory(first, x)
    first += 1
    second = ask(engine, "unnamed_batch", x)["y"]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(second, 2 * x)
    engine.close()
    np.testing.assert_array_equal(first, 2 * x + 1)


@pytest.mark.parametrize("name", ["identity_float32", "sequence"])
def test_an_output_that_is_its_input(engine: anya.Engine, load: Load, name: str) -> None:
    """An output that merely repeats its input is memory of its own."""
    load(name)
    x = floats(4, 3)
    y = engine.infer(name, x)["y"]
    y[:] = 0
    np.testing.assert_array_equal(x, floats(4, 3))


def test_answers_of_one_batch_are_apart(engine: anya.Engine, load: Load) -> None:
    """Requests that shared a run share no memory."""
    load("sequence", config=ONE)

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(engine.infer_async("sequence", floats(1, 5, seed=s)) for s in range(8)))

    answers = asyncio.run(ask_all())
    arrays = [answer[key] for answer in answers for key in ("y", "total")]
    for index, array in enumerate(arrays):
        assert array.flags.writeable
        assert not any(np.shares_memory(array, other) for other in arrays[index + 1 :])


@pytest.mark.parametrize("rows", [1, 20_000])
def test_submit_reads_a_snapshot(engine: anya.Engine, load: Load, rows: int) -> None:
    """Arrays changed right after submit do not change the answer, small or large."""
    load("slow", config=ONE)
    inputs = slow_inputs(rows)
    kept = inputs["x"].copy()
    with busy(engine):
        future = engine.submit("slow", inputs)
        inputs["x"][:] = -1
        inputs["spins"][:] = 1 << 40
    np.testing.assert_array_equal(future.result(HUNG)["y"], 2 * kept)


def test_infer_async_reads_a_snapshot(engine: anya.Engine, load: Load) -> None:
    """Arrays changed while infer_async is on its way do not change the answer; strings too."""
    load("slow", config=ONE)
    load("strings")
    inputs, text = slow_inputs(), np.array(["kept"], dtype=object)
    kept = inputs["x"].copy()

    async def main() -> tuple[Any, Any]:
        asked = [
            asyncio.create_task(engine.infer_async("slow", inputs)),
            asyncio.create_task(engine.infer_async("strings", text)),
        ]
        await asyncio.sleep(0)
        inputs["x"][:] = -1
        text[0] = "changed"
        return tuple(await asyncio.gather(*asked))  # type: ignore[return-value]

    numbers, words = asyncio.run(main())
    np.testing.assert_array_equal(numbers["y"], 2 * kept)
    assert words["loud"].tolist() == ["kept!"]


def test_memory_of_a_caller_released_early_is_kept(engine: anya.Engine, load: Load) -> None:
    """A run that outlives its caller's deadline keeps the arrays it reads, and lets them go when it is over.

    It is told to stop, but one long operator cannot be interrupted.
    """
    size = 2048
    square = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    engine.load("square", model(square, [value("x", [size, size])], [value("y", [size, size])]), config=ONE)
    load("unnamed_batch")
    inputs = {"x": floats(size, size)}
    watched = [inputs["x"]]
    before = [sys.getrefcount(each) for each in watched]
    with pytest.raises(anya.DeadlineExceeded):
        engine.infer("square", inputs, timeout=0.02)
    assert stats_of(engine, "square").instances_busy == 1
    assert [sys.getrefcount(each) for each in watched] == [count + 1 for count in before]
    until(lambda: let_go(engine, watched, before), "inputs let go")
    assert stats_of(engine, "square").ended["OK"] == 0
    assert stats_of(engine, "square").terminated_runs == 1


def test_a_watched_request_keeps_no_arrays_of_a_run_that_is_over(engine: anya.Engine, load: Load) -> None:
    """A request with a deadline far away, answered on the caller's thread, lets its inputs and outputs go at once."""
    load("unnamed_batch")
    x = floats(4, 3)
    engine.infer("unnamed_batch", x)
    before = sys.getrefcount(x)
    in_place = stats_of(engine, "unnamed_batch").in_place
    answer = engine.infer("unnamed_batch", x, timeout=3600.0)["y"]
    assert stats_of(engine, "unnamed_batch").in_place > in_place
    assert sys.getrefcount(x) == before
    assert sys.getrefcount(answer) == 2


@pytest.mark.slow
def test_memory_does_not_grow() -> None:
    """Tens of thousands of answers, refusals, cancellations and large outputs leave the process as small as before."""
    done = run_python(
        """
        def resident():
            gc.collect()
            return int(open("/proc/self/statm").read().split()[1]) * 4096
        engine = anya.Engine()
        engine.load("m", MODELS["unnamed_batch"]())
        engine.load("s", MODELS["strings"]())
        small, large = floats(1, 3), floats(30_000, 3)
        text = np.array(["some words"] * 10, dtype=object)
        async def many():
            await asyncio.gather(*(engine.infer_async("m", small) for _ in range(64)))
        def turn():
            for _ in range(200):
                engine.infer("m", small); engine.infer("s", text)
                engine.submit("m", small).cancel()
                engine.submit("s", text).result()
                try:
                    engine.infer("m", text)
                except anya.InvalidInput:
                    pass
            for _ in range(10):
                engine.infer("m", large); engine.submit("m", large).result()
            asyncio.run(many())
        for _ in range(10): turn()
        first = resident()
        for _ in range(30): turn()
        grown = resident() - first
        print("same" if grown < 8 << 20 else grown)
        engine.close()
        """
    )
    assert_same_size(done)


def assert_same_size(done: Any) -> None:
    """The process said that it did not grow."""
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same"]
