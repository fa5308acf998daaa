# SPDX-License-Identifier: Apache-2.0
"""The latest rollout of every name: this process's own, or one that all processes of a group share."""

from __future__ import annotations

import contextlib
import mmap
from collections import Counter
from collections.abc import Callable, Iterator

from . import _core
from ._canary import CanaryDeployment
from ._deployment import BlueGreenDeployment, Deployment, ShadowDeployment
from ._log import Log
from ._model_table import ModelTable
from ._process_group import ProcessGroup, SharedState
from ._rollout_state import Record, SavedRollout, decode, encode
from ._shadow import Mirror
from .errors import AnyaError, ConfigError
from .strategies import BlueGreen, Shadow, Strategy

__all__ = ["RolloutBook"]

_log = Log("anya_engine")

#: Seconds that a change waits for another process that is changing the same rollout: such a change takes microseconds.
PATIENCE = 5.0


class RolloutBook:
    """Not thread-safe: `Deployments` has the lock.

    In a group what is in the file is what is: whoever changes a rollout has the file's lock, reads, changes, writes.
    No process leads. Whoever is first to find that a window is over judges it; where it dies before the result is
    written, the counts are still there for the next.

    Attributes:
        latest: By name. What is over stays until the next one, or until it is history.
        moves: How often each rollout move was made by this process, by name, new version and move.
        troubles: Why what a group shares under a name cannot be used, by name.
    """

    def __init__(
        self,
        table: ModelTable,
        callbacks: Callable[[], _core.CallbackQueue],
        group: ProcessGroup | None,
        wall: Callable[[], float],
        draw: Callable[[], float],
        unload: Callable[[str, str], None],
    ) -> None:
        self._table = table
        self._callbacks = callbacks
        self._group = group
        self._wall = wall
        self._draw = draw
        self._unload = unload  # of versions that have lost elsewhere; does not block
        self._generations: dict[str, int] = {}
        self.moves: Counter[tuple[str, str, str]] = Counter()
        self.latest: dict[str, Deployment] = {}
        self.troubles: dict[str, str] = {}

    @property
    def is_shared(self) -> bool:
        """Other processes may change what is in it."""
        return self._group is not None

    def new(self, name: str, old: _core.Model, new: _core.Model, strategy: Strategy) -> Deployment:
        """A rollout that has not begun."""
        self._generations[name] = generation = self._generations.get(name, 0) + 1
        digests = {model.version: model.info()["digest"] for model in (old, new)}
        return self._make(name, generation, strategy, digests, is_new=True)

    @contextlib.contextmanager
    def changing(self, name: str, patience: float = PATIENCE) -> Iterator[None]:
        """Inside, nobody else changes the rollout of this name; what came of it is everybody's afterwards.

        Raises:
            Unavailable: Another process has been changing it for `patience` seconds, or the file cannot be written.
            ConfigError: What the group shares is unreadable.
        """
        if self._group is None or name not in self._table.serving:
            yield
            return
        state = self._group.state(name)
        with state.locked(patience):
            self._take_over(name, state)
            yield
            rollout = self.latest.get(name)
            if rollout is not None:
                state.write(encode(Record(rollout.generation, rollout.saved())))
            elif generation := self._generations.get(name, 0):
                state.write(encode(Record(generation, None)))

    def refresh(self) -> None:
        """See what other processes have done, and which versions there are now."""
        if self._group is not None:
            for name in self.latest.keys() - self._table.serving.keys():  # the whole model was unloaded
                del self.latest[name]
                self.leave(name)
            for name in list(self._table.serving):
                self._look(name, self._group)
        for rollout in self.latest.values():
            rollout.show()

    def leave(self, name: str) -> None:
        """Take no part in the rollouts of a name until it is loaded again."""
        if self._group is not None:
            self.troubles.pop(name, None)
            self._generations.pop(name, None)
            self._group.forget(name)

    def close(self) -> None:
        """Take part in nothing any more. Idempotent."""
        if self._group is not None:
            self._group.leave()

    def _look(self, name: str, group: ProcessGroup) -> None:
        trouble = ""
        try:
            state = group.state(name)
            self._take_over(name, state)
            if state.lost:
                with self.changing(name, 0):
                    pass
        except AnyaError as error:
            trouble = str(error)
            if trouble != self.troubles.get(name):
                _log.error("rollout model=%s %s", name, trouble)
        self.troubles[name] = trouble

    def _take_over(self, name: str, state: SharedState) -> None:
        content = state.news()
        if content is None:
            return
        try:
            record = decode(content)
            before = self.latest.get(name)
            after = None if record.rollout is None else self._restored(name, record.generation, record.rollout, before)
        except ConfigError as error:
            raise state.refused(str(error)) from error
        state.seen(content)
        self._generations[name] = record.generation
        if after is None:
            self.latest.pop(name, None)
            return
        self.latest[name] = after
        after.show()

    def _restored(self, name: str, generation: int, saved: SavedRollout, before: Deployment | None) -> Deployment:
        rollout, lost = before, None if before is None else before.loser
        if rollout is None or rollout.generation != generation:
            digests = {version: saved.digests[version] for version in (saved.old, saved.new)}
            rollout = self._make(name, generation, saved.strategy, digests, is_new=False)
        rollout.restore(saved)
        # Another process has found that its time is over, or that it is in the way of the next.
        if lost is not None:
            is_over = saved.loser is None if rollout is before else lost[0] not in (saved.old, saved.new)
            if is_over:
                self._unload(name, lost[0])
        return rollout

    def _make(
        self, name: str, generation: int, strategy: Strategy, digests: dict[str, str], is_new: bool
    ) -> Deployment:
        made = self._of_kind(name, generation, strategy, digests, is_new)
        made.moved = lambda move: self.moves.update([(name, made.new, move)])
        return made

    def _of_kind(
        self, name: str, generation: int, strategy: Strategy, digests: dict[str, str], is_new: bool
    ) -> Deployment:
        about = (self._table, name, generation, strategy, digests, self._wall)
        if isinstance(strategy, BlueGreen):
            return BlueGreenDeployment(*about)
        if isinstance(strategy, Shadow):
            version = list(digests)[1]
            share, rtol, atol = strategy.share, strategy.rtol, strategy.atol

            def mirror() -> Mirror:
                model = self._table.model(name, version)
                return Mirror(model, self._callbacks, self._draw, share=share, rtol=rtol, atol=atol)

            return ShadowDeployment(*about, mirror)
        interval = strategy.interval

        def tally() -> _core.RolloutTally:
            return _core.RolloutTally(self._counts(name, generation, is_new), interval)

        return CanaryDeployment(*about, tally, self._draw)

    def _counts(self, name: str, generation: int, is_new: bool) -> mmap.mmap:
        size = -(-_core.RolloutTally.size() // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._group is None:
            return mmap.mmap(-1, size)
        state = self._group.state(name)
        return state.new_counts(generation, size) if is_new else state.counts(generation, size)
