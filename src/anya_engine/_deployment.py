# SPDX-License-Identifier: Apache-2.0
"""One model's change of version: its state, and what that does to the table of what answers."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._info import RolloutEvent, RolloutStatus, ShadowReport
from ._log import Log
from ._records import facts
from ._rollout_state import SavedEvent, SavedRollout, State
from .errors import ConfigError, ModelNotFound, Unavailable
from .strategies import Shadow, Strategy

if TYPE_CHECKING:
    from ._model_table import ModelTable
    from ._shadow import Mirror

__all__ = ["BlueGreenDeployment", "Deployment", "ShadowDeployment"]

_log = Log("anya_engine")


class Deployment:
    """What the strategies share. All methods are called with the manager's lock held; times are time.monotonic().

    What it knows needs no model: a process that lacks a version takes part in deciding all the same, and only what
    answers there stays as it was (`out_of_step` says why).

    Attributes:
        generation: The number of this rollout among those of its name.
        old: The version before.
        new: The version that is to take over.
        strategy: How.
        digests: What either was made of, by version, when the rollout began.
        loser: The version to unload, and when; None while nothing is decided.
        out_of_step: Why this process does not answer as the rollout wants it to; "" when it does.
    """

    kind: str

    def __init__(
        self,
        table: ModelTable,
        name: str,
        generation: int,
        strategy: Strategy,
        digests: dict[str, str],
        wall: Callable[[], float],
    ) -> None:
        """`digests`: by version, the old one's first."""
        self.table = table
        self.name = name
        self.generation = generation
        self.old, self.new = digests
        self.strategy = strategy
        self.digests = digests
        self.state: State = "progressing"
        self.loser: tuple[str, float] | None = None
        self.why = ""
        self.out_of_step = ""
        self.moved: Callable[[str], object] = lambda _: None  # told every move that is made here; must not block
        self._wall = wall
        self._events: deque[RolloutEvent] = deque(maxlen=100)
        self._shown: object = None  # what the table was last made to say

    def begin(self, now: float) -> None:
        """Change what answers for the first time. Raises ModelNotFound, ConfigError: it cannot be, and nothing has."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Look at what was counted, where there is something to."""

    def due(self) -> float:
        """When tick has something to do."""
        return math.inf

    def promote(self, now: float, why: str) -> None:
        """Give the new version everything."""
        self._decide("promoted", self.old, now)
        self._follow("promote", why)

    def roll_back(self, now: float, why: str) -> None:
        """Give the old version everything."""
        self._decide("rolled_back", self.new, now)
        self._follow("rollback", why)

    @property
    def in_progress(self) -> bool:
        """Nothing is decided yet."""
        return self.state in ("progressing", "paused")

    @property
    def stable(self) -> str:
        """The version that answers those the new one does not."""
        return self.new if self.state == "promoted" else self.old

    def rollback_to(self) -> str | None:
        """Return the version that a rollback would bring back."""
        if self.in_progress:
            return self.old
        # Once it was unloaded in one process, it is no way back for any.
        kept = self.state == "promoted" and self.loser is not None and self.table.has(self.name, self.old)
        return self.old if kept else None

    def weights(self) -> dict[str, float]:
        """Share of the keys by version, in percent."""
        return {self.stable: 100.0}

    def status(self) -> RolloutStatus:
        """Return where it stands."""
        return RolloutStatus(
            name=self.name,
            state=self.state,
            strategy=self.kind,
            stable=self.stable,
            candidate=self.new,
            weights=self.weights(),
            why=self.why,
            rollback_to=self.rollback_to(),
            out_of_step=self.out_of_step,
            events=tuple(self._events),
        )

    def note(self, move: str, why: str) -> None:
        """Keep an event, and log it."""
        self.why = why
        self._keep(RolloutEvent(time=self._wall(), move=move, why=why, weights=self.weights()))
        self.moved(move)

    def show(self) -> None:
        """Make the table say what the rollout does, if it does not yet; where that cannot be, say why and leave it."""
        if self._shown == self._wanted():
            return
        try:
            self._check_versions()
            self._show()
        except (ModelNotFound, ConfigError, Unavailable) as error:
            problem = f"this process answers as before: {error}"
            if problem != self.out_of_step:
                _log.warning("rollout model=%s %s", self.name, problem)
            self.out_of_step = problem
        else:
            self._shown = self._wanted()
            self.out_of_step = ""

    def reroute(self) -> None:
        """Make the table say it once more: one of the two versions was opened again."""
        self._shown = None
        self.show()

    def saved(self) -> SavedRollout:
        """All of it, for `restore` in another process."""
        return SavedRollout(
            strategy=self.strategy,
            old=self.old,
            new=self.new,
            digests=self.digests,
            state=self.state,
            why=self.why,
            loser=self.loser,
            events=tuple(SavedEvent(each.time, each.move, each.why, each.weights) for each in self._events),
        )

    def restore(self, saved: SavedRollout) -> None:
        """Become what another process saved of the same rollout. Raises ConfigError, and is then as it was."""
        self.state, self.why, self.loser = saved.state, saved.why, saved.loser
        known = set(map(_identity, self._events))
        for each in saved.events:
            event = RolloutEvent(time=each.time, move=each.move, why=each.why, weights=each.weights)
            if _identity(event) not in known:
                self._keep(event)

    def _show(self) -> None:
        """Make the table say what the rollout does."""
        self.table.serve(self.name, self.stable)

    def _wanted(self) -> object:
        return self.state, self.weights()

    def _check_versions(self) -> None:
        """Refuse to give requests to bytes that are not those the rollout is about. The way back is always open."""
        if self.state == "rolled_back":
            return
        for version in (self.old, self.new) if self.in_progress else (self.new,):
            digest = self.table.model(self.name, version).info()["digest"]
            if digest != self.digests[version]:
                raise ConfigError(
                    f"version '{version}' of model '{self.name}' is another model here than where the rollout began "
                    f"(digest {digest[:12]} instead of {self.digests[version][:12]}); load the same files everywhere",
                    field="version",
                    limit=self.digests[version],
                    value=digest,
                )

    def _keep(self, event: RolloutEvent) -> None:
        self._events.append(event)
        shares = " ".join(f"{version}={share:g}%" for version, share in event.weights.items())
        level = logging.WARNING if event.move in ("rollback", "pause") else logging.INFO
        _log.log(
            *(level, "rollout model=%s strategy=%s move=%s weights=%s why=%s"),
            *(self.name, self.kind, event.move, shares, event.why),
            extra=facts(
                "rollout",
                model=self.name,
                strategy=self.kind,
                move=event.move,
                weights=dict(event.weights),
                why=event.why,
            ),
        )

    def _start(self, move: str, why: str) -> None:
        self._show()
        self._shown = self._wanted()
        self.note(move, why)

    def _follow(self, move: str, why: str) -> None:
        self.show()
        self.note(move, why)

    def _decide(self, state: State, loser: str, now: float) -> None:
        self.state = state
        self.loser = (loser, now + self.strategy.keep_warm)


class BlueGreenDeployment(Deployment):
    """All at once. Whatever had to be compared was compared before."""

    kind = "blue-green"

    def begin(self, now: float) -> None:
        """Switch."""
        self._decide("promoted", self.old, now)
        self._start("switch", f"all traffic of '{self.name}' moved from {self.old} to {self.new}")


class ShadowDeployment(Deployment):
    """Copies for the new version, answers from the old one. Each process copies and compares its own requests."""

    kind = "shadow"
    strategy: Shadow

    def __init__(
        self,
        table: ModelTable,
        name: str,
        generation: int,
        strategy: Strategy,
        digests: dict[str, str],
        wall: Callable[[], float],
        mirror: Callable[[], Mirror],
    ) -> None:
        """`mirror`: makes one, where the new version is loaded."""
        super().__init__(table, name, generation, strategy, digests, wall)
        self._mirror: Mirror | None = None
        self._make_mirror = mirror
        self._taps = False

    def begin(self, now: float) -> None:  # noqa: ARG002
        """Begin to copy."""
        self._start(
            "start", f"{self.strategy.share:.3%} of the requests are copied to {self.new}, which answers nobody"
        )

    def status(self) -> RolloutStatus:
        """Return where it stands."""
        report = self._mirror.report() if self._mirror is not None else ShadowReport()
        return dataclasses.replace(super().status(), shadow=report)

    def reroute(self) -> None:
        """Copies go to the version as it is loaded now; the table has nothing else to say."""
        if self._mirror is not None:
            self._mirror.shadow = self.table.model(self.name, self.new)

    def _show(self) -> None:
        super()._show()
        if self.in_progress:
            self._mirror = self._mirror or self._make_mirror()
            self.table.tap(self.name, self._mirror)
        elif self._taps:
            self.table.tap(self.name, None)
        self._taps = self.in_progress


def _identity(event: RolloutEvent) -> tuple[float, str, str]:
    return event.time, event.move, event.why
