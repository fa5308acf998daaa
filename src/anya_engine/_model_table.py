# SPDX-License-Identifier: Apache-2.0
"""Which versions are loaded, and which one serves its name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from itertools import count
from os import PathLike, fspath
from typing import NoReturn

from . import _checks as check
from . import _core
from ._cuda import preload_cuda
from ._frozen import FrozenMapping
from ._info import ModelInfo, TensorSpec
from ._options import core_options
from ._runtime import RuntimeLibrary
from ._state import Entry, Key, State
from .config import ModelConfig, Provider
from .errors import ConfigError, ModelLoadError, ModelNotFound

__all__ = ["ModelTable"]

_log = logging.getLogger("anya_engine")


class ModelTable:
    """The loaded versions of one engine. Thread-safe.

    Attributes:
        serving: The version that answers, by name. Replaced on change, never changed: a reader reads it once.
        loaded: Every version, by name and version, in the order of loading. Likewise.
        loading: Versions on their way in.
        entries: How each loaded version came to be, for plans. Likewise.
        labels: The version that a label names, by name and label. Likewise.
        defaults: How later loads are run, by name.
    """

    def __init__(self, core: _core.Engine, library: RuntimeLibrary, configs: Mapping[str, ModelConfig]) -> None:
        self._core = core
        self._library = library
        self._last_configs: dict[str, ModelConfig] = {}
        self._lock = threading.RLock()  # of those who change something; not held while a model loads or drains
        self.serving: dict[str, _core.Model] = {}
        self.loaded: dict[Key, _core.Model] = {}
        self.loading: set[Key] = set()
        self.entries: dict[Key, Entry] = {}
        self.labels: dict[Key, str] = {}
        self.defaults = configs

    def load(
        self, name: str, source: str | PathLike[str] | bytes, version: str | None, config: ModelConfig | None
    ) -> ModelInfo:
        """See `Engine.load`."""
        check.name("name", name)
        if version is not None:
            check.name("version", version)
        key = self.reserve(name, version)
        try:
            config = config or self._last_configs.get(name) or self.defaults.get(name) or ModelConfig()
            where = source if isinstance(source, bytes) else fspath(source)
            model = self.open(key, where, config)
            entry = Entry(key=key, source=where if isinstance(where, str) else None, config=config, managed=False)
            with self._lock:
                self._last_configs[name] = config
                self.loaded = {**self.loaded, key: model}
                self.entries = {**self.entries, key: entry}
                self.serving = {name: model, **self.serving}  # one that serves already stays
        finally:
            self.release([key])
        return self.announce(key, model)

    def open(self, key: Key, source: str | bytes, config: ModelConfig) -> _core.Model:
        """Read, check, open and warm up what is in no table yet; whoever asked must `unload` it, or put it into one."""
        if _asks_for_cuda(config.providers):
            preload_cuda(self._library.folder / "libonnxruntime_providers_cuda.so")
        return self._core.load(*key, source, core_options(config))

    def announce(self, key: Key, model: _core.Model) -> ModelInfo:
        """Say what has come in."""
        info = self._info(key, model)
        _log.info(
            "loaded model=%s version=%s state=%s digest=%s batchable=%s seconds=%.3f",
            *(*key, info.state, info.digest, info.batchable, info.load_seconds),
        )
        return info

    def state(self) -> State:
        """What is loaded, as plans see it."""
        with self._lock:
            return State(
                entries=FrozenMapping(self.entries),
                serving=FrozenMapping({name: model.version for name, model in self.serving.items()}),
                labels=FrozenMapping(self.labels),
                defaults=FrozenMapping(self.defaults),
            )

    def publish(self, now: State, goal: State, arrived: Mapping[Key, _core.Model]) -> list[_core.Model]:
        """Put a state in the place of the one that it was planned from.

        Args:
            now: What it was planned from, less what has been taken out since.
            goal: What is to be.
            arrived: The models that are new in it, or take the place of their like.

        Returns:
            Those that are in no table any more; to be unloaded.

        Raises:
            ModelLoadError: Something else is loaded or serves than the plan was made for. Nothing has changed.
        """
        mine = {name for name in (*now.serving, *goal.serving) if now.of(name) != goal.of(name)}
        with self._lock:
            there = self.state()
            for name in mine:
                if there.of(name) != now.of(name):
                    message = f"what is loaded of '{name}' was changed by somebody else in the meantime; try again"
                    raise ModelLoadError(message, field="name", value=name)
            loaded = {k: m for k, m in {**self.loaded, **arrived}.items() if k[0] not in mine or k in goal.entries}
            gone = [model for key, model in self.loaded.items() if loaded.get(key) is not model]
            self.entries = {k: e for k, e in self.entries.items() if k[0] not in mine}
            self.entries |= {k: e for k, e in goal.entries.items() if k[0] in mine}
            self.labels = {k: v for k, v in self.labels.items() if k[0] not in mine}
            self.labels |= {k: v for k, v in goal.labels.items() if k[0] in mine}
            serving = {name: loaded[name, version] for name, version in goal.serving.items() if name in mine}
            for name in mine:
                self._last_configs.pop(name, None)
                if name in serving:
                    self._last_configs[name] = self.entries[name, serving[name].version].config
            others = {name: model for name, model in self.serving.items() if name not in mine}
            self.loaded = loaded
            self.serving = {**others, **serving}
            self.defaults = goal.defaults
            return gone

    def unload(self, name: str, version: str | None) -> None:
        """See `Engine.unload`."""
        with self._lock:
            gone = {key: model for key, model in self.loaded.items() if key[0] == name and version in (None, key[1])}
            if not gone:
                self.not_found(name, version)
            left = {key: model for key, model in self.loaded.items() if key not in gone}
            if self.serving.get(name) in gone.values():
                if others := [key[1] for key in left if key[0] == name]:
                    raise ConfigError(
                        f"version '{version}' of model '{name}' serves its requests while {others} are warm; "
                        f"unload those first, or unload('{name}') to take the whole model away",
                        field="version",
                        value=version,
                    )
                self.serving = {other: model for other, model in self.serving.items() if other != name}
                self._last_configs.pop(name, None)
            self.loaded = left
            self.entries = {key: entry for key, entry in self.entries.items() if key in left}
            self.labels = {key: version for key, version in self.labels.items() if (key[0], version) in left}
        for key, model in gone.items():
            model.unload()
            _log.info("unloaded model=%s version=%s", *key)

    def find(self, name: str, version: str | None) -> _core.Model:
        """The version that is to answer."""
        try:
            return self.serving[name] if version is None else self.loaded[name, version]
        except (KeyError, TypeError):
            return self.labelled(name, version) or self.not_found(name, version)

    def labelled(self, name: str, label: str | None) -> _core.Model | None:
        """The version that a label names; asked when no version is called so."""
        try:
            return None if label is None else self.loaded[name, self.labels[name, label]]
        except (KeyError, TypeError):
            return None

    def not_found(self, name: object, version: object) -> NoReturn:
        """Say what is there instead."""
        if version is None or not any(key[0] == name for key in self.loaded):
            there = f"loaded: {', '.join(sorted(self.serving)) or 'nothing'}"
            raise ModelNotFound(f"there is no model {name!r}; {there}", field="name", value=name)
        there = ", ".join(key[1] for key in self.loaded if key[0] == name)
        if labels := ", ".join(f"{key[1]} = {number}" for key, number in self.labels.items() if key[0] == name):
            there += f" (labels: {labels})"
        message = f"model {name!r} has no version {version!r}; it has {there}"
        raise ModelNotFound(message, field="version", value=version)

    def reset_run_times(self, name: str | None) -> None:
        """See `Engine.reset_run_times`."""
        models = [model for key, model in self.loaded.items() if name in (None, key[0])]
        if name is not None and not models:
            self.not_found(name, None)
        for model in models:
            model.reset_run_times()

    def infos(self) -> list[ModelInfo]:
        """Every loaded version, in the order of loading."""
        return [self._info(key, model) for key, model in self.loaded.items()]

    def reserve(self, name: str, version: str | None) -> Key:
        """Keep others from loading this version, until `release`. Which version that is, when none is named."""
        with self._lock:
            if (name, version) in self.labels:
                message = f"model '{name}' has a label '{version}', so no version can be called that"
                raise ModelLoadError(message, field="version", value=version)
            taken = {key[1] for key in (*self.loaded, *self.loading) if key[0] == name}
            version = version or next(number for number in map(str, count(1)) if number not in taken)
            if version in taken:
                raise ModelLoadError(
                    f"model '{name}' has a version '{version}' already; choose another version, or unload it first",
                    field="version",
                    value=version,
                )
            self.loading.add((name, version))
            return name, version

    def release(self, keys: Iterable[Key]) -> None:
        """The end of `reserve`."""
        with self._lock:
            self.loading.difference_update(keys)

    def _info(self, key: Key, model: _core.Model) -> ModelInfo:
        facts = model.info()
        return ModelInfo(
            name=key[0],
            version=key[1],
            labels=tuple(label for (name, label), version in self.labels.items() if (name, version) == key),
            state="serving" if self.serving.get(key[0]) is model else "warm",
            inputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, d, s in facts["inputs"]),
            outputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, d, s in facts["outputs"]),
            digest=facts["digest"],
            signer=None,
            memory=facts["memory_bytes"],
            providers=facts["providers"],
            batchable=facts["batchable"],
            batching_note=facts["batching_note"],
            instances=facts["instances"],
            max_batch_size=facts["max_batch_size"],
            load_seconds=facts["load_seconds"],
        )


def _asks_for_cuda(providers: Iterable[Provider]) -> bool:
    return any((provider if isinstance(provider, str) else provider[0]).startswith("CUDA") for provider in providers)
