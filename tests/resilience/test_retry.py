# SPDX-License-Identifier: Apache-2.0
"""_retry.py: how long to wait, and how many retries there are in hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anya_engine._retry import RetryBudget, backoff
from anya_engine.errors import ConfigError
from anya_engine.resilience import RetryPolicy


@pytest.mark.parametrize(
    ("attempt", "draw", "wait"),
    [
        (1, 0.0, 0.0),
        (1, 0.5, 0.0125),
        (1, 0.999, 0.024975),
        (2, 0.5, 0.025),
        (3, 0.5, 0.05),
        (6, 1.0, 0.8),
        (7, 1.0, 1.0),
        (100_000, 1.0, 1.0),
    ],
)
def test_the_bound_doubles_up_to_the_longest_and_the_wait_is_drawn_below_it(
    attempt: int, draw: float, wait: float
) -> None:
    """Full jitter: from nothing to 25 ms, 50 ms, 100 ms, at most a second."""
    assert backoff(RetryPolicy(), attempt, draw) == pytest.approx(wait)


def test_waits_differ() -> None:
    """Chance decides the whole wait: who failed together does not come back together."""
    waits = {backoff(RetryPolicy(), 3, draw / 16) for draw in range(16)}
    assert len(waits) == 16
    assert min(waits) == 0.0 and max(waits) > 0.09


def test_a_burst_is_in_hand_and_each_ten_answers_pay_for_one_more() -> None:
    """Ten retries at first; then one for every ten answers, however they are counted; never more than ten."""
    budget = RetryBudget(RetryPolicy())
    assert [budget.take(0) for _ in range(11)] == [True] * 10 + [False]
    assert [budget.take(count) for count in (5, 9, 10, 11, 19, 20)] == [False, False, True, False, False, True]
    assert budget.pay(10_000) == 10
    assert budget.pay(9_000) == 10  # a version that was loaded again counts from nothing
    assert budget.take(9_000)


def test_without_a_budget_the_burst_is_all() -> None:
    """budget=0: nothing is ever paid in."""
    budget = RetryBudget(RetryPolicy(budget=0, burst=2))
    assert [budget.take(1_000_000) for _ in range(3)] == [True, True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=60))
def test_retries_never_exceed_what_was_paid_for(steps: list[tuple[bool, int]]) -> None:
    """Whatever happens in whatever order: retries <= burst + budget * successes."""
    policy = RetryPolicy(burst=3, budget=0.25)
    budget = RetryBudget(policy)
    successes = retries = 0
    for wants, more in steps:
        successes += more
        retries += wants and budget.take(successes)
        assert retries <= policy.burst + policy.budget * successes + 1e-6


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("max_attempts", {"max_attempts": 0}),
        ("initial_backoff", {"initial_backoff": -1}),
        ("max_backoff", {"max_backoff": 0.01}),
        ("multiplier", {"multiplier": 0.5}),
        ("budget", {"budget": 2}),
        ("burst", {"burst": 0}),
        ("burst", {"burst": 1.5}),
    ],
)
def test_a_policy_that_cannot_be_is_refused(field: str, values: dict[str, float]) -> None:
    """The refusal names the field."""
    with pytest.raises(ConfigError) as caught:
        RetryPolicy(**values)  # type: ignore[arg-type]
    assert caught.value.field == field
