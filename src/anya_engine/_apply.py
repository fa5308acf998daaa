# SPDX-License-Identifier: Apache-2.0
"""Carries plans out: everything that can fail first, one assignment, then what goes. A plan is done or undone."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from ._frozen import FrozenMapping
from ._goal import Found, goal
from ._log import Log
from ._model_table import ModelTable
from ._plan import Load, Plan, Reload, Step, Switch, Unload, plan
from ._records import facts
from ._repository import look, stamp_of
from ._retire import retire
from ._state import Entry, Key, State
from .config import EngineConfig
from .errors import AnyaError, ApplyError, ConfigError, ModelLoadError

if TYPE_CHECKING:
    from . import _core

__all__ = ["Applier", "described"]

_log = Log("anya_engine")


class Rollouts(Protocol):
    """What `Deployments` is to plans."""

    def in_progress(self) -> Collection[str]:
        """Names that a rollout is about."""

    def withdraw(self, name: str, version: str | None) -> None:
        """A version goes."""

    def forget(self, name: str) -> None:
        """Another version serves now: what was deployed before is history."""


class Applier:
    """Brings an engine from one configuration to another. Thread-safe; one change at a time.

    Attributes:
        config: What was applied last.
        meant: The version that it meant to serve, by name.
        rollouts: Knows the names that a rollout is about, which no plan may touch, and is told what a plan has moved.
        applied: Called after each change.
        lock: Held from the look at the disk until its plan has been carried out; requests never take it.
    """

    def __init__(
        self,
        table: ModelTable,
        rollouts: Rollouts,
        process_group: str | PathLike[str] | None = None,
        applied: Callable[[], None] = lambda: None,
    ) -> None:
        self._table = table
        self._process_group = process_group
        self.lock = threading.RLock()
        self.config = EngineConfig()
        self.meant: Mapping[str, str] = {}
        self.rollouts = rollouts
        self.applied = applied

    def plan(self, config: EngineConfig) -> Plan:
        """See `Engine.plan`."""
        self._check(config)
        now, found = self._table.state(), look(config)
        return described(now, goal(now, config, found), config, found)

    def apply(self, config: EngineConfig) -> Plan:
        """See `Engine.apply`."""
        with self.lock:
            found = look(config)
            now = self._table.state()
            wanted = goal(now, config, found)
            return self.carry_out(config, found, now, wanted, wanted.serving)

    def carry_out(
        self, config: EngineConfig, found: Found, now: State, wanted: State, meant: Mapping[str, str]
    ) -> Plan:
        """Bring the engine from `now` to `wanted`, which is what can be had of `config`; `meant` is to serve by it."""
        self._check(config)
        with self.lock:
            made = described(now, wanted, config, found)
            for name in self.rollouts.in_progress():
                if now.of(name) != wanted.of(name):
                    raise ConfigError(
                        f"a rollout of '{name}' is in progress; it must end before the configuration changes '{name}'",
                        field=f"models.{name}",
                    )
            gone = _Undertaking(self._table, now, wanted, made.steps).run()
            self.config, self.meant = config, meant
            self._table.trust = config.trust
            for step in made.steps:
                try:
                    if isinstance(step, Unload):
                        self.rollouts.withdraw(*step.entry.key)
                    elif isinstance(step, Switch):
                        self.rollouts.forget(step.name)
                except AnyaError as error:  # it is done, only the other processes have not been told
                    _log.error("%s", error)
                if isinstance(step, Switch):
                    _log.info(
                        *("switched model=%s version=%s before=%s", step.name, step.version, step.old),
                        extra=facts("switched", model=step.name, version=step.version, before=step.old),
                    )
            retire(gone)
            self.applied()
            return made

    def _check(self, config: EngineConfig) -> None:
        if config.process_group != self._process_group:
            raise ConfigError(
                f"process_group: must be what the engine was made with, {self._process_group!r}, as long as it lives, "
                f"got {config.process_group!r}",
                field="process_group",
                limit=self._process_group,
                value=config.process_group,
            )


def described(now: State, wanted: State, config: EngineConfig, found: Found) -> Plan:
    """The plan from one state to another, with what is known to be in its way."""
    steps = plan(now, wanted)
    loads = {step.entry.key for step in steps if isinstance(step, (Load, Reload))}
    missing = [
        f"models.{name}.source: there is no {found.sources[name].path}"
        for name in config.models
        if name in found.missing and any(key[0] == name for key in loads)
    ]
    return Plan(steps=steps, problems=tuple(missing), notes=found.notes)


class _Undertaking:
    """One plan on its way: what was opened for it, and what was taken out for it."""

    def __init__(self, table: ModelTable, now: State, wanted: State, steps: tuple[Step, ...]) -> None:
        self._table = table
        self._before = now
        self._now = now
        self._wanted = wanted
        self._steps = steps
        self._opened: dict[Key, _core.Model] = {}
        self._reserved: list[Key] = []
        self._taken_out: list[Entry] = []

    def run(self) -> list[_core.Model]:
        """Do it, or leave everything as it was; return what is to be retired."""
        step: Step | None = None
        try:
            for step in self._steps:
                self._prepare(step)
            step = None
            gone = self._table.publish(self._now, self._wanted, self._opened)
        except BaseException as error:
            undone = self._undo()
            if not isinstance(error, Exception):
                raise
            raise _failure(step, error, undone) from error
        finally:
            self._table.release(self._reserved)
        for key, model in self._opened.items():
            self._table.announce(key, model)
        return gone

    def _prepare(self, step: Step) -> None:
        if isinstance(step, Load):
            self._reserved.append(self._table.reserve(*step.entry.key))
            self._open(step.entry)
        elif isinstance(step, Reload):
            if step.old_goes_first:
                self._take_out(step.old)
            self._open(step.entry)
        elif isinstance(step, Unload) and step.first:
            self._take_out(step.entry)

    def _open(self, entry: Entry) -> None:
        assert entry.source is not None
        self._opened[entry.key] = self._table.open(entry.key, entry.source, entry.config)
        if entry.stamp is not None and stamp_of(entry.source) != entry.stamp:
            raise ModelLoadError(f"{entry.source} was changed while it was read", field="source", value=entry.source)

    def _take_out(self, entry: Entry) -> None:
        """Let a version go before its successor is there."""
        name, version = entry.key
        left = _without(self._now, entry.key)
        gone = self._table.publish(self._now, left, {})
        self._now = left
        self._taken_out.append(entry)
        self._reserved.append(self._table.reserve(name, version))
        retire(gone)

    def _undo(self) -> list[AnyaError]:
        """Back to how it was; returns what could not be loaded again."""
        for model in self._opened.values():
            model.unload()
        failed: list[AnyaError] = []
        back: dict[Key, _core.Model] = {}
        for entry in self._taken_out:
            assert entry.source is not None
            try:
                back[entry.key] = self._table.open(entry.key, entry.source, entry.config)
            except AnyaError as error:
                failed.append(error)
        if not self._taken_out:
            return failed
        lost = {entry.key for entry in self._taken_out} - back.keys()
        state = self._before
        for key in lost:
            state = _without(state, key)
        try:
            self._table.publish(self._now, state, back)
        except AnyaError as error:
            for model in back.values():
                model.unload()
            failed.append(error)
        return failed


def _without(state: State, key: Key) -> State:
    """The state without one version; another of its name answers if there is one."""
    name, version = key
    entries = {other: entry for other, entry in state.entries.items() if other != key}
    serving = dict(state.serving)
    if serving.get(name) == version:
        if left := [other for model, other in entries if model == name]:
            serving[name] = left[-1]
        else:
            del serving[name]
    labels = {label: number for label, number in state.labels.items() if (label[0], number) != key}
    return dataclasses.replace(
        state, entries=FrozenMapping(entries), serving=FrozenMapping(serving), labels=FrozenMapping(labels)
    )


def _failure(step: Step | None, error: Exception, failed: list[AnyaError]) -> ApplyError:
    what = str(step).splitlines()[0] if step is not None else "the switch"
    what = " ".join(what.split())
    after = "everything is as it was"
    if failed:
        after = "and what had gone before it could not be loaded again: " + "; ".join(map(str, failed))
    name = step.entry.key if isinstance(step, (Load, Reload, Unload)) else None
    return ApplyError(
        f"{what}: {error}; {after}", field=f"models.{name[0]}" if name else None, value=":".join(name) if name else None
    )
