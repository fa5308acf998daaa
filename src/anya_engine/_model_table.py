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
from ._core_rules import schema_reader
from ._cuda import preload_cuda
from ._info import ModelInfo, TensorSpec
from ._options import core_options
from ._runtime import RuntimeLibrary
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
    """

    def __init__(self, core: _core.Engine, library: RuntimeLibrary, configs: Mapping[str, ModelConfig]) -> None:
        self._core = core
        self._library = library
        self._engine_configs = configs
        self._last_configs: dict[str, ModelConfig] = {}
        self._lock = threading.Lock()  # of those who change something; not held while a model loads or drains
        self.serving: dict[str, _core.Model] = {}
        self.loaded: dict[tuple[str, str], _core.Model] = {}
        self.loading: set[tuple[str, str]] = set()

    def load(
        self, name: str, source: str | PathLike[str] | bytes, version: str | None, config: ModelConfig | None
    ) -> ModelInfo:
        """See `Engine.load`."""
        check.name("name", name)
        if version is not None:
            check.name("version", version)
        key = self._reserve(name, version)
        try:
            config = config or self._last_configs.get(name) or self._engine_configs.get(name) or ModelConfig()
            if _asks_for_cuda(config.providers):
                preload_cuda(self._library.folder / "libonnxruntime_providers_cuda.so")
            where = source if isinstance(source, bytes) else fspath(source)
            origin = "bytes" if isinstance(where, bytes) else f"'{where}'"
            read_schema = schema_reader(config, f"model '{':'.join(key)}' from {origin}")
            model = self._core.load(*key, where, core_options(config), read_schema)
            with self._lock:
                self._last_configs[name] = config
                self.loaded = {**self.loaded, key: model}
                self.serving = {name: model, **self.serving}  # one that serves already stays
        finally:
            with self._lock:
                self.loading.discard(key)
        info = self._info(key, model)
        _log.info(
            "loaded model=%s version=%s state=%s digest=%s batchable=%s seconds=%.3f",
            *(*key, info.state, info.digest, info.batchable, info.load_seconds),
        )
        return info

    def unload(self, name: str, version: str | None) -> None:
        """See `Engine.unload`."""
        with self._lock:
            gone = {key: model for key, model in self.loaded.items() if key[0] == name and version in (None, key[1])}
            if not gone:
                self.not_found(name, version)
            left = {key: model for key, model in self.loaded.items() if key not in gone}
            if self.serving[name] in gone.values():
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
        for key, model in gone.items():
            model.unload()
            _log.info("unloaded model=%s version=%s", *key)

    def find(self, name: str, version: str | None) -> _core.Model:
        """The version that is to answer."""
        try:
            return self.serving[name] if version is None else self.loaded[name, version]
        except (KeyError, TypeError):
            self.not_found(name, version)

    def not_found(self, name: object, version: object) -> NoReturn:
        """Say what is there instead."""
        if version is None or not any(key[0] == name for key in self.loaded):
            there = f"loaded: {', '.join(sorted(self.serving)) or 'nothing'}"
            raise ModelNotFound(f"there is no model {name!r}; {there}", field="name", value=name)
        there = ", ".join(key[1] for key in self.loaded if key[0] == name)
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

    def _reserve(self, name: str, version: str | None) -> tuple[str, str]:
        with self._lock:
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

    def _info(self, key: tuple[str, str], model: _core.Model) -> ModelInfo:
        facts = model.info()
        return ModelInfo(
            name=key[0],
            version=key[1],
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
