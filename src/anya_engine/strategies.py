# SPDX-License-Identifier: Apache-2.0
"""How a new version takes over: all at once, step by step under a judge, or without answering at all.

All are frozen and checked on construction. Durations are seconds.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from . import _checks as check
from ._tables import FromTable

__all__ = ["BlueGreen", "Canary", "Shadow", "Strategy"]

#: What `Canary.metrics` may name besides a service's own words.
BUILT_IN_METRICS = ("errors", "latency")
#: Own metrics of one rollout.
MAX_OWN_METRICS = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlueGreen(FromTable):
    """All traffic moves at once; the version before stays warm for a while, so that going back is one assignment.

    Attributes:
        keep_warm: How long the version before stays loaded after the switch. Then it is drained and unloaded, and
            `rollback` has nothing to go back to. 0: at once.
        compare: Requests to answer by both versions before the switch, recorded ones (`Engine.record`) where there are
            any, else live ones as they come; 0: none. The switch does not happen when an answer differs by more than
            the tolerance.
        rtol: With `atol` the tolerance: |new - old| <= atol + rtol * |old|, element by element.
        atol: See `rtol`.
        compare_timeout: How long to wait for that many requests; then the switch does not happen.
        allow_schema_change: The new version may differ in inputs or outputs.
    """

    keep_warm: float = 600.0
    compare: int = 0
    rtol: float = 1e-3
    atol: float = 1e-5
    compare_timeout: float = 60.0
    allow_schema_change: bool = False

    def __post_init__(self) -> None:
        _number(self, "keep_warm", 0.0, 1e9)
        _integer(self, "compare", 0, 1_000_000)
        _number(self, "rtol", 0.0, 1e6)
        _number(self, "atol", 0.0, 1e6)
        _number(self, "compare_timeout", 0.001, 1e6)
        check.boolean("allow_schema_change", self.allow_schema_change)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Canary(FromTable):
    """A growing share of the keys moves, as long as a judge finds nothing against it.

    A key (the argument `key` of a request) is with the new version or it is not, and once it is, it stays as the share
    grows. A request without a key counts as a key of its own.

    Attributes:
        steps: Shares in percent, increasing, each above 0 and below 100. 100 follows the last one. Steps below 1 lead
            to one above 1: (0.05, 0.25, 1) would be shares of a whole, not percent, and is refused.
        min_requests: What the new version must have answered at a step before the next: requests, of which those of one
            key within one `interval` count once.
        min_duration: How long a step lasts at least.
        interval: How often the judge looks; also the time within which a key counts once.
        metrics: What is judged: "errors" (answers that are errors of the version, before any retry or fallback),
            "latency" (time of the run, compared between runs of like size), and any word of your own, whose bad events
            the service reports with `Engine.report`.
        latency_tolerance: With `latency_slack` what latency may differ by: a run of the new version counts as slow
            from slow * (1 + tolerance) + slack on.
        latency_slack: Seconds. A version that is asked ten times as seldom finds colder caches: that is some
            microseconds of a difference, and not the version's fault.
        slo: Share of bad answers that is acceptable by itself.
        alpha: Chance that a version just as good as the old one is ever stopped, over the whole rollout, however often
            the judge looks.
        beta: Chance that a version whose share of bad answers is `max_ratio` times the old one's, and above `slo`, gets
            past a step.
        max_ratio: Ratio of the share of bad answers that must not pass.
        max_step_duration: A step that finds no evidence for or against by then is inconclusive.
        on_failure: What happens when the judge says no: "rollback" or "pause" (the share stays as it is).
        on_inconclusive: Likewise for a step without evidence: "pause" or "rollback".
        control: Judge against a random slice of the old version's keys, as large as the new version's and with a queue
            and instances of its own on the same session, instead of against all the rest. The two are then treated
            alike, so that what a version meets because it is asked less (smaller batches, shorter queues, colder
            caches) is met by both. Steps are at most 50 then.
        keep_warm: How long the version that lost stays loaded, after promotion the old one, after a rollback the new.
        allow_schema_change: The new version may differ in inputs or outputs.
    """

    steps: tuple[float, ...] = (1, 5, 25, 50)
    min_requests: int = 300
    min_duration: float = 120.0
    interval: float = 1.0
    metrics: tuple[str, ...] = BUILT_IN_METRICS
    latency_tolerance: float = 0.05
    latency_slack: float = 50e-6
    slo: float = 0.01
    alpha: float = 0.01
    beta: float = 0.05
    max_ratio: float = 2.0
    max_step_duration: float = 1800.0
    on_failure: Literal["rollback", "pause"] = "rollback"
    on_inconclusive: Literal["pause", "rollback"] = "pause"
    control: bool = False
    keep_warm: float = 600.0
    allow_schema_change: bool = False

    def __post_init__(self) -> None:
        steps = tuple(check.number("steps", each, 0.01, 99.99) for each in check.sequence("steps", self.steps))
        if any(after <= before for before, after in zip(steps, steps[1:], strict=False)):
            check.refuse("steps", "must be increasing", self.steps)
        if steps[0] < 1 and steps[-1] <= 1:
            meant = ", ".join(f"{100 * each:g}" for each in steps if each < 1)
            what = f"these read like shares of 1 (as percent: {meant})"
            check.refuse("steps", f"must be percent, and {what}; steps below 1 % need one above", self.steps, 1)
        object.__setattr__(self, "steps", steps)
        check.boolean("control", self.control)
        if self.control and steps[-1] > 50:
            check.refuse("steps", "must be at most 50 with control, which is as large as the canary", steps[-1], 50)
        _integer(self, "min_requests", 1, 1 << 50)
        _number(self, "min_duration", 0.0, 1e9)
        _number(self, "interval", 0.01, 3600.0)
        names = tuple(check.name("metrics", each) for each in check.sequence("metrics", self.metrics))
        if len(set(names)) < len(names):
            check.refuse("metrics", "must not name one twice", self.metrics)
        if len(set(names) - set(BUILT_IN_METRICS)) > MAX_OWN_METRICS:
            check.refuse("metrics", f"must name at most {MAX_OWN_METRICS} of your own", names, MAX_OWN_METRICS)
        object.__setattr__(self, "metrics", names)
        _number(self, "latency_tolerance", 0.0, 100.0)
        _number(self, "latency_slack", 0.0, 1e6)
        _number(self, "slo", 1e-9, 0.5)
        _number(self, "alpha", 1e-9, 0.5)
        _number(self, "beta", 1e-9, 0.5)
        _number(self, "max_ratio", 1.05, 1000.0)
        _number(self, "max_step_duration", 0.01, 1e9)
        if self.max_step_duration < self.min_duration:
            check.refuse(
                "max_step_duration", "must be at least min_duration", self.max_step_duration, self.min_duration
            )
        check.choice("on_failure", self.on_failure, ("rollback", "pause"))
        check.choice("on_inconclusive", self.on_inconclusive, ("pause", "rollback"))
        _number(self, "keep_warm", 0.0, 1e9)
        check.boolean("allow_schema_change", self.allow_schema_change)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shadow(FromTable):
    """The new version gets copies of requests and answers nobody; its answers are compared with those given.

    Attributes:
        share: Of requests to copy, above 0 and at most 1. Copies go in at the lowest priority, and none is made while
            requests wait: under load the shadow is the first to go.
        rtol: With `atol` the tolerance within which answers agree: |new - old| <= atol + rtol * |old|.
        atol: See `rtol`.
        keep_warm: How long the new version stays loaded once the shadow is ended by `rollback`.
        allow_schema_change: The new version may differ in inputs or outputs.
    """

    share: float = 0.1
    rtol: float = 1e-3
    atol: float = 1e-5
    keep_warm: float = 600.0
    allow_schema_change: bool = False

    def __post_init__(self) -> None:
        _number(self, "share", 1e-6, 1.0)
        _number(self, "rtol", 0.0, 1e6)
        _number(self, "atol", 0.0, 1e6)
        _number(self, "keep_warm", 0.0, 1e9)
        check.boolean("allow_schema_change", self.allow_schema_change)


Strategy: TypeAlias = BlueGreen | Canary | Shadow


def _number(policy: object, field: str, low: float, high: float) -> None:
    object.__setattr__(policy, field, check.number(field, getattr(policy, field), low, high))


def _integer(policy: object, field: str, low: int, high: int) -> None:
    object.__setattr__(policy, field, check.integer(field, getattr(policy, field), low, high))
