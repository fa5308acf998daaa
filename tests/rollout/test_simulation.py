# SPDX-License-Identifier: Apache-2.0
"""Many rollouts against made-up services: how often each ends how. In full: `nox -s rollout-simulation`."""

from __future__ import annotations

import math
import os

import pytest
from rollout.simulation import (
    ClusteredService,
    FixedRatio,
    PooledTest,
    Rate,
    Service,
    constant,
    diurnal,
    incident,
    ours,
    play_many,
)

#: Rollouts of each kind.
MANY = int(os.environ.get("ANYA_ROLLOUTS", "60"))
ALPHA = 0.01


def most(chance: float, rollouts: int) -> float:
    """Return a count that an event of at most this chance stays under but for one time in a thousand, about."""
    return rollouts * chance + 3 * math.sqrt(rollouts * chance * (1 - chance)) + 1


ALIKE: dict[str, Rate] = {
    "no errors": constant(0.0),
    "1 in 10 000": constant(0.0001),
    "1 in 1000": constant(0.001),
    "1 in 100": constant(0.01),
    "1 in 20": constant(0.05),
    "by the hour": diurnal(0.01),
    "a shared incident late": incident(0.01, begin=450, end=570, times=10),
    "a shared incident early": incident(0.01, begin=20, end=80, times=10),
}


@pytest.mark.parametrize("rate", ALIKE.values(), ids=ALIKE.keys())
def test_versions_that_are_alike_are_promoted(rate: Rate) -> None:
    """False rollbacks stay below alpha, whatever happens to both; nearly all the rest is promoted."""
    ends, _ = play_many(ours(alpha=ALPHA), lambda: Service(rate, rate), rollouts=MANY)
    assert ends["rolled_back"] <= most(ALPHA, MANY)
    assert ends["promoted"] >= 0.9 * MANY


@pytest.mark.parametrize("base", [0.01, 0.05])
def test_twice_the_errors_is_found(base: float) -> None:
    """Twice the share of errors: 95 of 100 are rolled back, none is promoted."""
    ends, lasted = play_many(ours(), lambda: Service(constant(base), constant(2 * base)), rollouts=MANY)
    assert ends["rolled_back"] >= 0.95 * MANY - 1
    assert ends["promoted"] == 0
    assert sorted(lasted)[MANY // 2] < 1500


def test_ten_times_a_rare_error_is_found() -> None:
    """Ten times one in a thousand is found by about five errors."""
    ends, _ = play_many(ours(), lambda: Service(constant(0.001), constant(0.01)), rollouts=MANY)
    assert ends["rolled_back"] >= 0.95 * MANY - 1


def test_a_better_version_is_never_stopped() -> None:
    """The judge looks one way."""
    ends, _ = play_many(ours(), lambda: Service(constant(0.05), constant(0.01)), rollouts=MANY)
    assert ends["rolled_back"] == 0


def test_silence_promotes_nothing() -> None:
    """Without requests no step ends but by its time, and then the canary waits for somebody."""
    ends, lasted = play_many(
        ours(max_step_duration=300.0), lambda: Service(constant(0), constant(0), per_second=0.0), rollouts=3
    )
    assert ends == {"paused": 3}
    assert set(lasted) == {300}


def test_a_user_for_whom_everything_fails_speaks_once() -> None:
    """Errors in bursts of twenty by key: counted once by key, false rollbacks stay below alpha."""
    ends, _ = play_many(ours(), lambda: ClusteredService(0.02, 20), rollouts=MANY)
    assert ends["rolled_back"] <= most(ALPHA, MANY)


def test_equal_latencies_that_drift_together_are_promoted() -> None:
    """A machine that is slower for both at times is nobody's fault."""
    rule = ours(metrics=("errors", "latency"))
    rollouts = max(10, MANY // 4)
    ends, _ = play_many(rule, lambda: Service(constant(0.001), constant(0.001), stretch=1.0), rollouts=rollouts)
    assert ends["rolled_back"] <= most(ALPHA, rollouts)
    assert ends["promoted"] >= 0.9 * rollouts


def test_a_fifth_slower_is_found() -> None:
    """Runs that take 1.2 times as long are found, beyond the tolerance."""
    rule = ours(metrics=("errors", "latency"))
    rollouts = max(10, MANY // 4)
    ends, _ = play_many(rule, lambda: Service(constant(0.001), constant(0.001), stretch=1.2), rollouts=rollouts)
    assert ends["rolled_back"] >= 0.95 * rollouts - 1
    assert ends["promoted"] == 0


def test_the_pooled_test_fails_where_ours_stands() -> None:
    """A z-test over pooled counts blames the new version for an incident of both (Simpson's paradox)."""
    rate = incident(0.01, begin=2200, end=2400, times=10)
    ends, _ = play_many(PooledTest, lambda: Service(rate, rate), rollouts=MANY)
    assert ends["rolled_back"] > 0.5 * MANY


def test_the_fixed_ratio_fails_where_ours_stands() -> None:
    """A limit of 1.5 times the errors by the minute stops most versions that are alike."""
    ends, _ = play_many(FixedRatio, lambda: Service(constant(0.01), constant(0.01)), rollouts=MANY)
    assert ends["rolled_back"] > 0.5 * MANY


def test_counting_every_error_fails_where_ours_stands() -> None:
    """The same bursts, counted by request, stop far more than alpha."""
    ends, _ = play_many(ours(), lambda: ClusteredService(0.02, 20, once=False), rollouts=MANY)
    assert ends["rolled_back"] > 0.1 * MANY
