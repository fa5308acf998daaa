# SPDX-License-Identifier: Apache-2.0
"""From a configuration, and what lies in its repository, to the versions that an engine should have. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TypeVar

from . import _checks as check
from ._frozen import FrozenMapping
from ._state import Entry, Key, State
from .config import EngineConfig, ModelConfig
from .errors import ConfigError
from .repository import STABLE, is_version

V = TypeVar("V")

__all__ = ["Files", "Found", "goal", "hold", "hold_serving"]


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """Files of a version as they look from outside.

    Attributes:
        path: The directory or file.
        stamp: Changes when they do; None: not known, or changing right now.
    """

    path: str
    stamp: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies where a configuration points to.

    Attributes:
        versions: The repository's versions, by name and version.
        sources: The files of `ModelConfig.source`, by name.
        missing: Names whose source is not there.
        notes: What was left alone in the repository, and why.
    """

    versions: Mapping[str, Mapping[str, Files]] = dataclasses.field(default_factory=FrozenMapping)
    sources: Mapping[str, Files] = dataclasses.field(default_factory=FrozenMapping)
    missing: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def goal(now: State, config: EngineConfig, found: Found) -> State:
    """What the engine should have. What was loaded by hand stays, with the version that serves its name.

    Raises:
        ConfigError: The configuration contradicts itself, or what there is.
    """
    entries = {key: entry for key, entry in now.entries.items() if not entry.managed}
    newest: dict[str, str] = {}  # of what the configuration brings, by name
    for name in config.models:
        model = config.model(name)
        if model.source is not None:
            if name in found.versions:
                path = f"models.{check.key(name)}.source"
                raise ConfigError(f"{path}: the repository has a model of this name too", field=path)
            files = found.sources.get(name, Files(str(model.source), None))
            version = model.version or _number(now, name, files.path)
            wanted = Entry(key=(name, version), source=files.path, config=model, stamp=files.stamp)
            entries[wanted.key] = _kept(now, wanted)
            newest[name] = version
    for name, versions in found.versions.items():
        model = config.model(name)
        if model.version is not None:
            path = f"models.{check.key(name)}.version"
            message = f"{path}: the repository has versions of its own; the label {STABLE!r} says which one serves"
            raise ConfigError(message, field=path, value=model.version)
        for version in _chosen(now, name, model, config, versions):
            files = versions[version]
            wanted = Entry(key=(name, version), source=files.path, config=model, stamp=files.stamp)
            entries[wanted.key] = _kept(now, wanted)
            newest[name] = version
    labels = _labels(config, entries)
    serving = {name: labels.get((name, STABLE), version) for name, version in newest.items()}
    for name, _ in entries:
        serving.setdefault(name, _successor(now, name, entries))
    return State(
        entries=FrozenMapping(entries),
        serving=FrozenMapping(serving),
        labels=FrozenMapping(labels),
        defaults=FrozenMapping({name: config.model(name) for name in config.models}),
    )


def hold(wanted: State, now: State, names: Collection[str]) -> State:
    """The same goal, but these names stay exactly as they are."""
    if not names:
        return wanted
    return State(
        entries=FrozenMapping(_swapped(wanted.entries, now.entries, names)),
        serving=FrozenMapping(
            {name: version for name, version in wanted.serving.items() if name not in names}
            | {name: version for name, version in now.serving.items() if name in names}
        ),
        labels=FrozenMapping(_swapped(wanted.labels, now.labels, names)),
        defaults=wanted.defaults,
    )


def hold_serving(wanted: State, now: State, names: Collection[str]) -> State:
    """The same goal, but what answers for these names goes on answering, and so stays loaded."""
    kept = {name: now.serving[name] for name in names if name in now.serving and name in wanted.serving}
    stay = {key: now.entries[key] for key in kept.items() if key not in wanted.entries}
    return dataclasses.replace(
        wanted,
        entries=FrozenMapping({**wanted.entries, **stay}),
        serving=FrozenMapping({**wanted.serving, **kept}),
    )


def _kept(now: State, wanted: Entry) -> Entry:
    """The version that is there already, when it is what is wanted."""
    there = now.entries.get(wanted.key)
    if there is None or there.changes_to(wanted):
        return wanted
    return dataclasses.replace(there, config=wanted.config, stamp=wanted.stamp or there.stamp)


def _number(now: State, name: str, source: str) -> str:
    """The version of a source whose configuration names none: the one it has, or a new number."""
    same = [key[1] for key, there in now.entries.items() if key[0] == name and there.managed and there.source == source]
    if same:
        return now.serving[name] if now.serving.get(name) in same else same[-1]
    return str(max((int(version) for version in now.versions(name) if is_version(version)), default=0) + 1)


def _chosen(
    now: State, name: str, model: ModelConfig, config: EngineConfig, versions: Mapping[str, Files]
) -> list[str]:
    """Versions of the repository to have: what the policy says and what labels name; oldest first."""
    there = [
        version for version, files in versions.items() if files.stamp is not None or (name, version) in now.entries
    ]
    assert config.repository is not None
    policy = model.version_policy or config.repository.version_policy
    named = [version for version in model.version_labels.values() if version in there]
    return sorted({*policy.choose(there), *named}, key=int)


def _labels(config: EngineConfig, entries: Collection[Key]) -> dict[Key, str]:
    labels = {}
    for name, model in config.models.items():
        for label, version in model.version_labels.items():
            path = f"models.{check.key(name)}.version_labels.{check.key(label)}"
            have = ", ".join(other for model_name, other in entries if model_name == name) or "none"
            if (name, label) in entries:
                raise ConfigError(f"{path}: is a version of the model, which a label must not be", field=path)
            if (name, version) not in entries:
                message = f"{path}: there is no version {check.shown(version)}; there is: {have}"
                raise ConfigError(message, field=path, value=version)
            labels[name, label] = version
    return labels


def _successor(now: State, name: str, entries: Collection[Key]) -> str:
    """Which version answers for a name of which only versions are left that were loaded by hand."""
    left = [version for other, version in entries if other == name]
    if (serving := now.serving.get(name)) in left:
        assert serving is not None
        return serving
    return max(left, key=lambda version: (is_version(version), int(version) if is_version(version) else 0))


def _swapped(wanted: Mapping[Key, V], now: Mapping[Key, V], names: Collection[str]) -> dict[Key, V]:
    return {key: value for key, value in wanted.items() if key[0] not in names} | {
        key: value for key, value in now.items() if key[0] in names
    }
