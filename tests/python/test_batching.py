# SPDX-License-Identifier: Apache-2.0
"""Requests share runs, and no answer depends on the company."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models.awkward import POISON_ROWS
from models.make_models import MODELS
from python.conftest import Load
from python.support import HUNG, ONE, assert_at_rest, busy, expected, floats, slow_inputs, stats_of

import anya_engine as anya

AskAll = Callable[[anya.Engine, str, list[Any]], list[Any]]


def by_submit(engine: anya.Engine, name: str, requests: list[Any]) -> list[Any]:
    """All at once from one thread."""
    futures = [engine.submit(name, inputs) for inputs in requests]
    return [future.result(HUNG) for future in futures]


def by_tasks(engine: anya.Engine, name: str, requests: list[Any]) -> list[Any]:
    """All in one turn of an event loop."""

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(engine.infer_async(name, inputs) for inputs in requests))

    return asyncio.run(gathered())


def by_threads(engine: anya.Engine, name: str, requests: list[Any]) -> list[Any]:
    """Each from a thread of its own, all starting together."""
    answers: list[Any] = [None] * len(requests)
    start = threading.Barrier(len(requests))

    def ask(index: int) -> None:
        start.wait(HUNG)
        answers[index] = engine.infer(name, requests[index])

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    return answers


WAYS: list[AskAll] = [by_submit, by_tasks, by_threads]


@pytest.fixture(scope="module")
def shared() -> Iterator[anya.Engine]:
    """One engine for all examples of a property: two instances of each model, small batches."""
    small = anya.BatchingConfig(max_batch_size=8, max_in_place_microseconds=0)
    with anya.Engine() as engine:
        for name in ("tiny", "sequence", "several_outputs", "two_inputs", "strings", "identity_float16"):
            engine.load(name, MODELS[name](), config=anya.ModelConfig(instances=2, batching=small))
        yield engine
        assert_at_rest(engine)


def numbers(draw: st.DrawFn, *shape: int, dtype: str = "float32") -> Any:
    """Random numbers; the seed is what hypothesis draws, so that examples stay small."""
    return np.random.default_rng(draw(st.integers(0, 1 << 16))).standard_normal(shape).astype(dtype)


@st.composite
def workloads(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """A model and a crowd of requests for it, of one to eleven rows (more than fit into one batch)."""
    name = draw(st.sampled_from(["tiny", "sequence", "several_outputs", "two_inputs", "strings", "identity_float16"]))
    requests: list[Any] = []
    for rows in draw(st.lists(st.integers(1, 11), min_size=1, max_size=12)):
        if name == "tiny":
            requests.append({"x": numbers(draw, rows, 64)})
        elif name == "sequence":
            requests.append({"x": numbers(draw, rows, draw(st.integers(1, 3)))})
        elif name == "several_outputs":
            requests.append({"x": numbers(draw, rows, 4)})
        elif name == "two_inputs":
            requests.append({"a": numbers(draw, rows, 3), "b": numbers(draw, rows, 3)})
        elif name == "strings":
            letters = st.characters(exclude_categories=("Cs",), exclude_characters="\0")  # neither is text to a model
            texts = draw(st.lists(st.text(letters, max_size=5), min_size=rows, max_size=rows))
            requests.append({"text": np.array(texts, dtype=object)})
        else:
            requests.append({"x": numbers(draw, rows, 3, dtype="float16")})
    return name, requests


def alone(name: str, inputs: Any) -> dict[str, Any]:
    """Each row by itself through plain ONNX Runtime, put together again."""
    rows = len(next(iter(inputs.values())))
    answers = [expected(name, {key: array[row : row + 1] for key, array in inputs.items()}) for row in range(rows)]
    return {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}


@pytest.mark.parametrize("ask_all", WAYS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workload=workloads())
def test_batched_equals_alone(shared: anya.Engine, ask_all: AskAll, workload: tuple[str, list[Any]]) -> None:
    """Rule 4: whatever company a request has, each of its rows is answered as if it had been asked alone."""
    name, requests = workload
    for inputs, answer in zip(requests, ask_all(shared, name, requests), strict=True):
        wanted = alone(name, inputs)
        assert set(answer) == set(wanted)
        for key, array in wanted.items():
            assert answer[key].shape == array.shape and answer[key].dtype == array.dtype
            if array.dtype == np.float32:
                np.testing.assert_allclose(answer[key], array, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(answer[key], array)


def test_waiting_requests_leave_as_one_batch(engine: anya.Engine, load: Load) -> None:
    """What waits while the instance is busy runs together, and the response says in how many rows."""
    load("slow", config=ONE)
    with busy(engine):
        before = stats_of(engine, "slow").batches
        inputs = [slow_inputs(rows) for rows in (1, 3, 2, 4)]
        futures = [engine.submit("slow", each) for each in inputs]
        assert stats_of(engine, "slow").queue_depth == 4
    for each, future in zip(inputs, futures, strict=True):
        np.testing.assert_array_equal(future.result(HUNG)["y"], 2 * each["x"])
    after = stats_of(engine, "slow")
    assert after.batches - before <= 2  # one, and the slow one if it had not been counted yet
    assert after.rows == 11


def test_a_batch_never_has_more_rows_than_allowed(engine: anya.Engine, load: Load) -> None:
    """max_batch_size is a limit: what waits is split into runs of at most so many rows."""
    load("slow", config=anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_batch_size=4)))
    with busy(engine):
        futures = [engine.submit("slow", slow_inputs(3)) for _ in range(6)]
    for future in futures:
        future.result(HUNG)
    sizes = stats_of(engine, "slow").batch_size
    assert sum(count for edge, count in zip(sizes.edges, sizes.counts, strict=False) if edge <= 4) == 7
    assert sum(sizes.counts) == 7


def test_other_shapes_share_no_run_and_do_not_block(engine: anya.Engine, load: Load) -> None:
    """Requests of several shapes, mixed in one turn, all come back right, in fewer runs than there are requests."""
    load("sequence", config=ONE)
    requests = [{"x": floats(1, 1 + index % 3, seed=index)} for index in range(30)]
    for inputs, answer in zip(requests, by_tasks(engine, "sequence", requests), strict=True):
        np.testing.assert_array_equal(answer["y"], inputs["x"] * 2)
    assert stats_of(engine, "sequence").batches < len(requests)


def test_other_outputs_share_no_run(engine: anya.Engine, load: Load) -> None:
    """Requests for different outputs, mixed in one turn, each get theirs."""
    load("several_outputs", config=ONE)
    x = floats(1, 4)
    wanted = [["total"], ["best"], None, ["best", "double"]] * 4

    async def gathered() -> list[Any]:
        return await asyncio.gather(
            *(engine.infer_async("several_outputs", {"x": x}, outputs=names) for names in wanted)
        )

    full = expected("several_outputs", {"x": x})
    for names, answer in zip(wanted, asyncio.run(gathered()), strict=True):
        assert list(answer) == (names or ["double", "total", "best", "positive"])
        for key, array in answer.items():
            np.testing.assert_array_equal(array, full[key])


COUPLED = {
    "softmax_axis0": 4,
    "centred": 4,
    "reversed_rows": 4,
    "late_rows": 16,
    "first_row_capped": 4,
    "positive_rows": 4,
    "quantised_mlp": 16,
    "noise": 4,
}


@pytest.mark.parametrize("name", list(COUPLED))
def test_coupled_models_run_alone_and_say_why(engine: anya.Engine, load: Load, name: str) -> None:
    """A model whose rows depend on each other is found out at load, says why, and never shares a run."""
    info = load(name, config=ONE)
    assert not info.batchable and info.max_batch_size == 1
    assert info.batching_note.startswith("runs alone: ")
    assert engine.models()[0].batching_note == info.batching_note
    requests = [{"x": np.abs(floats(1, COUPLED[name], seed=index))} for index in range(16)]
    answers = by_tasks(engine, name, requests)
    if name != "noise":
        for inputs, answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(answer["y"], expected(name, inputs)["y"], rtol=1e-5, atol=1e-6)
    assert stats_of(engine, name).batches == 16


def test_the_user_may_overrule(engine: anya.Engine, load: Load) -> None:
    """force=True batches a coupled model, and models() says that it was told to."""
    forced = anya.BatchingConfig(force=True, max_in_place_microseconds=0)
    info = load("centred", config=anya.ModelConfig(instances=1, batching=forced))
    assert info.batchable
    assert "force" in info.batching_note
    by_tasks(engine, "centred", [{"x": floats(1, 4, seed=index)} for index in range(16)])
    assert stats_of(engine, "centred").batches < 16


def test_max_batch_size_of_one_turns_batching_off(engine: anya.Engine, load: Load) -> None:
    """With max_batch_size=1 every request runs by itself."""
    load("unnamed_batch", config=anya.ModelConfig(batching=anya.BatchingConfig(max_batch_size=1)))
    by_tasks(engine, "unnamed_batch", [{"x": floats(1, 3)}] * 10)
    assert stats_of(engine, "unnamed_batch").batches == 10


@pytest.mark.parametrize("ask_all", [by_submit, by_tasks])
@pytest.mark.parametrize("culprits", [{0}, {5}, {11}, {2, 3, 9}])
def test_only_the_culprit_fails(engine: anya.Engine, load: Load, ask_all: AskAll, culprits: set[int]) -> None:
    """A request that breaks its batch fails alone: the others get their rows, and a split is counted."""
    load("poison", config=ONE)
    good = [np.array([index % POISON_ROWS], np.int64) for index in range(12)]
    requests = [{"i": np.array([POISON_ROWS], np.int64) if n in culprits else i} for n, i in enumerate(good)]

    async def gathered() -> list[Any]:
        asked = (engine.infer_async("poison", inputs) for inputs in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    if ask_all is by_tasks:
        outcomes = asyncio.run(gathered())
    else:
        futures = [engine.submit("poison", inputs) for inputs in requests]
        outcomes = [future.exception(HUNG) or future.result() for future in futures]
    for index, outcome in enumerate(outcomes):
        if index in culprits:
            assert type(outcome) is anya.ExecutionError
            assert "poison" in str(outcome) and "10" in str(outcome)
        else:
            np.testing.assert_array_equal(outcome["y"], expected("poison", requests[index])["y"])
    stats = stats_of(engine, "poison")
    assert (stats.ended["OK"], stats.ended["EXECUTION_ERROR"]) == (12 - len(culprits), len(culprits))
    if ask_all is by_tasks:
        assert stats.splits > 0


def test_the_queue_has_an_end(engine: anya.Engine, load: Load) -> None:
    """One request more than max_queue_size is Overloaded at once, with the numbers; it counts as refused."""
    load("slow", config=anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_queue_size=4)))
    with busy(engine):
        waiting = [engine.submit("slow", slow_inputs()) for _ in range(4)]
        for ask in (engine.submit, engine.infer):
            with pytest.raises(anya.Overloaded, match="max_queue_size is 4") as caught:
                ask("slow", slow_inputs())
            assert (caught.value.code, caught.value.limit, caught.value.retryable) == ("OVERLOADED", 4, False)
        with pytest.raises(anya.Overloaded):
            asyncio.run(engine.infer_async("slow", slow_inputs()))
    for future in waiting:
        future.result(HUNG)
    stats = stats_of(engine, "slow")
    assert stats.refused["OVERLOADED"] == 3
    assert stats.accepted == 5


def test_higher_priority_runs_first(engine: anya.Engine, load: Load) -> None:
    """Of what waits, the lower number runs first, whatever came first."""
    load("slow", config=anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_batch_size=1)))
    order: list[int] = []
    with busy(engine):
        futures = []
        for priority in (200, 3, 100, 1):
            future = engine.submit("slow", slow_inputs(), priority=priority)
            future.add_done_callback(lambda _, mine=priority: order.append(mine))
            futures.append(future)
    for future in futures:
        future.result(HUNG)
    engine.close()  # joins the thread of the callbacks
    assert order == [1, 3, 100, 200]
