# SPDX-License-Identifier: Apache-2.0
"""Which versions are loaded, and which one serves its name."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from itertools import count
from os import PathLike, fspath
from pathlib import Path
from typing import NoReturn

from . import _checks as check
from . import _core
from ._drift_report import unwatched
from ._drift_watch import DriftWatches, WatchedModel
from ._guard import Guarded, strict
from ._info import ModelInfo, TensorSpec
from ._log import Log
from ._opening import CPU, Opener, has_cpu_after_others
from ._planned_table import PlannedTable, Target
from ._recorded import recorded_path, replay
from ._records import facts
from ._recoveries import Recoveries
from ._reference_tap import ReferenceTap
from ._repository import full
from ._retire import PATIENCE, retire
from ._routing import Split
from ._runtime import RuntimeLibrary
from ._shared_counts import SharedCounts
from ._state import Entry, Key
from ._taps import Tap, TappedModel
from ._trust import Policies
from .config import ModelConfig
from .drift import DriftReport
from .errors import AnyaError, ConfigError, ModelLoadError, ModelNotFound
from .trust import TrustConfig

__all__ = ["ModelTable"]

_log = Log("anya_engine")
#: What the core says of a version and ModelInfo says after it.
_AS_THEY_ARE = (
    *("digest", "quantization", "providers", "batchable", "batching_note", "instances", "max_batch_size"),
    *("load_seconds", "warm_up_seconds"),
)


class ModelTable(PlannedTable):
    """The loaded versions of one engine. Thread-safe.

    Attributes:
        serving: What answers, by name: a version, or what picks one. Replaced on change, never changed: a reader reads
            it once.
        loaded: Every version, by name and version, in the order of loading. Likewise.
        loading: Versions on their way in.
        drift: Those whose inputs and outputs are watched.
        policies: What the core checks their origin by.
        trust: What must hold of the origin of a model whose configuration says nothing of it.
        refused: Loaded models that a registry lets run no longer, and the code of the refusal.
        loaded_at: When each came in, in seconds since the epoch.
    """

    def __init__(
        self,
        core: _core.Engine,
        library: RuntimeLibrary,
        configs: Mapping[str, ModelConfig],
        counts: SharedCounts | None = None,
    ) -> None:
        self._core = core
        self._last_configs: dict[str, ModelConfig] = {}
        self._requests: dict[str, Path] = {}
        self._lock = threading.Lock()  # of those who change something; not held while a model loads or drains
        self._stable: dict[str, _core.Model] = {}  # the version that serves its name, whoever else takes a share
        self._taps: dict[str, Tap] = {}
        self._bytes: dict[Key, bytes] = {}  # what versions on a device were loaded from: it may be lost
        self.serving: dict[str, Target] = {}
        self.recoveries = Recoveries(self)
        self.on_device: Callable[[], None] = lambda: None  # called when a version runs on more than the CPU
        self.loaded: dict[Key, _core.Model] = {}
        self.named: dict[Key, _core.Model] = {}
        self.loading: set[Key] = set()
        self.drift = DriftWatches()
        self.policies = Policies()
        self._opener = Opener(core, library, self.policies, counts)
        self.trust: TrustConfig | None = None
        self.refused: Mapping[_core.Model, str] = {}
        self.loaded_at: weakref.WeakKeyDictionary[_core.Model, float] = weakref.WeakKeyDictionary()
        self._begin_plans(configs)

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
            if config.trust is None:
                config = dataclasses.replace(config, trust=self.trust)
            where = source if isinstance(source, bytes) else fspath(source)
            model = self.open(key, where, config)
            origin = full(where) if isinstance(where, str) else None
            entry = Entry(key=key, source=origin, config=config, managed=False)
            with self._lock:
                self._last_configs[name] = config
                if isinstance(source, bytes) and config.providers != (CPU,):
                    self._bytes[key] = source
                self.loaded = {**self.loaded, key: model}
                self.named = {**self.named, key: model}
                self.entries = {**self.entries, key: entry}
                if name not in self._stable:
                    self._stable[name] = model
                    self._put(name, model)
        finally:
            self.release([key])
        return self.announce(key, model)

    def open(self, key: Key, source: str | bytes, config: ModelConfig) -> _core.Model:
        """Read, check, open and warm up what is in no table yet; whoever asked must `unload` it, or put it into one."""
        model = self._opener.load(key, source, config)
        try:
            self.recoveries.check(model, config)
            if isinstance(source, str):
                self._warm_up(model, source)
            self.drift.begin(model, config.drift)
        except BaseException:
            model.unload()
            raise
        if model.info()["providers"] != (CPU,):
            self.on_device()
        return model

    def reopen(self, key: Key) -> _core.Model:
        """Open a version again as it was opened: after its device was lost, where need be on the CPU alone.

        Raises:
            AnyaError: It cannot be; `ConfigError` where it was loaded from bytes and nobody has kept them,
                `ModelLoadError` where its files are others now: what was loaded by this name cannot be had.
        """
        entry = self.entries.get(key)
        source = (entry.source if entry is not None else None) or self._bytes.get(key)
        if entry is None or source is None:
            raise ConfigError(f"model '{':'.join(key)}' was loaded from bytes, which nobody has kept; load it again")
        digest = self.model(*key).info()["digest"]
        try:
            model = self.open(key, source, entry.config)
        except AnyaError:
            if not has_cpu_after_others(entry.config.providers):
                raise
            model = self.open(key, source, dataclasses.replace(entry.config, providers=(CPU,)))
        if model.info()["digest"] != digest:
            model.unload()
            raise ModelLoadError(f"the files of model '{':'.join(key)}' are others now; load them as another version")
        return model

    def replace(self, key: Key, old: _core.Model, new: _core.Model) -> bool:
        """Let a version that was opened again take its own place, if it still has it."""
        with self._lock:
            if self.loaded.get(key) is not old:
                return False
            name = key[0]
            self.loaded = {**self.loaded, key: new}
            self._name_versions()
            if self._stable.get(name) is old:
                is_shared = self._is_shared(name)
                self._stable[name] = new
                if not is_shared:
                    self._put(name, new)
            return True

    def announce(self, key: Key, model: _core.Model) -> ModelInfo:
        """Say what has come in."""
        info = self._info(key, model)
        self.loaded_at[model] = time.time()
        _log.info(
            *("loaded model=%s version=%s state=%s digest=%s batchable=%s seconds=%.3f", *key),
            *(info.state, info.digest, info.batchable, info.load_seconds),
            extra=facts("loaded", model=key[0], version=key[1], digest=info.digest, seconds=info.load_seconds),
        )
        return info

    def unload(self, name: str, version: str | None) -> None:
        """See `Engine.unload`."""
        with self._lock:
            gone = {key: model for key, model in self.loaded.items() if key[0] == name and version in (None, key[1])}
            if not gone:
                self.not_found(name, version)
            left = {key: model for key, model in self.loaded.items() if key not in gone}
            if self._stable[name] in gone.values():
                self._refuse_serving(name, version, [key[1] for key in left if key[0] == name])
                del self._stable[name]
                self._taps.pop(name, None)
                self._requests.pop(name, None)
                self.serving = {other: model for other, model in self.serving.items() if other != name}
                self._last_configs.pop(name, None)
            self.loaded = left
            for key in gone:
                self._bytes.pop(key, None)
            self._forget(gone)
            self._name_versions()
            stays = name in self._stable
        # Where nobody answers for the name any more, those on the way to it need not be waited for.
        retire([gone.popitem()[1] for _ in range(len(gone))], PATIENCE if stays else 0.0)

    def refuse_unload_of_serving(self, name: str, version: str | None) -> None:
        """Raise what unload would raise, before anything has changed."""
        if version is not None and self.stable(name) is self.loaded.get((name, version)):
            self._refuse_serving(name, version, [key[1] for key in self.loaded if key[0] == name and key[1] != version])

    def _refuse_serving(self, name: str, version: str | None, others: list[str]) -> None:
        if others:
            raise ConfigError(
                f"version '{version}' of model '{name}' serves its requests while {others} are warm; "
                f"unload those first, or unload('{name}') to take the whole model away",
                field="version",
                value=version,
            )

    def find(
        self, name: str, version: str | None, key: object, allow_degraded: bool = True
    ) -> _core.Model | TappedModel | Guarded:
        """What is to answer a request."""
        try:
            model = self.serving[name] if version is None else self.named[name, version]
        except (KeyError, TypeError):
            self.not_found(name, version)
        if not allow_degraded:
            model = strict(model)
        return model if isinstance(model, _core.Model) else model.pick(key)

    def has(self, name: str, version: str) -> bool:
        """Whether a version is loaded."""
        return (name, version) in self.loaded

    def model(self, name: str, version: str) -> _core.Model:
        """A loaded version."""
        try:
            return self.loaded[name, version]
        except (KeyError, TypeError):
            self.not_found(name, version)

    def stable(self, name: str) -> _core.Model:
        """The version that serves a name."""
        try:
            return self._stable[name]
        except (KeyError, TypeError):
            self.not_found(name, None)

    def stable_versions(self) -> dict[str, str]:
        """The version that serves each name."""
        return {name: model.version for name, model in self._stable.copy().items()}

    def serve(self, name: str, version: str) -> None:
        """Give a version all of its name's traffic."""
        with self._lock:
            model = self.model(name, version)
            self._stable[name] = model
            self._put(name, model)

    def route(self, name: str, stable: str, split: Split[_core.Model]) -> None:
        """Let two versions share the traffic; `stable` serves the name."""
        with self._lock:
            self._stable[name] = self.model(name, stable)
            self._put(name, split)

    def tap(self, name: str, tap: Tap | None) -> None:
        """Let somebody see the requests of a name, or nobody. One at a time: a second is refused (`ConfigError`)."""
        with self._lock:
            if name not in self._stable:
                return
            if tap is not None and name in self._taps:
                raise ConfigError(f"requests of model '{name}' are being copied already", field="name", value=name)
            inner = self._route(name)
            assert inner is not None
            if tap is None:
                self._taps.pop(name, None)
            else:
                self._taps[name] = tap
            self._put(name, inner)

    def drift_report(self, name: str, version: str | None) -> DriftReport:
        """See `Engine.drift`."""
        try:
            model = self._stable[name] if version is None else self.named[name, version]
        except (KeyError, TypeError):
            self.not_found(name, version)
        watched, tap = self.drift.of(model), self._taps.get(name)
        capturing = tap.progress if isinstance(tap, ReferenceTap) and tap.wants(model) else ""
        return unwatched(name, model.version, capturing) if watched is None else watched.report(capturing)

    def watched(self) -> list[WatchedModel]:
        """What is known of every version that is watched, in the order of loading."""
        found = [self.drift.of(model) for model in self.loaded.values()]
        return [each for each in found if each is not None]

    def trust_of(self, key: Key) -> TrustConfig | None:
        """What the origin of a loaded version was held against."""
        entry = self.entries.get(key)
        return None if entry is None else entry.config.trust

    def source(self, name: str, version: str) -> str | None:
        """The path a version came from; None for bytes."""
        entry = self.entries.get((name, version))
        return None if entry is None else entry.source

    def requests(self, name: str) -> Path | None:
        """Where requests of a name were recorded."""
        return self._requests.get(name)

    def recording(self, name: str, path: Path) -> None:
        """Requests of a name are, or will be, there."""
        with self._lock:
            self._requests[name] = path

    def _warm_up(self, model: _core.Model, source: str) -> None:
        own = recorded_path(source)
        if own.exists():
            self.recording(model.name, own)
        if (path := self.requests(model.name)) is not None:
            replay(model, path)

    def _put(self, name: str, target: _core.Model | Split[_core.Model]) -> None:
        self.serving = {**self.serving, name: self._front(name, target)}

    def not_found(self, name: object, version: object) -> NoReturn:
        """Say what is there instead."""
        if version is None or not any(key[0] == name for key in self.loaded):
            there = f"loaded: {', '.join(sorted(self.serving)) or 'nothing'}"
            raise ModelNotFound(f"there is no model {name!r}; {there}", field="name", value=name)
        there = ", ".join(key[1] for key in self.loaded if key[0] == name)
        if labels := ", ".join(f"{key[1]} = {number}" for key, number in self.labels.items() if key[0] == name):
            there += f" (labels: {labels})"
        kind = "" if isinstance(version, str) else " (a version is a string)"
        message = f"model {name!r} has no version {version!r}; it has {there}{kind}"
        raise ModelNotFound(message, field="version", value=version)

    def circuits(self, name: str) -> dict[str, _core.CircuitStats]:
        """The circuit breakers of a name's versions."""
        found = {key[1]: model.circuit() for key, model in self.loaded.items() if key[0] == name}
        return {version: circuit for version, circuit in found.items() if circuit is not None}

    def reset_run_times(self, name: str | None) -> None:
        """See `Engine.reset_run_times`."""
        for model in self.versions(name):
            model.reset_run_times()

    def versions(self, name: str | None) -> list[_core.Model]:
        """The loaded versions of a name, or of all."""
        models = [model for key, model in self.loaded.items() if name in (None, key[0])]
        if name is not None and not models:
            self.not_found(name, None)
        return models

    def infos(self) -> list[ModelInfo]:
        """Every loaded version, in the order of loading."""
        return [self._info(key, model) for key, model in self.loaded.items()]

    def reserve(self, name: str, version: str | None) -> Key:
        """Keep others from loading this version, until `release`. Which version that is, when none is named."""
        with self._lock:
            if (name, version) in self.labels:
                why = f"model '{name}' has a label '{version}', so no version can be called that"
                raise ModelLoadError(why, field="version", value=version)
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

    def _info(self, key: Key, model: _core.Model) -> ModelInfo:
        found = model.info()
        trust = self.trust_of(key)
        return ModelInfo(
            name=key[0],
            version=key[1],
            labels=tuple(label for (name, label), version in self.labels.items() if (name, version) == key),
            state="serving" if self._stable.get(key[0]) is model else "warm",
            inputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, d, s in found["inputs"]),
            outputs=tuple(TensorSpec(name=n, dtype=d, shape=s) for n, d, s in found["outputs"]),
            signer=found["signer"] or None,
            trust="revoked" if model in self.refused else "unverified" if trust is None else trust.mode,
            memory=found["memory_bytes"],
            **{field: found[field] for field in _AS_THEY_ARE},
        )
