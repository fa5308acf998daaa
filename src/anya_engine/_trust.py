# SPDX-License-Identifier: Apache-2.0
"""Trust at work: policies with their keys read, the audit log, and a second look at what is loaded."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from os import fspath
from typing import TYPE_CHECKING

from . import _core
from ._log import Log
from ._records import facts
from ._state import Key
from .errors import AnyaError, ConfigError, TrustError
from .trust import TrustConfig

if TYPE_CHECKING:
    from ._deployments import Deployments
    from ._model_table import ModelTable

__all__ = ["Policies", "Rechecks"]

#: One record per decision: model, version, verdict, mode, digest, key. No paths.
_audit = Log("anya_engine.audit")
_log = Log("anya_engine")


class Policies:
    """The core's policy for each configuration, made once: its keys are read then. Thread-safe.

    Attributes:
        verdicts: What was decided of versions, at load and later: each has its audit record, too.
    """

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._made: dict[TrustConfig, _core.Trust] = {}

    def of(self, config: TrustConfig | None) -> _core.Trust | None:
        """What the core checks by; None when nothing is to be checked.

        Raises:
            ConfigError: A key cannot be read, or is of a kind that is not taken.
        """
        if config is None or config.mode == "off":
            return None
        with self._lock:
            if config not in self._made:
                self._made[config] = _core.Trust(_options(config))
            return self._made[config]

    def audit(self, key: Key, config: TrustConfig | None) -> Callable[[str, str, str, bool], None] | None:
        """What the core tells its verdict on one load; None when nothing is to be written down."""
        if config is not None and config.mode == "off":
            return None

        def write(code: str, digest: str, signer: str, deprecated: bool) -> None:
            if config is not None:
                self.record(key, code, config.mode, digest, signer, deprecated)
            elif code == "OK":
                self._count("UNVERIFIED")
                _audit.info(
                    "model=%r version=%r verdict=UNVERIFIED mode=none digest=%s key=- loaded as unsigned: "
                    "there is no trust configuration",
                    *(*key, digest),
                    extra=facts("audit", model=key[0], version=key[1], verdict="UNVERIFIED", digest=digest),
                )

        return write

    def record(self, key: Key, code: str, mode: str, digest: str, signer: str, deprecated: bool = False) -> None:
        """Count a verdict and write it down."""
        level = logging.INFO if code == "OK" and not deprecated else logging.WARNING
        verdict = "DEPRECATED" if deprecated else code
        self._count(verdict)
        _audit.log(
            level,
            "model=%r version=%r verdict=%s mode=%s digest=%s key=%s",
            *(*key, verdict, mode, digest or "-", signer or "-"),
            extra=facts("audit", model=key[0], version=key[1], verdict=verdict, mode=mode, digest=digest, key=signer),
        )

    def _count(self, verdict: str) -> None:
        with self._lock:
            self.verdicts[verdict] += 1


def _options(config: TrustConfig) -> _core.TrustOptions:
    options = _core.TrustOptions()
    options.mode = config.mode
    options.keys = [fspath(path) for path in config.keys]
    options.registry = "" if config.registry is None else fspath(config.registry)
    options.registry_keys = [fspath(path) for path in config.registry_keys]
    options.registry_threshold = config.registry_threshold
    options.floor = "" if config.floor is None else fspath(config.floor)
    return options


class Rechecks:
    """Looks again and again whether the registry still lets loaded models run. Thread-safe.

    Attributes:
        refused: Loaded models that it does not, and the code of the refusal.
    """

    def __init__(self, table: ModelTable, deployments: Deployments) -> None:
        self._table = table
        self._deployments = deployments
        self._lock = threading.Lock()  # of one look at a time
        self._starting = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._said: dict[TrustConfig, str] = {}
        self.refused: weakref.WeakKeyDictionary[_core.Model, str] = weakref.WeakKeyDictionary()

    def wake(self) -> None:
        """Begin to look, if anything that is loaded asks for it and nobody has begun."""
        if self._pause() is None:
            return
        with self._starting:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="anya-trust", daemon=True)
                self._thread.start()

    def step(self) -> dict[Key, TrustError]:
        """Read each registry once and hold what is loaded against it; returns what it lets run no longer, and why."""
        with self._lock:
            found: dict[Key, TrustError] = {}
            registries: dict[TrustConfig, _core.TrustRegistry | None] = {}
            for key, model in list(self._table.loaded.items()):
                config = self._table.trust_of(key)
                if config is None or not config.has_registry:
                    continue
                if config not in registries:
                    registries[config] = self._read(config)
                if (registry := registries[config]) is not None:
                    error = self._check(key, model, config, registry)
                    found |= {} if error is None else {key: error}
            return found

    def drains(self, model: _core.Model) -> bool:
        """Whether a model that it lets run no longer was closed for it."""
        config = self._table.trust_of((model.name, model.version))
        return model in self.refused and config is not None and config.on_revoked == "drain"

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def join(self) -> None:
        """Wait for a look that is going on, from any other thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._pause() or 60.0):
            try:
                self.step()
            except Exception:  # noqa: BLE001  # logged, and the thread lives on
                _audit.exception("a look at the registry failed; the next one may not")

    def _pause(self) -> float | None:
        """Seconds until the next look; None when nothing needs one."""
        configs = [self._table.trust_of(key) for key in list(self._table.loaded)]
        pauses = [config.recheck_interval for config in configs if config is not None and config.has_registry]
        return min(pauses, default=None)

    def _read(self, config: TrustConfig) -> _core.TrustRegistry | None:
        """The registry as it is now; None, with a warning once per reason, when it is not to be believed."""
        policy = self._table.policies.of(config)
        assert policy is not None
        try:
            registry = policy.read_registry()
        except AnyaError as error:
            # What is loaded was let in by a registry that was believed then: it is revoked by a newer one alone.
            if self._said.get(config) != error.code:
                self._said[config] = error.code
                _audit.warning("registry verdict=%s: what is loaded stays as it is", error.code)
                _log.warning("the registry is not to be believed: %s: %s", error.code, error)
            return None
        self._said.pop(config, None)
        return registry

    def _check(
        self, key: Key, model: _core.Model, config: TrustConfig, registry: _core.TrustRegistry
    ) -> TrustError | None:
        facts = model.info()
        digest, signer = str(facts["digest"]), str(facts["signer"])
        try:
            registry.check(key[0], digest, signer)
            for name, library in facts["operator_libraries"]:
                registry.check(name, library, "")
        except TrustError as error:
            if self.refused.get(model) != error.code:
                self._table.policies.record(key, error.code, config.mode, digest, signer)
                if config.on_revoked == "drain":
                    self._drain(key, model)
                self.refused[model] = error.code  # last: who reads that it is refused finds it closed
            return error
        self.refused.pop(model, None)
        return None

    def _drain(self, key: Key, model: _core.Model) -> None:
        """It takes no more requests. What serves its name while others are loaded stays in its place, closed."""
        try:
            self._table.refuse_unload_of_serving(*key)
            self._deployments.withdraw(*key)
            self._table.unload(*key)
        except ConfigError:
            model.unload()
        except AnyaError as error:
            _log.warning("model %r version %r cannot be drained: %s", *key, error)
