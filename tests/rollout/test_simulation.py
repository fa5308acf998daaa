# SPDX-License-Identifier: Apache-2.0
"""Many rollouts against made-up services: how often each ends how. In full: `nox -s rollout-simulation`.

The seeds are fixed. At full size each promise is held to the letter; at the size of a test run chance has its due. Each
scenario prints how its rollouts ended.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from rollout.simulation import (
    ClusteredService,
    FixedRatio,
    PooledTest,
    Rate,
    Rule,
    Service,
    constant,
    diurnal,
    incident,
    ours,
    play_many,
)

Played: TypeAlias = Callable[..., tuple[Counter[str], list[int]]]
#: Rollouts of each kind.
MANY = int(os.environ.get("ANYA_ROLLOUTS", "60"))
ALPHA = 0.01


FULL = MANY >= 1000
#: Those with durations take longer to draw.
FEWER = MANY if FULL else MANY // 4


def most(chance: float, ends: Counter[str]) -> float:
    """Return a count that an event of at most this chance stays under; few rollouts get three standard deviations."""
    rollouts = ends.total()
    return rollouts * chance + (0.0 if FULL else 3 * math.sqrt(rollouts * chance * (1 - chance)) + 1)


def least(chance: float, ends: Counter[str]) -> float:
    """Return a count that an event of at least this chance reaches."""
    return ends.total() * chance - (0 if FULL else 1)


@pytest.fixture
def played(request: pytest.FixtureRequest) -> Played:
    """Play many rollouts and say how they ended."""

    def play(
        rule: Callable[[], Rule], service: Callable[[], Any], rollouts: int = MANY
    ) -> tuple[Counter[str], list[int]]:
        ends, lasted = play_many(rule, service, rollouts=rollouts)
        shares = ", ".join(f"{end} {count} ({count / rollouts:.2%})" for end, count in sorted(ends.items()))
        print(f"\n{request.node.name}: {rollouts} rollouts: {shares}; median {sorted(lasted)[rollouts // 2]} s")
        return ends, lasted

    return play


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
def test_versions_that_are_alike_are_promoted(played: Played, rate: Rate) -> None:
    """False rollbacks stay below alpha, whatever happens to both; nearly all the rest is promoted."""
    ends, _ = played(ours(alpha=ALPHA), lambda: Service(rate, rate))
    assert ends["rolled_back"] <= most(ALPHA, ends)
    assert ends["promoted"] >= 0.9 * ends.total()


@pytest.mark.parametrize("base", [0.01, 0.05])
def test_twice_the_errors_is_found(played: Played, base: float) -> None:
    """Twice the share of errors: 95 of 100 are rolled back, none is promoted."""
    ends, lasted = played(ours(), lambda: Service(constant(base), constant(2 * base)))
    assert ends["rolled_back"] >= least(0.95, ends)
    assert ends["promoted"] == 0
    assert sorted(lasted)[MANY // 2] < 1500


def test_a_control_slice_of_an_alike_version_promotes(played: Played) -> None:
    """Held against a slice of its own size, with an incident of both, a version that is alike is promoted too; one in
    eight waits for evidence until its time is over.
    """
    rate = incident(0.01, begin=450, end=570, times=10)
    ends, _ = played(ours(control=True), lambda: Service(rate, rate, control=True))
    assert ends["rolled_back"] <= most(ALPHA, ends)
    assert ends["promoted"] >= 0.8 * ends.total()


def test_a_control_slice_finds_twice_the_errors(played: Played) -> None:
    """Held against so few, twice the share of errors is still found, and never promoted."""
    ends, _ = played(ours(control=True), lambda: Service(constant(0.05), constant(0.1), control=True))
    assert ends["rolled_back"] >= least(0.95, ends)
    assert ends["promoted"] == 0


def test_ten_times_a_rare_error_is_found(played: Played) -> None:
    """Ten times one in a thousand is found by about five errors."""
    ends, _ = played(ours(), lambda: Service(constant(0.001), constant(0.01)))
    assert ends["rolled_back"] >= least(0.95, ends)


def test_a_better_version_is_never_stopped(played: Played) -> None:
    """The judge looks one way."""
    ends, _ = played(ours(), lambda: Service(constant(0.05), constant(0.01)))
    assert ends["rolled_back"] == 0


def test_silence_promotes_nothing() -> None:
    """Without requests no step ends but by its time, and then the canary waits for somebody."""
    ends, lasted = play_many(
        ours(max_step_duration=300.0), lambda: Service(constant(0), constant(0), per_second=0.0), rollouts=3
    )
    assert ends == {"paused": 3}
    assert set(lasted) == {300}


def test_a_user_for_whom_everything_fails_speaks_once(played: Played) -> None:
    """Errors in bursts of twenty by key: counted once by key, false rollbacks stay below alpha."""
    ends, _ = played(ours(), lambda: ClusteredService(0.02, 20))
    assert ends["rolled_back"] <= most(ALPHA, ends)


def test_equal_latencies_that_drift_together_are_promoted(played: Played) -> None:
    """A machine that is slower for both at times is nobody's fault."""
    rule = ours(metrics=("errors", "latency"))
    ends, _ = played(rule, lambda: Service(constant(0.001), constant(0.001), stretch=1.0), FEWER)
    assert ends["rolled_back"] <= most(ALPHA, ends)
    assert ends["promoted"] >= 0.9 * ends.total()


def test_a_fifth_slower_is_found(played: Played) -> None:
    """Runs that take 1.2 times as long are found, beyond the tolerance."""
    rule = ours(metrics=("errors", "latency"))
    ends, _ = played(rule, lambda: Service(constant(0.001), constant(0.001), stretch=1.2), FEWER)
    assert ends["rolled_back"] >= least(0.95, ends)
    assert ends["promoted"] == 0


def test_the_pooled_test_fails_where_ours_stands(played: Played) -> None:
    """A z-test over pooled counts blames the new version for an incident of both (Simpson's paradox)."""
    rate = incident(0.01, begin=2200, end=2400, times=10)
    ends, _ = played(PooledTest, lambda: Service(rate, rate))
    assert ends["rolled_back"] > 0.5 * MANY


def test_the_fixed_ratio_fails_where_ours_stands(played: Played) -> None:
    """A limit of 1.5 times the errors by the minute stops most versions that are alike."""
    ends, _ = played(FixedRatio, lambda: Service(constant(0.01), constant(0.01)))
    assert ends["rolled_back"] > 0.5 * MANY


def test_counting_every_error_fails_where_ours_stands(played: Played) -> None:
    """The same bursts, counted by request, stop far more than alpha."""
    ends, _ = played(ours(), lambda: ClusteredService(0.02, 20, once=False))
    assert ends["rolled_back"] > 0.1 * MANY
