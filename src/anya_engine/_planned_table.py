# SPDX-License-Identifier: Apache-2.0
"""The part of the model table that plans are made from and carried out on."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ._frozen import FrozenMapping
from ._guard import Guarded
from ._state import Entry, Key, State
from ._taps import Tapped
from .config import ModelConfig
from .errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

    from . import _core
    from ._recoveries import Recoveries
    from ._routing import Split
    from ._taps import Tap

Target: TypeAlias = "_core.Model | Split[_core.Model] | Tapped | Guarded"

__all__ = ["PlannedTable", "Target"]


class PlannedTable:
    """What `ModelTable` inherits. Thread-safe.

    Attributes:
        entries: How each loaded version came to be. Replaced on change, never changed.
        labels: The version that a label names, by name and label. Likewise.
        named: Every version by name and version, and once more by each of its labels. Likewise.
        defaults: How later loads are run, by name. Likewise.
    """

    loaded: dict[Key, _core.Model]
    named: dict[Key, _core.Model]
    serving: dict[str, Target]
    recoveries: Recoveries
    loading: set[Key]
    _stable: dict[str, _core.Model]
    _taps: dict[str, Tap]
    _requests: dict[str, Path]
    _last_configs: dict[str, ModelConfig]
    _lock: threading.Lock

    def _begin_plans(self, configs: Mapping[str, ModelConfig]) -> None:
        self.entries: dict[Key, Entry] = {}
        self.labels: dict[Key, str] = {}
        self.defaults = configs

    def state(self) -> State:
        """What is loaded, as plans see it."""
        with self._lock:
            return self._state()

    def publish(self, now: State, goal: State, arrived: Mapping[Key, _core.Model]) -> list[_core.Model]:
        """Put a state in the place of the one that it was planned from.

        Args:
            now: What it was planned from, less what has been taken out since.
            goal: What is to be.
            arrived: The models that are new in it, or take the place of their like.

        Returns:
            Those that are in no table any more; to be retired.

        Raises:
            ModelLoadError: Something else is loaded or serves than the plan was made for. Nothing has changed.
        """
        mine = {name for name in (*now.serving, *goal.serving) if now.of(name) != goal.of(name)}
        with self._lock:
            there = self._state()
            for name in mine:
                if there.of(name) != now.of(name) or self._is_shared(name):
                    message = f"what is loaded of '{name}' was changed by somebody else in the meantime; try again"
                    raise ModelLoadError(message, field="name", value=name)
            loaded = {k: m for k, m in {**self.loaded, **arrived}.items() if k[0] not in mine or k in goal.entries}
            gone = [model for key, model in self.loaded.items() if loaded.get(key) is not model]
            self.entries = {k: e for k, e in self.entries.items() if k[0] not in mine}
            self.entries |= {k: e for k, e in goal.entries.items() if k[0] in mine}
            self.labels = {k: v for k, v in self.labels.items() if k[0] not in mine}
            self.labels |= {k: v for k, v in goal.labels.items() if k[0] in mine}
            self.defaults = goal.defaults
            self.loaded = loaded
            self._name_versions()
            self._serve({name: goal.serving.get(name) for name in mine})
            return gone

    def release(self, keys: Iterable[Key]) -> None:
        """The end of `reserve`."""
        with self._lock:
            self.loading.difference_update(keys)

    def _serve(self, versions: Mapping[str, str | None]) -> None:
        """Let these versions answer for their names, by one assignment; None: nobody does."""
        serving = dict(self.serving)
        for name, version in versions.items():
            if version is None:
                for table in (serving, self._stable, self._taps, self._requests, self._last_configs):
                    table.pop(name, None)
            else:
                model = self._stable[name] = self.loaded[name, version]
                serving[name] = self._front(name, model)
                self._last_configs[name] = self.entries[name, version].config
        self.serving = serving

    def _is_shared(self, name: str) -> bool:
        """Whether a rollout gives some of a name's requests to another version."""
        return self._route(name) is not self._stable.get(name)

    def _front(self, name: str, target: _core.Model | Split[_core.Model]) -> Target:
        """What answers for a name: its version or versions, with the tap on them, and who deals with failures."""
        tap = self._taps.get(name)
        tapped = target if tap is None else Tapped(target, tap)
        config = self.config_of(name, self._stable[name].version)
        if config.retry is None and config.breaker is None and not config.fallback:
            return tapped
        return Guarded(tapped, config, self.recoveries)

    def _route(self, name: str) -> _core.Model | Split[_core.Model] | None:
        """A name's version or versions, without what stands before them."""
        target = self.serving.get(name)
        if isinstance(target, Guarded):
            target = target.target
        return target.inner if isinstance(target, Tapped) else target

    def config_of(self, name: str, version: str) -> ModelConfig:
        """How a version is run; of one that has just gone, the defaults."""
        entry = self.entries.get((name, version))
        return ModelConfig() if entry is None else entry.config

    def _forget(self, gone: Collection[Key]) -> None:
        self.entries = {key: entry for key, entry in self.entries.items() if key not in gone}
        self.labels = {key: version for key, version in self.labels.items() if (key[0], version) not in gone}

    def _name_versions(self) -> None:
        labelled = {key: self.loaded.get((key[0], version)) for key, version in self.labels.items()}
        self.named = {**{key: model for key, model in labelled.items() if model is not None}, **self.loaded}

    def _state(self) -> State:
        return State(
            entries=FrozenMapping(self.entries),
            serving=FrozenMapping({name: model.version for name, model in self._stable.items()}),
            labels=FrozenMapping(self.labels),
            defaults=FrozenMapping(self.defaults),
        )
