# SPDX-License-Identifier: Apache-2.0
"""The node cases of the package `onnx`: what plain ONNX Runtime answers, the engine answers, in every way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from conformance.cases import Case, Kind, cases, judged
from conformance.compare import differences
from conformance.crowd import HUNG

import anya_engine as anya

#: In hundredths of all. Releases of `onnx` and of ONNX Runtime move cases from kind to kind; what must not happen
#: unseen is that the eligible ones melt away.
LEAST_ELIGIBLE = 75


@pytest.fixture(scope="module")
def engine() -> Iterator[anya.Engine]:
    """One engine for all cases; each loads its model and unloads it."""
    with anya.Engine() as made:
        yield made


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for all cases."""
    with asyncio.Runner() as runner:
        yield runner


def ask_every_way(engine: anya.Engine, loop: asyncio.Runner, name: str, inputs: Any) -> Iterator[tuple[str, Any]]:
    """The answers to a request asked alone and, in each other way, in company of itself."""
    yield "infer", engine.infer(name, inputs)
    for future in [engine.submit(name, inputs) for _ in range(3)]:
        yield "submit", future.result(HUNG)

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(engine.infer_async(name, inputs) for _ in range(3)))

    for answer in loop.run(gathered()):
        yield "infer_async", answer


def answers_like(engine: anya.Engine, loop: asyncio.Runner, case: Case, answer: Any) -> None:
    """Hold that the engine's answers are plain ONNX Runtime's, to the bit."""
    for way, got in ask_every_way(engine, loop, case.name, case.inputs):
        assert differences(got, answer) == "", f"{way} differs from plain ONNX Runtime"
        assert list(got) == list(answer), "the outputs come in another order than the model's"


def answered_in_form(engine: anya.Engine, case: Case) -> None:
    """Hold that a random answer has the outputs, types and shapes that the case wants."""
    got = engine.infer(case.name, case.inputs)
    assert {name: (each.dtype, each.shape) for name, each in got.items()} == {
        name: (each.dtype, each.shape) for name, each in case.outputs.items()
    }


@pytest.mark.parametrize("name", list(cases()))
def test_the_engine_answers_what_plain_onnx_runtime_answers(
    name: str, engine: anya.Engine, loop: asyncio.Runner
) -> None:
    """An eligible case gets its answer, and to the bit plain ONNX Runtime's; what cannot be run, a typed error."""
    case, verdict = cases()[name], judged(name)
    if not verdict.loaded or verdict.kind in {Kind.NO_TENSOR, Kind.UNLISTED}:
        with pytest.raises(anya.ModelInvalid):
            engine.load(name, case.model)
        return
    engine.load(name, case.model)
    try:
        if verdict.answer is not None:
            answers_like(engine, loop, case, verdict.answer)
        elif verdict.kind is Kind.RANDOM:
            answered_in_form(engine, case)
        else:
            assert verdict.kind in {Kind.EMPTY, Kind.NOT_RUN}
            with pytest.raises(anya.InvalidInput if verdict.kind is Kind.EMPTY else anya.ExecutionError):
                engine.infer(name, case.inputs)
        if verdict.kind is Kind.ELIGIBLE:
            wanted = engine.infer(name, case.inputs)
            assert differences(wanted, case.outputs, rtol=case.rtol, atol=case.atol) == ""
    finally:
        engine.unload(name)


def test_most_cases_are_eligible(record_counts: Any) -> None:
    """Three quarters of the cases at least are answered as they want; the others are counted by one reason each."""
    counts = Counter(judged(name).kind for name in cases())
    record_counts("Node cases of the package onnx", {str(kind): counts[kind] for kind in Kind})
    assert counts[Kind.ELIGIBLE] * 100 >= LEAST_ELIGIBLE * len(cases())
