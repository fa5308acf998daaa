# SPDX-License-Identifier: Apache-2.0
"""When a canary's share grows, when it goes back, and why: a state machine over counts and a time it is given. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from . import _checks as check
from ._judge import Block, Evidence, Judge
from .strategies import Canary

__all__ = ["CanaryRollout", "Move", "Transition"]

Move: TypeAlias = Literal["advance", "promote", "rollback", "pause"]
Verdict: TypeAlias = Literal["waiting", "passed", "failed", "inconclusive"]
State: TypeAlias = Literal["progressing", "paused", "promoted", "rolled_back"]


@dataclasses.dataclass(frozen=True, slots=True)
class Transition:
    """A change of a rollout, with the reason in words."""

    move: Move
    why: str


class CanaryRollout:
    """One canary from its first step to its end. Owned by one thread; time is an argument.

    Attributes:
        state: What it is doing.
        step: Index into the policy's steps; their number once it is promoted.
        verdict: Of the judge at its last look.
        why: The reason for state and verdict, in words.
    """

    def __init__(self, policy: Canary, now: float, edges: Sequence[float] = ()) -> None:
        self.policy = policy
        self.judge = Judge(
            policy.metrics,
            max_ratio=policy.max_ratio,
            slo=policy.slo,
            edges=edges,
            tolerance=policy.latency_tolerance,
            slack=policy.latency_slack,
        )
        self.state: State = "progressing"
        self.step = 0
        self.verdict: Verdict = "waiting"
        self.why = f"{self._place()}: nothing counted yet"
        self._seen = now
        self._lasted = 0.0  # of this step, as far as it was watched

    def saved(self) -> dict[str, Any]:
        """All that it knows as plain values, for `restored`."""
        return {
            "state": self.state,
            "step": self.step,
            "verdict": self.verdict,
            "why": self.why,
            "seen": self._seen,
            "lasted": self._lasted,
            "judge": self.judge.saved(),
        }

    @classmethod
    def restored(cls, policy: Canary, saved: object, edges: Sequence[float] = ()) -> CanaryRollout:
        """The rollout that was saved elsewhere, with its evidence. Raises ConfigError where that is no such thing."""
        rollout = cls(policy, check.number("seen", check.member(saved, "seen"), -1e18, 1e18), edges)
        state = check.choice("state", check.member(saved, "state"), get_args(State))
        verdict = check.choice("verdict", check.member(saved, "verdict"), get_args(Verdict))
        last = len(policy.steps) - (state in ("progressing", "paused"))
        rollout.state, rollout.verdict = state, verdict  # type: ignore[assignment]
        rollout.step = check.integer("step", check.member(saved, "step"), 0, last)
        rollout.why = check.text("why", check.member(saved, "why"))
        rollout._lasted = check.number("lasted", check.member(saved, "lasted"), 0.0, 1e18)
        rollout.judge.restore(check.member(saved, "judge"))
        return rollout

    @property
    def weight(self) -> float:
        """The new version's share of the keys, in percent."""
        if self.state == "promoted":
            return 100.0
        return 0.0 if self.state == "rolled_back" else self.policy.steps[self.step]

    def tick(self, now: float, block: Block | None) -> Transition | None:
        """Take what was counted since the last look; None: nothing changes. Evidence is collected while paused, too."""
        # A process that slept, or a clock that jumped, has not watched for all that time.
        passed = min(max(0.0, now - self._seen), 2 * self.policy.interval)
        self._seen = max(now, self._seen)
        if self.state not in ("progressing", "paused"):
            return None
        if block is not None:
            self.judge.observe(block)
        if self.state == "paused":
            return None
        self._lasted += passed
        if self.judge.log_e >= math.log(1 / self.policy.alpha):
            self.verdict = "failed"
            return self._end(self.policy.on_failure, self._accusation())
        missing = self._missing()
        if not missing:
            return self._next()
        self.verdict = "waiting"
        self.why = f"{self._place()}: waits for {'; '.join(missing)}"
        if self._lasted >= self.policy.max_step_duration:
            self.verdict = "inconclusive"
            why = f"{self._place()}: no evidence after {self._lasted:.0f} s; still missing {'; '.join(missing)}"
            return self._end(self.policy.on_inconclusive, why)
        return None

    def pause(self, why: str) -> Transition:
        """Keep the share as it is until somebody decides."""
        self.state, self.why = "paused", why
        return Transition("pause", why)

    def resume(self, now: float) -> None:
        """Go on after a pause; the step has its full duration again."""
        self.state, self.verdict = "progressing", "waiting"
        self._seen, self._lasted = now, 0.0
        self.why = f"{self._place()}: resumed"

    def promote(self, why: str) -> Transition:
        """Give the new version everything."""
        self.state, self.step, self.why = "promoted", len(self.policy.steps), why
        return Transition("promote", why)

    def roll_back(self, why: str) -> Transition:
        """Give the old version everything."""
        self.state, self.why = "rolled_back", why
        return Transition("rollback", why)

    def _end(self, how: Literal["rollback", "pause"], why: str) -> Transition:
        return self.roll_back(why) if how == "rollback" else self.pause(why)

    def _next(self) -> Transition:
        self.verdict = "passed"
        passed = (
            f"{self._place()}: passed with {self.judge.requests} requests in {self._lasted:.0f} s; {self._record()}"
        )
        if self.step + 1 == len(self.policy.steps):
            return self.promote(passed)
        self.step += 1
        self._lasted = 0.0
        self.judge.start_step()
        self.verdict = "waiting"
        self.why = f"{self._place()}: just begun"
        return Transition("advance", passed)

    def _place(self) -> str:
        return f"step {self.step + 1} of {len(self.policy.steps)} at {self.policy.steps[self.step]:g} %"

    def _missing(self) -> list[str]:
        """What the step still lacks, in words."""
        policy, missing = self.policy, []
        if self._lasted < policy.min_duration:
            missing.append(f"{self._lasted:.0f} of {policy.min_duration:g} s")
        if self.judge.requests < policy.min_requests:
            missing.append(f"{self.judge.requests} of {policy.min_requests} requests")
        for metric in self.judge.kinds:
            have = self.judge.log_for_of(metric)
            if have >= math.log(1 / policy.beta):
                continue
            in_favour = f"{metric}: evidence in favour {_score(have)} of {1 / policy.beta:g}"
            if metric == "latency" and self.judge.runs and not self.judge.compared_runs:
                missing.append("latency: no run of the new version has had a like-sized one of the old beside it")
            elif metric in ("errors", "latency"):
                missing.append(in_favour)
            else:
                missing.append(f"{in_favour} (from Engine.report)")
        return missing

    def _accusation(self) -> str:
        """Say which metric speaks against the version, and how clearly."""
        judge = self.judge
        metric = max(judge.kinds, key=judge.log_e_of)
        name, worst = max(judge.kinds[metric].items(), key=lambda item: item[1].log_e)
        each = ", ".join(f"{metric} {_score(judge.log_e_of(metric))}" for metric in judge.kinds)
        mean = f", the mean of {each}" if len(judge.kinds) > 1 else ""
        return (
            f"{self._place()}: {name if name == metric else f'{metric}, {name}'}: {_shares(worst)}; "
            f"evidence against it {_score(judge.log_e)}{mean}; {1 / self.policy.alpha:g} is enough"
        )

    def _record(self) -> str:
        return ", ".join(
            f"{name}: {_shares(item)}" for kinds in self.judge.kinds.values() for name, item in kinds.items()
        )


def _score(log: float) -> str:
    """Evidence as `MetricEvidence` has it: 1 is none."""
    return f"{math.exp(min(log, 700)):.3g}"


def _shares(evidence: Evidence) -> str:
    return f"{evidence.new_bad} of {evidence.new} new against {evidence.old_bad} of {evidence.old} old"
