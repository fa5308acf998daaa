# SPDX-License-Identifier: Apache-2.0
"""_fallback.py: what is tried after a failure, in which order, and when that ends."""

from __future__ import annotations

import math
from typing import Any

import pytest

from anya_engine import errors
from anya_engine._fallback import Ask, GiveUp, Recovery, Retry, Stable, check_cycles
from anya_engine.config import EngineConfig, ModelConfig
from anya_engine.errors import AnyaError, ConfigError
from anya_engine.resilience import Default, Fallback, LastGood, RetryPolicy

SIMPLE, LAST, ZERO = Fallback("simple"), LastGood(), Default({"y": 0.0})
LINKS = (Stable(), SIMPLE, LAST, ZERO)
POLICY = RetryPolicy(max_attempts=3, initial_backoff=1.0, max_backoff=1.0)
RUN, LATE = errors.ExecutionError(""), errors.DeadlineExceeded("")


def after(
    failures: list[Exception],
    *,
    links: tuple[Any, ...] = LINKS,
    policy: RetryPolicy | None = POLICY,
    deadline: float = math.inf,
    now: float = 0.0,
    expected: float = 0.0,
    tokens: int = 100,
) -> list[Any]:
    """What is done after each of these failures in a row; each draw is a half, each failure takes no time."""
    recovery = Recovery(policy, links, deadline)
    left = [tokens]

    def take() -> bool:
        left[0] -= 1
        return left[0] >= 0

    return [recovery.failed(error, now, 0.5, expected, take) for error in failures]


def test_the_whole_order() -> None:
    """Twice the same again, then the version that serves, then the links as they stand, then the end."""
    steps = after([RUN] * 7)
    assert steps == [Retry(0.5), Retry(0.5), Ask(Stable()), Ask(SIMPLE), Ask(LAST), Ask(ZERO), GiveUp()]


@pytest.mark.parametrize(
    ("error", "retried", "chained"),
    [
        (errors.ExecutionError, True, True),
        (errors.OutOfMemory, True, True),
        (errors.ModelOutputInvalid, False, True),
        (errors.Overloaded, False, True),
        (errors.Unavailable, False, True),
        (errors.DeadlineExceeded, False, True),
        (errors.InvalidInput, False, False),
        (errors.InputTooLarge, False, False),
        (errors.Cancelled, False, False),
        (errors.ModelNotFound, False, False),
        (errors.UntrustedKey, False, False),
        (errors.ConfigError, False, False),
        (ZeroDivisionError, False, False),
    ],
)
def test_what_each_error_leads_to(error: type[Exception], retried: bool, chained: bool) -> None:
    """Only a failed run is tried again; the chain is for what the request itself has not done wrong."""
    assert isinstance(after([error("")])[0], Retry) == retried
    assert isinstance(after([error("")], policy=None)[0], Ask) == chained
    assert after([error("")], policy=None, links=()) == [GiveUp()]


def test_every_class_has_its_row() -> None:
    """The table above says the same as the classes do themselves."""
    for name in errors.__all__:
        cls = getattr(errors, name)
        if isinstance(cls, type) and issubclass(cls, AnyaError):
            assert isinstance(after([cls("")])[0], Retry) == cls.retryable
            chained = cls.starts_fallback or issubclass(cls, errors.DeadlineExceeded)
            assert isinstance(after([cls("")], policy=None)[0], Ask) == chained


def test_time_over_leaves_what_needs_no_run() -> None:
    """After DeadlineExceeded, and once the time is over for another reason: a cached or default answer, no model."""
    assert after([LATE] * 3) == [Ask(LAST), Ask(ZERO), GiveUp()]
    assert after([RUN] * 3, deadline=10.0, now=10.0) == [Ask(LAST), Ask(ZERO), GiveUp()]
    assert after([errors.Overloaded(""), LATE, RUN, RUN]) == [Ask(Stable()), Ask(LAST), Ask(ZERO), GiveUp()]


@pytest.mark.parametrize(
    ("left", "expected", "retried"), [(0.4, 0.0, False), (0.6, 0.0, True), (0.6, 0.2, False), (0.8, 0.2, True)]
)
def test_no_attempt_that_cannot_finish(left: float, expected: float, retried: bool) -> None:
    """A wait of half a second and the run must fit into what is left."""
    step = after([RUN], deadline=100.0, now=100.0 - left, expected=expected)[0]
    assert isinstance(step, Retry) == retried


def test_an_attempt_that_would_not_be_made_is_not_paid_for() -> None:
    """The budget is asked last: neither a deadline nor the number of attempts costs a token."""
    tokens = [5]

    def take() -> bool:
        tokens[0] -= 1
        return True

    Recovery(POLICY, (), 10.0).failed(RUN, 9.9, 0.5, 0.0, take)
    assert tokens == [5]
    recovery = Recovery(POLICY, (), 10.0)
    for _ in range(4):
        recovery.failed(RUN, 0.0, 0.5, 0.0, take)
    assert tokens == [3]


def test_without_a_token_the_chain_comes_at_once() -> None:
    """An empty budget is no end: the next link costs the failing version nothing."""
    assert after([RUN] * 2, tokens=0) == [Ask(Stable()), Ask(SIMPLE)]


def test_a_link_that_does_not_understand_the_question_is_passed() -> None:
    """For links after the first, bad input is their own fault; only who asked can end the chain."""
    steps = after([errors.Unavailable(""), errors.InvalidInput(""), ZeroDivisionError(), errors.Cancelled("")])
    assert steps == [Ask(Stable()), Ask(SIMPLE), Ask(LAST), GiveUp()]


@pytest.mark.parametrize(
    ("chains", "circle"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"x": ["a"], "a": ["z", "b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
    ],
)
def test_circles_are_refused(chains: dict[str, list[str]], circle: tuple[str, ...]) -> None:
    """At configuration, with the way round."""
    with pytest.raises(ConfigError) as caught:
        EngineConfig(models={name: ModelConfig(fallback=models) for name, models in chains.items()})  # type: ignore[arg-type]
    assert caught.value.value == circle
    assert " -> ".join(circle) in str(caught.value)


def test_what_is_no_circle_passes() -> None:
    """Two ways to one model, a model nobody has configured, and a chain longer than Python's stack."""
    many = {f"m{n}": (Fallback(f"m{n + 1}"), Fallback("end")) for n in range(300)}
    check_cycles(many)
    check_cycles({"a": (Fallback("b"), Fallback("c")), "b": (Fallback("c"),), "d": ()})


@pytest.mark.parametrize(
    ("chain", "field"),
    [
        ("simple", "fallback"),
        (7, "fallback"),
        ((7,), "fallback[0]"),
        (("",), "fallback[0].model"),
        (("a", "a"), "fallback[1]"),
        ((ZERO, "a"), "fallback[1]"),
        ((LAST,), "fallback"),
        (({"model": "a", "input": {}},), "fallback[0].input"),
        (({"last_good": {"max_age": -1}},), "fallback[0].max_age"),
        (({"default": {}},), "fallback[0].outputs"),
        (({"default": {"y": None}},), "fallback[0].outputs.y"),
        (({"else": 1},), "fallback[0]"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(chain: Any, field: str) -> None:
    """The refusal says which link, and what of it."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig(fallback=chain)
    assert caught.value.field == field


def test_a_default_answers_always_so_nothing_comes_after_it() -> None:
    """But a function may fail, and then the next link has its turn."""
    links = (Default(lambda _: {}), ZERO)
    assert ModelConfig(fallback=links).links == links
