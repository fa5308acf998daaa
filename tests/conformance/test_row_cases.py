# SPDX-License-Identifier: Apache-2.0
"""Batched equals alone, for every operator that has a case: rows in a crowd have the answers that they have alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conformance.cases import Kind, cases, judged
from conformance.crowd import by_tasks, by_threads, wrong_answers
from conformance.plain import PlainError, PlainSession
from conformance.rows import Fit, RowCase, in_pairs, row_cases
from onnx import TensorProto, helper

import anya_engine as anya

#: One instance, and nothing on the event loop's own thread: what comes while it works waits and leaves together.
QUEUED = anya.BatchingConfig(max_in_place_microseconds=0)
CONFIG = anya.ModelConfig(instances=1, batching=QUEUED)
FORCED = anya.ModelConfig(instances=1, batching=anya.BatchingConfig(max_in_place_microseconds=0, force=True))
#: The engine's own promise: what its check at load allows. Another order of additions explains that much.
RTOL, ATOL = CONFIG.batch_check_rtol, CONFIG.batch_check_atol
#: Of the models whose rows may share a run, in hundredths: those that were seen to.
LEAST_SHARED = 90

SHARED_WRONGLY = "rows share runs and should not: known, and listed in test_row_cases.py"

ELIGIBLE = [case for name, case in cases().items() if judged(name).kind is Kind.ELIGIBLE]
#: What the check at load cannot see: it looks at four rows of usual values. Whoever makes it see more takes them out.
UNSEEN = {
    "test_tril_out_neg-first": "a row's answer depends on its place from the eighth row on",
    "test_triu_out_neg_out-first": "a row's answer depends on its place from the eighth row on",
    "test_scatter_elements_with_reduction_min-first": "the first row of a run is changed where it is above 1.1",
}
ROW_CASES = {each.name: each for case in ELIGIBLE for each in row_cases(case)}


@pytest.fixture(scope="module")
def engine() -> Iterator[anya.Engine]:
    """One engine for all cases; each loads its model and unloads it."""
    with anya.Engine() as made:
        yield made


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[Fit, int]]:
    """What became of every case that was asked, and the most rows that one of its runs had."""
    return {}


def answered_alone(session: PlainSession, requests: list[Any]) -> tuple[list[Any], list[Any]]:
    """The requests that plain ONNX Runtime answers, and its answers."""
    asked, answers = [], []
    for inputs in requests:
        try:
            answers.append(session.run(inputs))
        except PlainError:
            continue
        asked.append(inputs)
    return asked, answers


def fit_of(engine: anya.Engine, case: RowCase) -> tuple[Fit, int]:
    """Ask for the rows of a case in crowds, hold that every answer is right, say whether they shared runs."""
    model = case.model()
    try:
        session = PlainSession(model)
    except PlainError:
        return Fit.NOT_LOADED, 0
    requests, wanted = answered_alone(session, case.requests())
    if not requests:
        return Fit.NO_ROW_RUNS, 0
    info = engine.load(case.name, model, config=CONFIG)
    try:
        most = 0
        rtol, atol = (RTOL, ATOL) if info.batchable else (0.0, 0.0)
        if info.batchable:  # then a request may have several rows, and the answer is theirs, one below the other
            requests, wanted = requests + in_pairs(requests), wanted + in_pairs(wanted)
        for ask in (by_tasks, by_threads):
            answers = ask(engine, case.name, requests)
            wrong = wrong_answers([each.outputs for each in answers], wanted, rtol=rtol, atol=atol)
            assert wrong == {}, f"{ask.__name__}: {info.batching_note}"
            most = max(most, *(each.batch_size for each in answers))
    finally:
        engine.unload(case.name)
    return (Fit.TOGETHER if info.batchable else Fit.ALONE), most


def marked(name: str) -> Any:
    """A case, with the mark that it is known to fail, and why, where it is."""
    marks = [pytest.mark.xfail(reason=UNSEEN[name], raises=AssertionError)] if name in UNSEEN else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in ROW_CASES])
def test_a_row_in_a_crowd_has_the_answer_it_has_alone(
    name: str, engine: anya.Engine, seen: dict[str, tuple[Fit, int]]
) -> None:
    """Whatever the engine decides about sharing runs, each row's answer is plain ONNX Runtime's for that row alone."""
    seen[name] = fit_of(engine, ROW_CASES[name])


def test_rows_did_share_runs(seen: dict[str, tuple[Fit, int]], record_counts: Any) -> None:
    """Most of the models whose rows may share a run had a run of more rows than any request, so crowds were crowds."""
    assert len(seen) + len(UNSEEN) == len(ROW_CASES), "run this test with the others of its file"
    counts = Counter(fit for fit, _ in seen.values())
    record_counts(
        "Node cases with a free first axis", {str(fit): counts[fit] for fit in Fit} | {SHARED_WRONGLY: len(UNSEEN)}
    )
    most = [rows for fit, rows in seen.values() if fit is Fit.TOGETHER]
    assert sum(rows > 2 for rows in most) * 100 >= LEAST_SHARED * len(most)


@pytest.mark.parametrize("name", ["test_softmax_axis_0-all", "test_logsoftmax_axis_0-all", "test_mvn-all"])
def test_a_crowd_whose_rows_are_coupled_is_found_out(name: str, engine: anya.Engine) -> None:
    """Forced to share runs, a model whose rows depend on each other gives answers that the comparison refuses."""
    case = ROW_CASES[name]
    requests, wanted = answered_alone(PlainSession(case.model()), case.requests())
    info = engine.load(name, case.model(), config=FORCED)
    try:
        answers = by_tasks(engine, name, requests)
        assert max(each.batch_size for each in answers) > 1, info.batching_note
        assert wrong_answers([each.outputs for each in answers], wanted, rtol=RTOL, atol=ATOL)
    finally:
        engine.unload(name)


@pytest.mark.xfail(
    reason="a stated size that was seen to hold at load is taken for granted", raises=anya.ExecutionError
)
def test_a_stated_size_that_does_not_always_hold_is_no_reason_to_fail(engine: anya.Engine) -> None:
    """A model that gives less than its stated [3, 2] is answered by plain ONNX Runtime, and so by the engine."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Slice", ["x", "from", "to"], ["y"])],
        "graph",
        [value("x", TensorProto.FLOAT, ["rows", 2])],
        [value("y", TensorProto.FLOAT, [3, 2])],
        [helper.make_tensor(name, TensorProto.INT64, [1], [at]) for name, at in (("from", 0), ("to", 3))],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString()
    inputs = {"x": np.ones((2, 2), np.float32)}
    engine.load("short", model)
    try:
        assert wrong_answers([engine.infer("short", inputs)], [PlainSession(model).run(inputs)]) == {}
    finally:
        engine.unload("short")
