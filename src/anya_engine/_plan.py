# SPDX-License-Identifier: Apache-2.0
"""From what an engine has and what it should have to the steps between. Pure: nothing is done here.

Steps are carried out in order. Everything is loaded before anything is taken away, unless a model says otherwise
(`ModelConfig.version_transition`), and what makes the change visible comes together, after every load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeAlias

from ._differences import Change, differences
from ._state import ABOUT_LOADING, Entry, Key, State
from .config import ModelConfig

__all__ = ["Default", "Label", "Load", "Plan", "Reload", "Step", "Switch", "Unload", "plan"]


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """A version comes in, warm."""

    entry: Entry

    def __str__(self) -> str:
        return f"load    {_name(self.entry.key)} from {self.entry.source}"


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """A version is loaded again, beside itself, and takes its own place: what a session is made of cannot change."""

    entry: Entry
    old: Entry
    changes: tuple[Change, ...]

    @property
    def old_goes_first(self) -> bool:
        """There is a gap. What came as bytes could not be loaded again, so it never goes first."""
        return self.entry.resource_preserving and self.old.source is not None

    def __str__(self) -> str:
        how = " (the old one goes first)" if self.old_goes_first else ""
        return "\n".join([f"reload  {_name(self.entry.key)}{how}", *(f"          {each}" for each in self.changes)])


@dataclasses.dataclass(frozen=True, slots=True)
class Switch:
    """Requests that name no version go to this one."""

    name: str
    version: str
    old: str | None

    def __str__(self) -> str:
        return f"serve   {self.name}: {self.old or 'nothing'} → {self.version}"


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A label names another version, or none."""

    name: str
    label: str
    version: str | None
    old: str | None

    def __str__(self) -> str:
        return f"label   {self.name} {self.label}: {self.old or 'nothing'} → {self.version or 'nothing'}"


@dataclasses.dataclass(frozen=True, slots=True)
class Default:
    """Later loads of a name are run otherwise; None: as any name's."""

    name: str
    config: ModelConfig | None
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return "\n".join([f"default {self.name}, for later loads", *(f"          {each}" for each in self.changes)])


@dataclasses.dataclass(frozen=True, slots=True)
class Unload:
    """A version is drained and goes."""

    entry: Entry
    first: bool

    def __str__(self) -> str:
        return f"unload  {_name(self.entry.key)}{' (before what comes)' if self.first else ''}"


Step: TypeAlias = Load | Reload | Switch | Label | Default | Unload


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a configuration would change, in order. False when that is nothing; `str()` says it in words.

    Attributes:
        steps: What is done.
        problems: What is known to fail.
        notes: What was found and left alone.
    """

    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __str__(self) -> str:
        lines = [str(step) for step in self.steps] or ["nothing to do"]
        lines += [f"problem {text}" for text in self.problems]
        return "\n".join(lines + [f"note    {text}" for text in self.notes])

    def as_dict(self) -> dict[str, Any]:
        """The plan in JSON's words."""
        steps = [_as_dict(step) for step in self.steps]
        return {"steps": steps, "problems": list(self.problems), "notes": list(self.notes)}


def plan(now: State, goal: State) -> tuple[Step, ...]:
    """The steps from one state to another; () when there is nothing to do."""
    coming = [Load(entry) for key, entry in goal.entries.items() if key not in now.entries]
    again = [
        Reload(entry, old, changes)
        for key, entry in goal.entries.items()
        if (old := now.entries.get(key)) is not None and (changes := old.changes_to(entry))
    ]
    saving = {step.entry.key[0] for step in coming if step.entry.resource_preserving}
    going = [
        Unload(entry, key[0] in saving and entry.source is not None)
        for key, entry in now.entries.items()
        if key not in goal.entries
    ]
    switches = [
        Switch(name, version, now.serving.get(name))
        for name, version in goal.serving.items()
        if now.serving.get(name) != version
    ]
    return (
        *(step for step in again if not step.old_goes_first),
        *(step for step in coming if step.entry.key[0] not in saving),  # those that may fail without harm come first
        *(step for step in going if step.first),
        *(step for step in again if step.old_goes_first),
        *(step for step in coming if step.entry.key[0] in saving),
        *switches,
        *_labels(now, goal),
        *_defaults(now, goal),
        *(step for step in going if not step.first),
    )


def _labels(now: State, goal: State) -> Iterator[Label]:
    for (name, label), version in goal.labels.items():
        if (old := now.labels.get((name, label))) != version:
            yield Label(name, label, version, old)
    for (name, label), old in now.labels.items():
        # A name that goes takes its labels with it.
        if (name, label) not in goal.labels and name in goal.serving:
            yield Label(name, label, None, old)


def _defaults(now: State, goal: State) -> Iterator[Default]:
    for name in (*goal.defaults, *(name for name in now.defaults if name not in goal.defaults)):
        old, new = now.defaults.get(name), goal.defaults.get(name)
        if (new or old or ModelConfig()).source is not None:
            continue  # a version comes or goes, which is said already
        if changes := differences(old or ModelConfig(), new or ModelConfig(), without=ABOUT_LOADING):
            yield Default(name, new, changes)


def _name(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _as_dict(step: Step) -> dict[str, Any]:
    facts: dict[str, Any] = {"step": type(step).__name__.lower()}
    if isinstance(step, (Load, Reload, Unload)):
        facts |= {"name": step.entry.key[0], "version": step.entry.key[1], "source": step.entry.source}
    else:
        facts["name"] = step.name
    if isinstance(step, (Reload, Default)):
        facts["changes"] = [dataclasses.asdict(change) for change in step.changes]
    if isinstance(step, (Switch, Label)):
        facts |= {"version": step.version, "old": step.old}
    if isinstance(step, Label):
        facts["label"] = step.label
    return facts
