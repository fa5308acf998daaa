# SPDX-License-Identifier: Apache-2.0
"""What an engine does about failures, by every way to ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.failures import QUICK, X, failing_once
from python.support import Ask, assert_at_rest, every_way, said, stats_of, until

import anya_engine as anya
from anya_engine import testing


def detailed(engine: anya.Engine, *arguments: Any, **more: Any) -> anya.Response:
    """The answer, with how it came about."""
    return engine.infer_detailed(*arguments, **more)


def detailed_async(engine: anya.Engine, *arguments: Any, **more: Any) -> anya.Response:
    """Likewise, from a loop of its own."""
    return asyncio.run(engine.infer_detailed_async(*arguments, **more))


both_details = pytest.mark.parametrize("ask", [detailed, detailed_async])


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged of attempts and circuits, as data, when called."""
    with caplog.at_level(logging.INFO, "anya_engine"):
        yield lambda: [
            record.anya
            for record in said(caplog)
            if getattr(record, "anya", {"event": ""})["event"] in ("attempt", "circuit")
        ]


@every_way
def test_a_failed_run_is_tried_again(
    guarded: Callable[..., anya.Engine], ask: Ask, monkeypatch: pytest.MonkeyPatch, records: Any
) -> None:
    """One failure, one wait, one answer; one record for each attempt, and the counters agree."""
    engine = guarded(retry=QUICK)
    waits = failing_once(engine, monkeypatch)
    np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
    assert waits == [0.5]
    first, second = records()
    assert (first["attempt"], first["error"], first["next"], first["model"]) == (1, "EXECUTION_ERROR", "retry", "m")
    assert (first["backoff"], first["budget"]) == (0.0005, 9.0)
    assert (second["attempt"], second["error"]) == (2, "OK")
    (resilience,) = engine.stats().resilience
    assert resilience.attempts == {(1, "error"): 1, (2, "ok"): 1}
    assert stats_of(engine, "m").ended["EXECUTION_ERROR"] == stats_of(engine, "m").ended["OK"] == 1


@both_details
def test_what_was_tried_is_told(guarded: Callable[..., anya.Engine], ask: Callable[..., anya.Response]) -> None:
    """Twice the model, then the fallback: in order, each with its error; and who answered."""
    engine = guarded(retry=anya.RetryPolicy(max_attempts=2, initial_backoff=0), fallback=("simple",))
    with testing.inject(engine, "m", error=anya.OutOfMemory):
        response = ask(engine, "m", X)
    assert (response.served_by, response.version, response.degraded, response.from_cache) == (
        "simple",
        "1",
        True,
        False,
    )
    tried = [(attempt.model, type(attempt.error).__name__) for attempt in response.attempts]
    assert tried == [("m", "OutOfMemory"), ("m", "OutOfMemory"), ("simple", "NoneType")]
    np.testing.assert_array_equal(response.outputs["y"], X + X)
    response = ask(engine, "m", X)
    assert (response.served_by, response.degraded, len(response.attempts)) == ("m", False, 1)


@every_way
def test_an_exhausted_chain_raises_the_first_class_with_all_that_was_tried(
    guarded: Callable[..., anya.Engine], ask: Ask
) -> None:
    """Two models that fail: the class is that of the first, the sentence and `.attempts` have both."""
    engine = guarded(fallback=("simple",))
    with (
        testing.inject(engine, "m", error=anya.OutOfMemory),
        testing.inject(engine, "simple", error=anya.ExecutionError),
        pytest.raises(anya.OutOfMemory) as caught,
    ):
        ask(engine, "m", X)
    assert [(a.model, a.error.code) for a in caught.value.attempts] == [
        ("m", "OUT_OF_MEMORY"),
        ("simple", "EXECUTION_ERROR"),
    ]
    assert "tried: 1. m:1: OUT_OF_MEMORY; 2. simple:1: EXECUTION_ERROR" in str(caught.value)


@every_way
def test_degraded_answers_may_be_refused(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """allow_degraded=False: retries are fine, another model's answer is not."""
    engine = guarded(fallback=("simple", anya.Default({"y": 1.0})))
    with testing.inject(engine, "m", error=anya.ExecutionError), pytest.raises(anya.ExecutionError):
        ask(engine, "m", X, allow_degraded=False)
    np.testing.assert_array_equal(ask(engine, "m", X, allow_degraded=False)["y"], X + X)


@every_way
def test_bad_input_is_neither_retried_nor_handed_on(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """The request's own fault ends it at once; nothing is counted as an attempt."""
    engine = guarded(retry=QUICK, fallback=("simple", anya.Default({"y": 1.0})))
    with pytest.raises(anya.InvalidInput):
        ask(engine, "m", np.zeros((2, 3), np.int8))
    assert stats_of(engine, "simple").accepted == 0
    assert stats_of(engine, "m").refused["INVALID_INPUT"] == 1


def test_retries_end_with_the_budget(guarded: Callable[..., anya.Engine]) -> None:
    """All fail: as many retries as the burst has, then none; answers pay for more."""
    engine = guarded(retry=anya.RetryPolicy(max_attempts=2, initial_backoff=0, burst=3, budget=0.5))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        for _ in range(10):
            with pytest.raises(anya.ExecutionError):
                engine.infer("m", X)
        assert stats_of(engine, "m").ended["EXECUTION_ERROR"] == 13
    for _ in range(4):
        engine.infer("m", X)
    (resilience,) = engine.stats().resilience
    assert resilience.budget_tokens == 2.0


@every_way
def test_defaults_have_the_shape_of_the_answer(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """A number for every element of every row; the type is the output's."""
    engine = guarded(fallback=(anya.Default({"y": 7}),))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        answer = ask(engine, "m", X)
    assert answer["y"].dtype == np.float32
    np.testing.assert_array_equal(answer["y"], np.full((2, 3), 7))
    assert answer["y"].flags.writeable


@every_way
def test_what_a_users_default_raises_is_that_links_error(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """The next link answers; without one the first error is raised, and the list has the exception's words."""

    def broken(inputs: Any) -> Any:
        assert list(inputs) == ["x"]
        raise ZeroDivisionError("oh")

    engine = guarded(fallback=(anya.Default(broken), anya.Default({"y": 1})))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        np.testing.assert_array_equal(ask(engine, "m", X)["y"], np.ones((2, 3)))
    engine.load("other", MODELS["unnamed_batch"](), config=anya.ModelConfig(fallback=(anya.Default(broken),)))
    with testing.inject(engine, "other", error=anya.ExecutionError), pytest.raises(anya.ExecutionError) as caught:
        ask(engine, "other", X)
    assert "ZeroDivisionError: oh" in str(caught.value)


@every_way
def test_a_fallback_with_other_names(engine: anya.Engine, ask: Ask) -> None:
    """Inputs and outputs are mapped; what the other does not take is left out, what nobody wants is not asked for."""
    link = anya.Fallback("simple", inputs={"x": "a"}, outputs={"sum": "y", "diff": "y"})
    engine.load("simple", MODELS["unnamed_batch"]())
    engine.load("two", MODELS["two_inputs"](), config=anya.ModelConfig(fallback=(link,)))
    inputs = {"a": X, "b": X + 1}
    with testing.inject(engine, "two", error=anya.ExecutionError):
        for outputs in (None, ["diff"]):
            answer = ask(engine, "two", inputs, outputs=outputs)
            assert list(answer) == (outputs or ["sum", "diff"])
            np.testing.assert_array_equal(answer["diff"], X + X)


@pytest.mark.parametrize(
    ("fallback", "field"),
    [
        ((anya.Fallback("simple", outputs={"y": "z"}),), "fallback[0].outputs.y"),
        ((anya.Default({"z": 1}),), "fallback[0].outputs.y"),
        ((anya.Default({"y": [[1, 2]]}),), "fallback[0].outputs.y"),
        ((anya.Default({"y": "text"}),), "fallback[0].outputs.y"),
        (("m",), "models.m.fallback"),
    ],
)
def test_a_chain_that_does_not_fit_the_model_is_refused_at_load(engine: anya.Engine, fallback: Any, field: str) -> None:
    """Outputs that do not match, a default that cannot be broadcast, a model that stands in for itself."""
    engine.load("simple", MODELS["unnamed_batch"]())
    with pytest.raises(anya.ConfigError) as caught:
        engine.load("m", MODELS["unnamed_batch"](), config=anya.ModelConfig(fallback=fallback))
    assert caught.value.field == field
    assert [model.name for model in engine.models()] == ["simple"]


@every_way
def test_a_fallback_that_is_not_there_is_passed(engine: anya.Engine, ask: Ask) -> None:
    """Nobody has loaded it, or it has other outputs by now: the next link answers."""
    engine.load("m", MODELS["unnamed_batch"](), config=anya.ModelConfig(fallback=("gone", anya.Default({"y": 1}))))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        np.testing.assert_array_equal(ask(engine, "m", X)["y"], np.ones((2, 3)))
        engine.load("gone", MODELS["poison"]())
        np.testing.assert_array_equal(ask(engine, "m", X)["y"], np.ones((2, 3)))


@every_way
def test_the_version_that_serves_stands_in_for_a_canary(engine: anya.Engine, ask: Ask) -> None:
    """A canary's failure is the stable version's answer, and no degraded one; the judge sees the failure."""
    config = anya.ModelConfig(breaker=anya.BreakerPolicy())
    engine.load("m", MODELS["unnamed_batch"](), config=config)
    engine.load("m", MODELS["unnamed_batch"](), config=config)
    engine.deploy("m", "2", anya.Canary(steps=(99.99,)))
    with testing.inject(engine, "m", error=anya.ExecutionError, version="2"):
        for key in range(20):
            np.testing.assert_array_equal(ask(engine, "m", X, key=key, allow_degraded=False)["y"], X + X)
    assert stats_of(engine, "m", "2").ended["EXECUTION_ERROR"] >= 15
    engine.rollback("m")


@every_way
def test_an_open_breaker_refuses_and_the_chain_answers(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """Twenty failures open it: the model is asked no more, its fallback answers, health and status say so."""
    engine = guarded(breaker=anya.BreakerPolicy(open_duration=1000, max_open_duration=1000), fallback=("simple",))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        for _ in range(20):
            ask(engine, "m", X)
    assert engine.status("m").circuits["1"].state == "open"
    before = stats_of(engine, "m").accepted
    for _ in range(5):
        np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
    assert stats_of(engine, "m").accepted == before
    assert stats_of(engine, "m").refused["UNAVAILABLE"] == 5
    (resilience,) = engine.stats().resilience
    assert resilience.fallbacks == {("simple", "EXECUTION_ERROR"): 20, ("simple", "UNAVAILABLE"): 5}
    assert engine.health().ready and "open" in engine.health().models["m"].reason
    with pytest.raises(anya.Unavailable, match="circuit breaker is open"):
        ask(engine, "m", X, allow_degraded=False)


@every_way
def test_bad_input_is_bad_input_though_the_breaker_is_open(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """No default answers a question that nobody could."""
    breaker = anya.BreakerPolicy(window=2, minimum_calls=2, open_duration=3600.0, max_open_duration=3600.0)
    engine = guarded(breaker=breaker, fallback=("simple", anya.Default({"y": 0})))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        for _ in range(2):
            ask(engine, "m", X)
    assert engine.status("m").circuits["1"].state == "open"
    with pytest.raises(anya.InvalidInput):
        ask(engine, "m", X.astype(np.int64))
    np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)


def test_a_breaker_closes_when_its_probes_are_well(guarded: Callable[..., anya.Engine], records: Any) -> None:
    """Open, half open, closed: each change is one record, whoever looks."""
    engine = guarded(breaker=anya.BreakerPolicy(minimum_calls=2, window=4, open_duration=0.001, probes=2))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        for _ in range(2):
            with pytest.raises(anya.ExecutionError):
                engine.infer("m", X)
    assert not engine.health().models["m"].ready

    def is_closed() -> bool:
        try:
            engine.infer("m", X)
        except anya.Unavailable:
            return False
        return engine.status("m").circuits["1"].state == "closed"

    until(is_closed, "closing")
    assert engine.health().ready
    engine.stats()
    assert [record["state"] for record in records() if record["event"] == "circuit"] == ["open", "half_open", "closed"]


def test_metrics_of_failures(guarded: Callable[..., anya.Engine]) -> None:
    """Attempts, fallbacks, the budget and the breaker's state, by the names that the documentation has."""
    engine = guarded(
        retry=anya.RetryPolicy(max_attempts=2, initial_backoff=0), breaker=anya.BreakerPolicy(), fallback=("simple",)
    )
    with testing.inject(engine, "m", error=anya.ExecutionError):
        engine.infer("m", X)
    samples = {
        (sample.name, *(sample.labels.get(key, "") for key in ("attempt", "result", "to", "reason"))): sample.value
        for family in engine.collector().collect()
        for sample in family.samples
        if sample.labels.get("model") == "m"
    }
    assert samples["anya_attempts_total", "1", "error", "", ""] == 1
    assert samples["anya_attempts_total", "2", "fallback", "", ""] == 1
    assert samples["anya_fallbacks_total", "", "", "simple", "EXECUTION_ERROR"] == 1
    assert samples["anya_retry_budget_tokens", "", "", "", ""] == 9.0
    assert samples["anya_circuit_state", "", "", "", ""] == 0


def test_a_name_without_policies_has_nothing_of_all_this(engine: anya.Engine) -> None:
    """What answers is the core's model itself."""
    engine.load("m", MODELS["unnamed_batch"]())
    assert engine._models.serving["m"] is engine._models.loaded["m", "1"]
    assert engine.stats().resilience == ()
    assert_at_rest(engine)


def test_a_fallback_that_is_not_loaded_shows_in_health(engine: anya.Engine) -> None:
    """A chain's model that is not there, a typo perhaps, is a reason in `health()` before anything fails."""
    engine.load("m", MODELS["tiny"](), config=anya.ModelConfig(fallback=("spare",)))
    health = engine.health().models["m"]
    assert health.ready and "'spare'" in health.reason
    engine.load("spare", MODELS["tiny"]())
    assert engine.health().models["m"].reason == ""
