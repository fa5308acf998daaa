# SPDX-License-Identifier: Apache-2.0
"""A canary on the engine: routed by key, counted in memory that processes may share, moved on by its judge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from . import _checks as check
from . import _core
from ._deployment import Deployment
from ._info import MetricEvidence, RolloutStatus
from ._judge import Block, Cell, Evidence, LatencyCell
from ._retire import retire_later
from ._rollout import CanaryRollout, Transition
from ._rollout_state import SavedRollout
from ._routing import Split, salt_of
from .strategies import BUILT_IN_METRICS, Canary, Strategy

if TYPE_CHECKING:
    from ._model_table import ModelTable

__all__ = ["CanaryDeployment", "block_of"]

M = TypeVar("M")

#: What a window's counts wait for latecomers, as a share of the window: an answer is counted a moment after it ended.
_GRACE = 0.02
#: Windows that are over and may wait for their judge. The tally remembers eight: these, the one judged last, the
#: present one, and one that has begun while latecomers are waited for.
_MOST_WINDOWS = 5


class CanaryDeployment(Deployment):
    """Step by step under the judge."""

    kind = "canary"
    strategy: Canary

    def __init__(
        self,
        table: ModelTable,
        name: str,
        generation: int,
        strategy: Strategy,
        digests: dict[str, str],
        wall: Callable[[], float],
        tally: Callable[[], _core.RolloutTally],
        draw: Callable[[], float],
    ) -> None:
        """`tally`: opens the counts, which a rollout that is over may have no more."""
        super().__init__(table, name, generation, strategy, digests, wall)
        self.salt = salt_of(name, self.new, generation, _core.key_position)
        self.own = [metric for metric in self.strategy.metrics if metric not in BUILT_IN_METRICS]
        self.rollout = CanaryRollout(self.strategy, 0.0)
        self._open_tally = tally
        self._tally: _core.RolloutTally | None = None
        self._judged = -1  # the last window judged
        self._draw = draw
        self._control: _core.Model | None = None

    @property
    def tally(self) -> _core.RolloutTally:
        """The counts. Raises ConfigError, Unavailable: they are lost."""
        if self._tally is None:
            self._tally = self._open_tally()
        return self._tally

    def begin(self, now: float) -> None:
        """Give the new version the first share."""
        self.rollout = CanaryRollout(self.strategy, now, _core.RolloutTally.edges())
        self._judged = self.tally.window_at(now) - 1
        try:
            self._start("start", self.rollout.why)
        except BaseException:
            self._end_control()
            raise

    def tick(self, now: float) -> None:
        """Judge the oldest window that is over and has not been."""
        if not self.in_progress:
            return
        last = self.tally.window_at(now - _GRACE * self.strategy.interval) - 1
        if last <= self._judged:
            return
        if last - self._judged > _MOST_WINDOWS:  # nobody looked for too long: the windows have run into each other
            for window in range(self._judged + 1, self._judged + 9):
                self.tally.clear(window)
            self._judged = last
            return
        # Not when it was judged: who judged it, in whatever process, may have died before it could say so.
        self.tally.clear(self._judged)
        self._judged += 1
        if transition := self.rollout.tick(now, block_of(self.tally.look(self._judged), self.own)):
            self._move(transition, now)
        else:
            self.why = self.rollout.why

    def due(self) -> float:
        """When the next window is over."""
        return (self._judged + 2 + _GRACE) * self.strategy.interval if self.in_progress else math.inf

    def promote(self, now: float, why: str) -> None:
        """Give the new version everything, whatever the judge thinks."""
        self._move(self.rollout.promote(why), now)

    def roll_back(self, now: float, why: str) -> None:
        """Give the old version everything, also after a promotion."""
        self._move(self.rollout.roll_back(why), now)

    def pause(self, why: str) -> None:
        """Keep the share as it is."""
        self._move(self.rollout.pause(why), 0.0)

    def resume(self, now: float, why: str) -> None:
        """Go on."""
        self.rollout.resume(now)
        self.state = "progressing"
        self._follow("resume", why)

    def report(self, metric: str, bad: bool, key: object, now: float) -> None:
        """Count what the service says of an answer that a key got."""
        is_new = self._split(canary=True, control=False, stable=None).pick(key)
        if is_new is not None:
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
            steps=self.strategy.steps,
            verdict=self.rollout.verdict,
            evidence=evidence,
        )

    def saved(self) -> SavedRollout:
        """All of it, the judge's evidence too."""
        return dataclasses.replace(super().saved(), canary={"judged": self._judged, **self.rollout.saved()})

    def restore(self, saved: SavedRollout) -> None:
        """Become what another process saved: the judge goes on from its evidence, not from none."""
        rollout = CanaryRollout.restored(self.strategy, saved.canary, _core.RolloutTally.edges())
        judged = check.integer("judged", check.member(saved.canary, "judged"), -1, 1 << 62)
        if rollout.state != saved.state:
            check.refuse("state", f"must be the canary's, {rollout.state}", saved.state)
        self.rollout, self._judged = rollout, judged
        super().restore(saved)

    def reroute(self) -> None:
        """Likewise, with a control slice of the version as it is loaded now."""
        self._end_control()
        super().reroute()

    def _move(self, transition: Transition, now: float) -> None:
        if transition.move == "promote":
            super().promote(now, transition.why)
        elif transition.move == "rollback":
            super().roll_back(now, transition.why)
        else:
            self.state = "paused" if transition.move == "pause" else "progressing"
            self._follow(transition.move, transition.why)

    def _show(self) -> None:
        if not self.in_progress:
            super()._show()
            self._end_control()
            return
        stable = self.table.model(self.name, self.old)
        canary = self.table.model(self.name, self.new).counted(self.tally, True)
        if self.strategy.control and self._control is None:
            self._control = stable.twin()
        control = (self._control or stable).counted(self.tally, False)
        self.table.route(self.name, self.old, self._split(canary=canary, control=control, stable=stable))

    def _split(self, *, canary: M, control: M, stable: M) -> Split[M]:
        """Who has a key: without a control slice all that is not the canary's is what it is held against."""
        return Split(
            canary=canary,
            control=control if self.strategy.control else None,
            stable=stable if self.strategy.control else control,
            share=self.rollout.weight / 100,
            salt=self.salt,
            position=_core.key_position,
            draw=self._draw,
        )

    def _end_control(self) -> None:
        if self._control is not None:
            retire_later(self._control, "ended the control slice of")
            self._control = None


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
