# SPDX-License-Identifier: Apache-2.0
"""One model's change of version, by strategy: what it does to the table of what answers."""

from __future__ import annotations

import dataclasses
import logging
import math
import mmap
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._info import MetricEvidence, RolloutEvent, RolloutStatus, ShadowReport
from ._judge import Block, Cell, Evidence, LatencyCell
from ._rollout import CanaryRollout, Transition
from ._routing import Split
from .strategies import BUILT_IN_METRICS, BlueGreen, Canary, Shadow

if TYPE_CHECKING:
    from ._model_table import ModelTable
    from ._shadow import Mirror

__all__ = ["BlueGreenDeployment", "CanaryDeployment", "Deployment", "ShadowDeployment"]

_log = logging.getLogger("anya_engine")

#: What a window's counts wait for latecomers, as a share of the window: an answer is counted a moment after it ended.
_GRACE = 0.02
#: The tally remembers one more than this.
WINDOWS_KEPT = 7


class Deployment:
    """What the strategies share. All methods are called with the manager's lock held; times are time.monotonic().

    Attributes:
        old: The version before.
        new: The version that is to take over.
        keep_warm: Seconds that the version which lost stays loaded.
        loser: The version to unload, and when; None while nothing is decided.
    """

    kind: str
    state: Literal["progressing", "paused", "promoted", "rolled_back"] = "progressing"

    def __init__(self, table: ModelTable, name: str, old: str, new: str, keep_warm: float, wall: Callable[[], float]):
        self.table = table
        self.name = name
        self.old = old
        self.new = new
        self.keep_warm = keep_warm
        self.loser: tuple[str, float] | None = None
        self.why = ""
        self._wall = wall
        self._events: deque[RolloutEvent] = deque(maxlen=100)

    def begin(self, now: float) -> None:
        """Change what answers for the first time."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Look at what was counted, where there is something to."""

    def due(self) -> float:
        """When tick has something to do."""
        return math.inf

    def promote(self, now: float, why: str) -> None:
        """Give the new version everything."""
        self.table.serve(self.name, self.new)
        self._decide("promoted", self.old, now)
        self.note("promote", why)

    def roll_back(self, now: float, why: str) -> None:
        """Give the old version everything."""
        self.table.serve(self.name, self.old)
        self._decide("rolled_back", self.new, now)
        self.note("rollback", why)

    @property
    def in_progress(self) -> bool:
        """Nothing is decided yet."""
        return self.state in ("progressing", "paused")

    def rollback_to(self) -> str | None:
        """Return the version that a rollback would bring back."""
        if self.in_progress or (self.state == "promoted" and self.table.has(self.name, self.old)):
            return self.old
        return None

    def weights(self) -> dict[str, float]:
        """Share of the keys by version, in percent."""
        return {self.new if self.state == "promoted" else self.old: 100.0}

    def status(self) -> RolloutStatus:
        """Return where it stands."""
        return RolloutStatus(
            name=self.name,
            state=self.state,
            strategy=self.kind,
            stable=self.new if self.state == "promoted" else self.old,
            candidate=self.new,
            weights=self.weights(),
            why=self.why,
            rollback_to=self.rollback_to(),
            events=tuple(self._events),
        )

    def note(self, move: str, why: str) -> None:
        """Keep an event, and log it."""
        self.why = why
        weights = self.weights()
        self._events.append(RolloutEvent(time=self._wall(), move=move, why=why, weights=weights))
        shares = " ".join(f"{version}={share:g}%" for version, share in weights.items())
        level = logging.WARNING if move in ("rollback", "pause") else logging.INFO
        _log.log(
            level, "rollout model=%s strategy=%s move=%s weights=%s why=%s", self.name, self.kind, move, shares, why
        )

    def _decide(self, state: Literal["promoted", "rolled_back"], loser: str, now: float) -> None:
        self.state = state
        self.loser = (loser, now + self.keep_warm)


class BlueGreenDeployment(Deployment):
    """All at once. Whatever had to be compared was compared before."""

    kind = "blue-green"

    def __init__(
        self, table: ModelTable, name: str, old: str, new: str, policy: BlueGreen, wall: Callable[[], float]
    ) -> None:
        super().__init__(table, name, old, new, policy.keep_warm, wall)

    def begin(self, now: float) -> None:
        """Switch."""
        self.table.serve(self.name, self.new)
        self._decide("promoted", self.old, now)
        self.note("switch", f"all traffic of '{self.name}' moved from {self.old} to {self.new}")


class CanaryDeployment(Deployment):
    """Step by step under the judge."""

    kind = "canary"

    def __init__(
        self,
        table: ModelTable,
        name: str,
        old: str,
        new: str,
        policy: Canary,
        salt: int,
        draw: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        super().__init__(table, name, old, new, policy.keep_warm, wall)
        self.policy = policy
        self.salt = salt
        self._draw = draw
        size = -(-_core.RolloutTally.size() // mmap.PAGESIZE) * mmap.PAGESIZE
        self.tally = _core.RolloutTally(mmap.mmap(-1, size), policy.interval)
        self.own = [metric for metric in policy.metrics if metric not in BUILT_IN_METRICS]
        self._taken = -1  # the last window taken

    def begin(self, now: float) -> None:
        """Give the new version the first share."""
        self.rollout = CanaryRollout(self.policy, now, _core.RolloutTally.edges())
        self._taken = self.tally.window_at(now) - 1
        self.reroute()
        self.note("start", self.rollout.why)

    def tick(self, now: float) -> None:
        """Judge every window that is over."""
        if not self.in_progress:
            return
        last = self.tally.window_at(now - _GRACE * self.policy.interval) - 1
        if last - self._taken > WINDOWS_KEPT:  # nobody looked for too long: the windows have run into each other
            for window in range(WINDOWS_KEPT + 1):
                self.tally.take(window)
            self._taken = last
            return
        for window in range(self._taken + 1, last + 1):
            self._taken = window
            if transition := self.rollout.tick(now, block_of(self.tally.take(window), self.own)):
                self._follow(transition, now)
                if transition.move in ("promote", "rollback"):
                    return
            self.why = self.rollout.why

    def due(self) -> float:
        """When the present window is over."""
        return (self._taken + 2 + _GRACE) * self.policy.interval if self.in_progress else math.inf

    def promote(self, now: float, why: str) -> None:
        """Give the new version everything, whatever the judge thinks."""
        self._follow(self.rollout.promote(why), now)

    def roll_back(self, now: float, why: str) -> None:
        """Give the old version everything, also after a promotion."""
        self._follow(self.rollout.roll_back(why), now)

    def pause(self, why: str) -> None:
        """Keep the share as it is."""
        self._follow(self.rollout.pause(why), 0.0)

    def resume(self, now: float, why: str) -> None:
        """Go on."""
        self.rollout.resume(now)
        self.state = "progressing"
        self.note("resume", why)

    def report(self, metric: str, bad: bool, key: object, now: float) -> None:
        """Count what the service says of an answer that a key got."""
        is_new = _core.key_position(key, self.salt) < self.rollout.weight / 100
        self.tally.reported(is_new, self.own.index(metric) + 1, key, bad, now)

    def weights(self) -> dict[str, float]:
        """Share of the keys by version, in percent."""
        share = self.rollout.weight
        weights = {self.old: 100.0 - share, self.new: share}
        return {version: weight for version, weight in weights.items() if weight > 0}

    def status(self) -> RolloutStatus:
        """Return where it stands."""
        judge = self.rollout.judge
        evidence = {
            metric: _evidence(judge.log_e_of(metric), judge.log_for_of(metric), kinds)
            for metric, kinds in judge.kinds.items()
        }
        return dataclasses.replace(
            super().status(),
            step=self.rollout.step,
            steps=self.policy.steps,
            verdict=self.rollout.verdict,
            evidence=evidence,
        )

    def _follow(self, transition: Transition, now: float) -> None:
        if transition.move == "promote":
            super().promote(now, transition.why)
        elif transition.move == "rollback":
            super().roll_back(now, transition.why)
        else:
            self.state = "paused" if transition.move == "pause" else "progressing"
            self.reroute()
            self.note(transition.move, transition.why)

    def reroute(self) -> None:
        """Let the two versions, as they are loaded now, share the keys."""
        self.table.route(
            self.name,
            Split(
                stable=self.table.model(self.name, self.old).counted(self.tally, False),
                canary=self.table.model(self.name, self.new).counted(self.tally, True),
                share=self.rollout.weight / 100,
                salt=self.salt,
                position=_core.key_position,
                draw=self._draw,
            ),
        )


class ShadowDeployment(Deployment):
    """Copies for the new version, answers from the old one."""

    kind = "shadow"

    def __init__(
        self,
        table: ModelTable,
        name: str,
        old: str,
        new: str,
        policy: Shadow,
        mirror: Mirror,
        wall: Callable[[], float],
    ) -> None:
        super().__init__(table, name, old, new, policy.keep_warm, wall)
        self.policy = policy
        self.mirror = mirror

    def begin(self, now: float) -> None:  # noqa: ARG002
        """Begin to copy."""
        self.table.tap(self.name, self.mirror)
        self.note("start", f"{self.policy.share:.3%} of the requests are copied to {self.new}, which answers nobody")

    def promote(self, now: float, why: str) -> None:
        """The shadow takes over."""
        self.table.tap(self.name, None)
        super().promote(now, why)

    def roll_back(self, now: float, why: str) -> None:
        """Stop copying; or, once promoted, go back."""
        self.table.tap(self.name, None)
        super().roll_back(now, why)

    def status(self) -> RolloutStatus:
        """Return where it stands."""
        report: ShadowReport = self.mirror.report()
        return dataclasses.replace(super().status(), shadow=report)


def block_of(taken: Any, own: list[str]) -> Block:
    """Return the judge's view of what a tally counted."""
    (old, new), durations, _ = taken
    cell = [Cell(b[0], b[1], a[0], a[1]) for a, b in zip(old, new, strict=True)]
    first = [Cell(b[2], b[3], a[2], a[3]) for a, b in zip(old, new, strict=True)]
    return Block(
        answers=cell[0],
        errors=first[0],
        latency=[LatencyCell(stratum, after, before) for stratum, before, after in durations],
        own={metric: first[1 + index] for index, metric in enumerate(own)},
    )


def _evidence(against: float, in_favour: float, kinds: Mapping[str, Evidence]) -> MetricEvidence:
    kind = next(iter(kinds.values()))
    return MetricEvidence(
        against=math.exp(min(against, 700)),
        in_favour=math.exp(min(in_favour, 700)),
        new=kind.new,
        new_bad=kind.new_bad,
        old=kind.old,
        old_bad=kind.old_bad,
    )
