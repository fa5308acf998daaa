# SPDX-License-Identifier: Apache-2.0
"""The canary's steps: what they wait for, in words, and what time does to them."""

from __future__ import annotations

import math

import pytest

from anya_engine._judge import Block, Cell
from anya_engine._rollout import CanaryRollout
from anya_engine.strategies import Canary


def good(requests: int) -> Block:
    """So many answers of either version, all of them good."""
    cell = Cell(requests, 0, requests, 0)
    return Block(answers=cell, errors=cell)


def rollout(**policy: object) -> CanaryRollout:
    """A canary that judges errors, from second 0 on."""
    return CanaryRollout(Canary(**{"metrics": ("errors",), "steps": (10, 50), **policy}), 0.0)  # type: ignore[arg-type]


def test_a_step_waits_for_time_requests_and_evidence_and_says_so() -> None:
    """Each thing that lacks is named; when nothing lacks, the share grows, and the next step begins from nothing."""
    canary = rollout(min_duration=3.0, min_requests=500)
    assert canary.tick(1.0, good(100)) is None
    assert canary.why == (
        "step 1 of 2 at 10 %: waits for 1 of 3 s; 100 of 500 requests; errors: evidence in favour 2.13 of 20"
    )
    assert canary.tick(2.0, good(500)) is None
    assert canary.why == "step 1 of 2 at 10 %: waits for 2 of 3 s"
    moved = canary.tick(3.0, good(0))
    assert moved is not None and moved.move == "advance" and "passed with 600 requests in 3 s" in moved.why
    assert (canary.weight, canary.verdict, canary.why) == (50, "waiting", "step 2 of 2 at 50 %: just begun")
    assert canary.tick(4.0, good(0)) is None
    assert "0 of 500 requests" in canary.why


def test_a_clock_that_jumps_does_not_end_a_step() -> None:
    """An hour in which nobody watched counts as two intervals, backwards as nothing."""
    canary = rollout(min_duration=60.0, max_step_duration=120.0)
    assert canary.tick(3600.0, good(1000)) is None
    assert canary.why == "step 1 of 2 at 10 %: waits for 2 of 60 s"
    assert canary.tick(10.0, good(0)) is None
    assert canary.why == "step 1 of 2 at 10 %: waits for 2 of 60 s"
    assert canary.state == "progressing"


def test_an_accusation_has_the_counts() -> None:
    """Who reads the reason of a rollback needs no other page."""
    canary = rollout()
    cell = Cell(10, 8, 90, 0)
    moved = canary.tick(1.0, Block(answers=cell, errors=cell))
    assert moved is not None and moved.move == "rollback"
    assert moved.why.startswith("step 1 of 2 at 10 %: errors: 8 of 10 new against 0 of 90 old; evidence ")
    assert moved.why.endswith(f"evidence against it {math.exp(canary.judge.log_e_of('errors')):.3g}; 100 is enough")
    assert (canary.state, canary.weight, canary.verdict) == ("rolled_back", 0.0, "failed")
    assert canary.tick(2.0, good(10)) is None


def test_an_accusation_tells_the_mean_from_the_metrics() -> None:
    """What is compared with 1 / alpha is the mean over the metrics; each of them is beside it, as the status has it."""
    canary = rollout(metrics=("errors", "clicks"))
    cell = Cell(10, 8, 90, 0)
    moved = canary.tick(1.0, Block(answers=cell, errors=cell, own={"clicks": Cell(10, 0, 90, 0)}))
    assert moved is not None
    errors, clicks = (math.exp(canary.judge.log_e_of(metric)) for metric in ("errors", "clicks"))
    mean = (errors + clicks) / 2
    assert f"evidence against it {mean:.3g}, the mean of errors {errors:.3g}, clicks {clicks:.3g}; " in moved.why


def test_after_a_pause_a_step_begins_anew_with_its_evidence() -> None:
    """Resumed, the step has all its time again; what was counted meanwhile stays counted."""
    canary = rollout(min_duration=3.0)
    canary.tick(1.0, good(0))
    canary.pause("by hand")
    assert canary.tick(2.0, good(1000)) is None and canary.state == "paused"
    canary.resume(10.0)
    for second in (11.0, 12.0):
        assert canary.tick(second, good(0)) is None
    moved = canary.tick(13.0, good(0))
    assert moved is not None and moved.move == "advance"


@pytest.mark.parametrize("end", ["promote", "roll_back"])
def test_what_has_ended_stays_ended(end: str) -> None:
    """No evidence moves a rollout that somebody has decided."""
    canary = rollout()
    getattr(canary, end)("by hand")
    state = canary.state
    cell = Cell(10, 10, 90, 0)
    assert canary.tick(1.0, Block(answers=cell, errors=cell)) is None
    assert canary.state == state
