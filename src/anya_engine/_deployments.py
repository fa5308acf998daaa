# SPDX-License-Identifier: Apache-2.0
"""Every model's change of version, and the thread that moves canaries on when nobody asks."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import _checks as check
from . import _core
from ._canary import CanaryDeployment
from ._comparison import Comparison, refuse_other_schema
from ._deployment import Deployment, ShadowDeployment
from ._info import RolloutStatus
from ._log import Log
from ._model_table import ModelTable
from ._process_group import LOCK, ProcessGroup
from ._recorded import Recorder, recorded_path
from ._rollout_book import RolloutBook
from .errors import ConfigError, ModelNotFound, Unavailable
from .strategies import BlueGreen, Canary, Shadow, Strategy

__all__ = ["Deployments"]

_log = Log("anya_engine")

#: Seconds between two looks at what other processes of a group have done.
POLL = 0.05


class Deployments:
    """The rollouts of one engine. Thread-safe.

    `clock` is seconds that only grow, the same ones in every process of `group`; `wall` seconds since the epoch, `draw`
    chance in [0, 1): tests give their own and call `tick` themselves.
    """

    def __init__(
        self,
        table: ModelTable,
        callbacks: Callable[[], _core.CallbackQueue],
        *,
        group: ProcessGroup | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        self._callbacks = callbacks
        self._clock = clock
        self._changed = threading.Condition()  # its lock protects all below
        self._book = RolloutBook(table, callbacks, group, wall, draw, self._unload_later)
        self._stalls: dict[str, str] = {}  # why a rollout does not go on, by name
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._comparing: dict[str, Comparison] = {}  # who compares before it switches, by name

    def deploy(self, name: str, version: str, strategy: Strategy) -> RolloutStatus:
        """See `Engine.deploy`."""
        if not isinstance(strategy, (BlueGreen, Canary, Shadow)):
            check.refuse("strategy", "must be an anya.BlueGreen, an anya.Canary or an anya.Shadow", strategy)
        new = self.table.model(name, version)
        if isinstance(strategy, BlueGreen) and strategy.compare:
            self._compare(name, new, strategy)
        with self._changing(name):
            before, stable = self._check(name, new, strategy)
            deployment = self._book.new(name, stable, new, strategy)
            deployment.begin(self._clock())
            self._book.latest[name] = deployment
            if before is not None and before.loser is not None and before.loser[0] not in (version, stable.version):
                self._unload_later(name, before.loser[0])  # two versions are kept, not three
            self._start_thread()
            return deployment.status()

    def _compare(self, name: str, new: _core.Model, strategy: BlueGreen) -> None:
        comparison = Comparison(self.table, name, new, strategy, self._callbacks)
        closed = f"the engine was closed while versions of '{name}' were compared"
        with self._changed:
            self._check(name, new, strategy)
            if self._stopped:
                raise Unavailable(closed)
            self._comparing[name] = comparison
        try:
            found = comparison.run()
        except ConfigError:
            if self._stopped:
                raise Unavailable(closed) from None
            raise
        finally:
            del self._comparing[name]
        _log.info("rollout model=%s version=%s %s", name, new.version, found)

    def promote(self, name: str) -> RolloutStatus:
        """See `Engine.promote`."""
        with self._changing(name):
            deployment = self._in_progress(name, "promote")
            deployment.promote(self._clock(), f"promoted to {deployment.new} by hand")
            return deployment.status()

    def rollback(self, name: str) -> RolloutStatus:
        """See `Engine.rollback`."""
        with self._changing(name):
            deployment = self._book.latest.get(name)
            if deployment is None or (back := deployment.rollback_to()) is None:
                self.table.stable(name)  # an unknown name is refused as such
                raise ConfigError(self._nothing_to_roll_back(name, deployment), field="name", value=name)
            deployment.roll_back(self._clock(), f"rolled back to {back} by hand")
            return deployment.status()

    def pause(self, name: str) -> RolloutStatus:
        """See `Engine.pause`."""
        with self._changing(name):
            canary = self._canary(name, "pause")
            if canary.state == "progressing":
                canary.pause("paused by hand")
            return canary.status()

    def resume(self, name: str) -> RolloutStatus:
        """See `Engine.resume`."""
        with self._changing(name):
            canary = self._canary(name, "resume")
            if canary.state == "paused":
                canary.resume(self._clock(), "resumed by hand")
            return canary.status()

    def report(self, name: str, metric: str, bad: bool, key: object) -> None:
        """See `Engine.report`."""
        check.boolean("bad", bad)
        if key is None:
            check.refuse("key", "must be the key that the request had: it tells which version's answer this is of", key)
        with self._changed:
            deployment = self._book.latest.get(name)
            if deployment is None:
                self.table.stable(name)
            if isinstance(deployment, CanaryDeployment) and deployment.in_progress:
                if metric not in deployment.own:
                    judged = f"has {', '.join(deployment.own)}" if deployment.own else "judges none"
                    what = f"must be a word of your own in Canary(metrics=…); the canary of '{name}' {judged}"
                    check.refuse("metric", what, metric)
                deployment.report(metric, bad, key, self._clock())

    def record(self, name: str, count: int) -> Path:
        """See `Engine.record`."""
        count = check.integer("count", count, 1, 1_000_000)
        with self._changed:
            stable = self.table.stable(name)
            source = self.table.source(name, stable.version)
            if source is None:
                check.refuse("name", "a model from bytes has no place to record beside", name)
            path = recorded_path(source)
            names = [spec[0] for spec in stable.info()["inputs"]]
            self.table.tap(name, Recorder(path, names, count, lambda: self.table.tap(name, None)))
            self.table.recording(name, path)
            return path

    def status(self, name: str) -> RolloutStatus:
        """See `Engine.status`."""
        stable = self.table.stable(name).version
        with self._changed:
            self._book.refresh()
            trouble = self._book.troubles.get(name) or self._stalls.get(name, "")
            status = self._status(name, stable)
            return dataclasses.replace(status, out_of_step=trouble) if trouble else status

    def reroute(self, name: str) -> None:
        """A version of this name was opened again: a rollout in progress must not ask the old one."""
        with self._changed:
            deployment = self._book.latest.get(name)
            if deployment is not None and deployment.in_progress:
                deployment.reroute()

    def overview(self, patience: float) -> tuple[list[RolloutStatus], dict[tuple[str, str, str], int]]:
        """Where every loaded model stands, and how often each move was made (`RolloutBook.moves`).

        Raises:
            Unavailable: Somebody has been changing a rollout for `patience` seconds.
        """
        if not self._changed.acquire(timeout=patience):
            raise Unavailable(f"a rollout has been changing for {patience:g} s")
        try:
            found = [self._status(name, stable) for name, stable in self.table.stable_versions().items()]
            return found, dict(self._book.moves)
        finally:
            self._changed.release()

    def withdraw(self, name: str, version: str | None) -> None:
        """A version is about to be unloaded by hand: end what depends on it; None: all versions are, here."""
        with self._changed:
            if version is None:
                deployment = self._book.latest.pop(name, None)
                if isinstance(deployment, ShadowDeployment):
                    self.table.tap(name, None)
                self._book.leave(name)
                return
            if name not in self._book.latest:
                return
        with self._changing(name):
            deployment = self._book.latest.get(name)
            if deployment is None:
                return
            if deployment.in_progress and version == deployment.new:
                deployment.roll_back(self._clock(), f"version {version} was unloaded by hand")
            if deployment.loser is not None and deployment.loser[0] == version:
                deployment.loser = None

    def in_progress(self) -> frozenset[str]:
        """Names that a rollout is about."""
        with self._changed:
            self._book.refresh()
            return frozenset(name for name, deployment in self._book.latest.items() if deployment.in_progress)

    def forget(self, name: str) -> None:
        """A configuration has made another version serve: what was deployed before is history."""
        with self._changing(name):
            deployment = self._book.latest.get(name)
            if deployment is not None and not deployment.in_progress:
                del self._book.latest[name]

    def join(self) -> None:
        """Go where the group is, with what has been loaded; without a group there is nowhere to go."""
        if self._book.is_shared:
            with self._changed:
                self._book.refresh()
                self._start_thread()

    def tick(self) -> float:
        """Do what is due; return when the next thing is (of `clock`)."""
        with self._changed:
            self._book.refresh()
            return min((self._tend(name) for name in list(self._book.latest)), default=math.inf)

    def stop(self) -> None:
        """End the thread and the membership; rollouts stay as they are. Idempotent."""
        with self._changed:
            self._stopped = True
            for comparison in list(self._comparing.values()):
                comparison.end()
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        with self._changed:
            self._book.close()

    def _status(self, name: str, stable: str) -> RolloutStatus:
        deployment = self._book.latest.get(name)
        idle = RolloutStatus(name=name, state="idle", stable=stable, weights={stable: 100.0})
        status = idle if deployment is None else deployment.status()
        comparison = self._comparing.get(name)
        return status if comparison is None else comparison.shown(status)

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        with self._changed, self._book.changing(name):
            yield
            self._changed.notify()

    def _tend(self, name: str) -> float:
        """Do what is due of one rollout, unless another process is about to; return when the next thing is."""
        now = self._clock()
        if _due(self._book.latest[name]) > now:
            return _due(self._book.latest[name])
        try:
            with self._book.changing(name, 0):
                rollout = self._book.latest.get(name)
                if rollout is None:
                    return math.inf
                rollout.tick(now)
                if rollout.loser is not None and rollout.loser[1] <= now:
                    self._unload_later(name, rollout.loser[0])
                    rollout.loser = None
        except (ConfigError, Unavailable) as error:
            if error.field != LOCK and str(error) != self._stalls.get(name):
                _log.error("rollout model=%s stands still: %s", name, error)
                self._stalls[name] = str(error)
            return now + POLL
        self._stalls.pop(name, None)
        return _due(rollout)

    def _check(self, name: str, new: _core.Model, strategy: Strategy) -> tuple[Deployment | None, _core.Model]:
        """Refuse what cannot be deployed; return the deployment before and the version that serves."""
        before = self._book.latest.get(name)
        if name in self._comparing:
            version = self._comparing[name].new.version
            raise ConfigError(
                f"a deploy of '{name}' is comparing version '{version}' (status('{name}').why says how far it is); it "
                "ends by itself, after compare_timeout at the latest",
                field="name",
                value=name,
            )
        if before is not None and before.in_progress:
            raise ConfigError(
                f"model '{name}' is in a {before.kind} rollout to version '{before.new}' ({before.why}); "
                f"promote('{name}') or rollback('{name}') ends it",
                field="name",
                value=name,
            )
        if before is not None and before.out_of_step:
            raise ConfigError(f"model '{name}': {before.out_of_step}", field="name", value=name)
        stable = self.table.stable(name)
        if stable.version == new.version:
            raise ConfigError(
                f"version '{new.version}' of model '{name}' serves already", field="version", value=new.version
            )
        if not strategy.allow_schema_change:
            refuse_other_schema(name, stable, new)
        return before, stable

    def _in_progress(self, name: str, what: str) -> Deployment:
        deployment = self._book.latest.get(name)
        if deployment is None or not deployment.in_progress:
            self.table.stable(name)
            why = " (a deploy is still comparing)" if name in self._comparing else ""
            message = f"there is no rollout of model '{name}' in progress to {what}{why}"
            raise ConfigError(message, field="name", value=name)
        return deployment

    def _canary(self, name: str, what: str) -> CanaryDeployment:
        deployment = self._in_progress(name, what)
        if not isinstance(deployment, CanaryDeployment):
            raise ConfigError(f"a {deployment.kind} rollout has nothing to {what}", field="name", value=name)
        return deployment

    @staticmethod
    def _nothing_to_roll_back(name: str, deployment: Deployment | None) -> str:
        if deployment is None:
            return f"model '{name}' has nothing to go back to: no version has been deployed since it was loaded"
        if deployment.state == "rolled_back":
            return f"model '{name}' has been rolled back to {deployment.old} already"
        return (
            f"model '{name}' has nothing to go back to: version {deployment.old} is no longer loaded "
            f"(keep_warm was {deployment.strategy.keep_warm:g} s)"
        )

    def _unload_later(self, name: str, version: str) -> None:
        threading.Thread(target=self._unload, args=(name, version), name="anya-unload", daemon=True).start()

    def _unload(self, name: str, version: str) -> None:
        try:
            self.table.unload(name, version)
        except (ModelNotFound, ConfigError) as error:
            _log.info("rollout model=%s version=%s stays as it is: %s", name, version, error)

    def _start_thread(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="anya-rollouts", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        longest = POLL if self._book.is_shared else 3600.0
        with self._changed:
            while not self._stopped:
                try:
                    due = self.tick()
                except Exception:  # noqa: BLE001  # one rollout's trouble must not end the others
                    _log.exception("a rollout could not be looked at; trying again")
                    due = self._clock() + 1.0
                self._changed.wait(max(0.0, min(due - self._clock(), longest)))


def _due(deployment: Deployment) -> float:
    """When something of it is to be done, by time.monotonic()."""
    return min(deployment.due(), deployment.loser[1] if deployment.loser else math.inf)
