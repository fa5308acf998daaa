# SPDX-License-Identifier: Apache-2.0
"""The versions of an engine as values: what is loaded, what serves, or what should be. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeAlias

from ._differences import Change, differences
from ._frozen import FrozenMapping
from .config import ModelConfig

__all__ = ["ABOUT_LOADING", "Entry", "Key", "State"]

#: A model's name and version.
Key: TypeAlias = tuple[str, str]

# Fields that say which version is loaded and how it comes in, not how it runs once it is there.
ABOUT_LOADING = frozenset({"source", "version", "version_policy", "version_labels", "version_transition"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A version, as it is or as it should be.

    Attributes:
        key: Its name and version.
        source: Where it is loaded from; None: from bytes that somebody gave.
        config: How it is run.
        stamp: What its files looked like from outside when they were read; None: not known.
        managed: A configuration brought it. What was loaded by hand is nobody's but the loader's.
    """

    key: Key
    source: str | None
    config: ModelConfig
    stamp: str | None = None
    managed: bool = True

    @property
    def resource_preserving(self) -> bool:
        """What it replaces goes before it comes."""
        return self.config.version_transition == "resource_preserving"

    def changes_to(self, new: Entry) -> tuple[Change, ...]:
        """What would make this version another one; () when it may stay as it is."""
        found = differences(self.config, new.config, without=ABOUT_LOADING)
        if self.source != new.source:
            return (Change("source", self.source or "bytes", new.source or "bytes"), *found)
        if None not in (self.stamp, new.stamp) and self.stamp != new.stamp:
            return (Change("files", "as they were read", "as they are now"), *found)
        return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that a plan may change.

    Attributes:
        entries: The versions.
        serving: The version that answers, by name: one for each name that has versions.
        labels: The version that a label names, by name and label.
        defaults: What later loads of a name use; what a configuration says of names, whether it loads them or not.
    """

    entries: Mapping[Key, Entry] = dataclasses.field(default_factory=FrozenMapping)
    serving: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)
    labels: Mapping[Key, str] = dataclasses.field(default_factory=FrozenMapping)
    defaults: Mapping[str, ModelConfig] = dataclasses.field(default_factory=FrozenMapping)

    def versions(self, name: str) -> list[str]:
        """The versions of a name."""
        return [version for other, version in self.entries if other == name]

    def of(self, name: str) -> State:
        """What it says of one name."""
        return State(
            entries=FrozenMapping({key: entry for key, entry in self.entries.items() if key[0] == name}),
            serving=FrozenMapping({name: self.serving[name]} if name in self.serving else {}),
            labels=FrozenMapping({key: version for key, version in self.labels.items() if key[0] == name}),
        )
