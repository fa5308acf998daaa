# SPDX-License-Identifier: Apache-2.0
"""Every model's change of version, and the thread that moves canaries on when nobody asks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import _checks as check
from . import _core
from ._comparison import compare
from ._deployment import BlueGreenDeployment, CanaryDeployment, Deployment, ShadowDeployment
from ._info import RolloutStatus, TensorSpec
from ._model_table import ModelTable
from ._recorded import Recorder, recorded_path
from ._routing import salt_of
from ._shadow import Mirror
from .errors import ConfigError, ModelNotFound
from .strategies import BlueGreen, Canary, Shadow, Strategy

__all__ = ["Deployments"]

_log = logging.getLogger("anya_engine")


class Deployments:
    """The rollouts of one engine. Thread-safe.

    `clock` is seconds that only grow, `wall` seconds since the epoch, `draw` chance in [0, 1): tests give their own and
    call `tick` themselves.
    """

    def __init__(
        self,
        table: ModelTable,
        callbacks: Callable[[], _core.CallbackQueue],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.table = table
        self._callbacks = callbacks
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._changed = threading.Condition()  # its lock protects all below
        self._latest: dict[str, Deployment] = {}
        self._number = 0
        self._thread: threading.Thread | None = None
        self._stopped = False

    def deploy(self, name: str, version: str, strategy: Strategy) -> RolloutStatus:
        """See `Engine.deploy`."""
        if not isinstance(strategy, (BlueGreen, Canary, Shadow)):
            check.refuse("strategy", "must be an anya.BlueGreen, an anya.Canary or an anya.Shadow", strategy)
        new = self.table.model(name, version)
        if isinstance(strategy, BlueGreen) and strategy.compare:
            with self._changed:
                self._check(name, new, strategy)
            _log.info(
                "rollout model=%s version=%s %s",
                name,
                version,
                compare(self.table, name, new, strategy, self._callbacks),
            )
        with self._changed:
            before, stable = self._check(name, new, strategy)
            deployment = self._make(name, stable.version, version, strategy)
            deployment.begin(self._clock())
            self._latest[name] = deployment
            if before is not None and before.loser is not None and before.loser[0] not in (version, stable.version):
                self._unload_later(name, before.loser[0])  # two versions are kept, not three
            self._start_thread()
            self._changed.notify()
            return deployment.status()

    def promote(self, name: str) -> RolloutStatus:
        """See `Engine.promote`."""
        with self._changed:
            deployment = self._in_progress(name, "promote")
            deployment.promote(self._clock(), f"promoted to {deployment.new} by hand")
            self._changed.notify()
            return deployment.status()

    def rollback(self, name: str) -> RolloutStatus:
        """See `Engine.rollback`."""
        with self._changed:
            deployment = self._latest.get(name)
            if deployment is None or (back := deployment.rollback_to()) is None:
                self.table.stable(name)  # an unknown name is refused as such
                raise ConfigError(self._nothing_to_roll_back(name, deployment), field="name", value=name)
            deployment.roll_back(self._clock(), f"rolled back to {back} by hand")
            self._changed.notify()
            return deployment.status()

    def pause(self, name: str) -> RolloutStatus:
        """See `Engine.pause`."""
        with self._changed:
            canary = self._canary(name, "pause")
            if canary.state == "progressing":
                canary.pause("paused by hand")
            return canary.status()

    def resume(self, name: str) -> RolloutStatus:
        """See `Engine.resume`."""
        with self._changed:
            canary = self._canary(name, "resume")
            if canary.state == "paused":
                canary.resume(self._clock(), "resumed by hand")
            self._changed.notify()
            return canary.status()

    def report(self, name: str, metric: str, bad: bool, key: object) -> None:
        """See `Engine.report`."""
        check.boolean("bad", bad)
        if key is None:
            check.refuse("key", "must be the key that the request had", key)
        with self._changed:
            deployment = self._latest.get(name)
            if deployment is None:
                self.table.stable(name)
            if isinstance(deployment, CanaryDeployment) and deployment.in_progress:
                if metric not in deployment.own:
                    check.refuse(
                        "metric", f"must be one of the canary's own, {', '.join(deployment.own) or 'none'}", metric
                    )
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
        with self._changed:
            deployment = self._latest.get(name)
            if deployment is not None:
                return deployment.status()
        stable = self.table.stable(name).version
        return RolloutStatus(name=name, state="idle", stable=stable, weights={stable: 100.0})

    def reroute(self, name: str) -> None:
        """A version of this name was opened again: a canary in progress must not ask the old one."""
        with self._changed:
            deployment = self._latest.get(name)
            if isinstance(deployment, CanaryDeployment) and deployment.in_progress:
                deployment.reroute()

    def withdraw(self, name: str, version: str | None) -> None:
        """A version is about to be unloaded by hand: end what depends on it."""
        with self._changed:
            deployment = self._latest.get(name)
            if deployment is None:
                return
            if version is None:
                if isinstance(deployment, ShadowDeployment):
                    self.table.tap(name, None)
                del self._latest[name]
                return
            if deployment.in_progress and version == deployment.new:
                deployment.roll_back(self._clock(), f"version {version} was unloaded by hand")
            if deployment.loser is not None and deployment.loser[0] == version:
                deployment.loser = None

    def in_progress(self) -> frozenset[str]:
        """Names that a rollout is about."""
        with self._changed:
            return frozenset(name for name, deployment in self._latest.items() if deployment.in_progress)

    def forget(self, name: str) -> None:
        """A configuration has made another version serve: what was deployed before is history."""
        with self._changed:
            deployment = self._latest.get(name)
            if deployment is not None and not deployment.in_progress:
                del self._latest[name]

    def tick(self) -> float:
        """Do what is due; return when the next thing is (of `clock`)."""
        with self._changed:
            now = self._clock()
            gone = []
            for name, deployment in self._latest.items():
                try:
                    deployment.tick(now)
                except ModelNotFound as error:
                    _log.error("rollout model=%s lost a version: %s", name, error)
                if deployment.loser is not None and deployment.loser[1] <= now:
                    gone.append((name, deployment.loser[0]))
                    deployment.loser = None
            due = self._due()
        for name, version in gone:
            self._unload(name, version)
        return due

    def _due(self) -> float:
        return min(
            (min(each.due(), each.loser[1] if each.loser else each.due()) for each in self._latest.values()),
            default=float("inf"),
        )

    def stop(self) -> None:
        """End the thread; rollouts stay as they are. Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _check(self, name: str, new: _core.Model, strategy: Strategy) -> tuple[Deployment | None, _core.Model]:
        """Refuse what cannot be deployed; return the deployment before and the version that serves."""
        before = self._latest.get(name)
        if before is not None and before.in_progress:
            raise ConfigError(
                f"model '{name}' is in a {before.kind} rollout to version '{before.new}' ({before.why}); "
                f"promote('{name}') or rollback('{name}') ends it",
                field="name",
                value=name,
            )
        stable = self.table.stable(name)
        if stable.version == new.version:
            raise ConfigError(
                f"version '{new.version}' of model '{name}' serves already", field="version", value=new.version
            )
        if not strategy.allow_schema_change:
            _same_schema(name, stable, new)
        return before, stable

    def _make(self, name: str, old: str, new: str, strategy: Strategy) -> Deployment:
        if isinstance(strategy, BlueGreen):
            return BlueGreenDeployment(self.table, name, old, new, strategy, self._wall)
        if isinstance(strategy, Shadow):
            mirror = Mirror(
                self.table.model(name, new),
                self._callbacks,
                self._draw,
                share=strategy.share,
                rtol=strategy.rtol,
                atol=strategy.atol,
            )
            return ShadowDeployment(self.table, name, old, new, strategy, mirror, self._wall)
        self._number += 1
        salt = salt_of(name, new, self._number, _core.key_position)
        return CanaryDeployment(self.table, name, old, new, strategy, salt, self._draw, self._wall)

    def _in_progress(self, name: str, what: str) -> Deployment:
        deployment = self._latest.get(name)
        if deployment is None or not deployment.in_progress:
            self.table.stable(name)
            raise ConfigError(f"there is no rollout of model '{name}' in progress to {what}", field="name", value=name)
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
            f"(keep_warm was {deployment.keep_warm:g} s)"
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
        while True:
            failed = False
            try:
                self.tick()
            except Exception:  # noqa: BLE001  # one rollout's trouble must not end the others
                _log.exception("a rollout could not be looked at; trying again")
                failed = True
            with self._changed:
                if self._stopped:
                    return
                # Anew: a rollout may have begun while the last one's loser was unloaded.
                due = self._clock() + 1.0 if failed else self._due()
                if (wait := due - self._clock()) > 0:
                    self._changed.wait(min(wait, 3600.0))


def _same_schema(name: str, old: _core.Model, new: _core.Model) -> None:
    """Refuse a version whose inputs or outputs are others."""
    before, after = old.info(), new.info()
    for field in ("inputs", "outputs"):
        ours, theirs = _shown(before[field]), _shown(after[field])
        if ours != theirs:
            raise ConfigError(
                f"version '{new.version}' of model '{name}' has other {field} than version '{old.version}', which "
                f"serves: {theirs} instead of {ours}; allow_schema_change=True deploys it all the same",
                field="version",
                limit=ours,
                value=theirs,
            )


def _shown(specs: Any) -> str:
    made = (TensorSpec(name=name, dtype=dtype, shape=shape) for name, dtype, shape in specs)
    # What a free size is called says nothing.
    return ", ".join(
        f"{each.name}: {each.dtype}[{', '.join(str(size) if isinstance(size, int) else '?' for size in each.shape)}]"
        for each in sorted(made, key=lambda spec: spec.name)
    )
