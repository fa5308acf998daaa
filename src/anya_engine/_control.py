# SPDX-License-Identifier: Apache-2.0
"""The half of the engine that changes what answers: models, versions, rollouts. Requests are the other half."""

from __future__ import annotations

import dataclasses
from os import PathLike
from pathlib import Path

from . import _checks as check
from . import _core
from ._core import CacheStats
from ._deployments import Deployments
from ._info import ModelInfo, RolloutStatus
from ._log import Log
from ._model_table import ModelTable
from ._reference import capture
from ._trust import Rechecks
from .config import ModelConfig
from .drift import DriftReport
from .errors import TrustError, Unavailable
from .strategies import Strategy

__all__ = ["Control"]

_log = Log("anya_engine")


class Control:
    """What `Engine` inherits. Thread-safe."""

    _core: _core.Engine
    _models: ModelTable
    _deployments: Deployments
    _rechecks: Rechecks
    _closed: bool

    # ---- models

    def load(
        self,
        name: str,
        source: str | PathLike[str] | bytes,
        *,
        version: str | None = None,
        config: ModelConfig | None = None,
    ) -> ModelInfo:
        """Read, check, open and warm up a version.

        The first version of a name takes its traffic at once; later ones are warm and answer requests that name them.
        Blocks without the GIL; other threads go on serving.

        Args:
            name: Printable, without blanks around it, at most 256 characters.
            source: An .onnx file, a directory that holds model.onnx, or the model's bytes.
            version: A string; None: the next free number, "1" for the first.
            config: How to run it; None: that of the name's last load, then the engine configuration's, then defaults.

        Raises:
            ModelLoadError: The source cannot be read, or the version exists (a load never replaces silently).
            ModelInvalid: The bytes are no model that can be run.
            TrustError: The source is not safe to read (a link, a device, a path that leaves the model's folder), or
                its signature or the registry does not vouch for it; the classes below it say what is wrong.
            ConfigError: The configuration cannot be had, for example a provider that is not installed.
        """
        self._check_usable()
        if config is not None:
            check.instance("config", config, ModelConfig)
        info = self._models.load(name, source, version, config)
        self._deployments.join()
        self._rechecks.wake()
        return info

    def unload(self, name: str, version: str | None = None) -> None:
        """Take a version, or all versions of a name, out of service; drain it; free it. Blocks without the GIL.

        Raises:
            ModelNotFound: No such model or version.
            ConfigError: The version serves its name while others are loaded: unload those first, or the whole name.
        """
        self._check_usable()
        self._models.refuse_unload_of_serving(name, version)
        self._deployments.withdraw(name, version)
        self._models.unload(name, version)

    def models(self) -> list[ModelInfo]:
        """Every loaded version, in the order of loading."""
        return self._models.infos()

    def check_trust(self) -> dict[tuple[str, str], TrustError]:
        """Read the registries anew and hold what is loaded against them, now instead of after `recheck_interval`.

        Returns:
            What a registry lets run no longer, by name and version, and why; `TrustConfig.on_revoked` was done to it. A
            registry that cannot be read or believed revokes nothing, and is a warning in the audit log.
        """
        self._check_usable()
        return self._rechecks.step()

    # ---- versions

    def deploy(self, name: str, version: str, strategy: Strategy) -> RolloutStatus:
        """Let a loaded version take over from the one that serves.

        With `BlueGreen` all traffic has moved when this returns. With `Canary` its first step has begun, and the engine
        goes on by itself: look with `status`. With `Shadow` the version gets copies and answers nobody until `promote`.
        Requests that name a version get that version, whatever is deployed, and are not judged.

        Raises:
            ModelNotFound: The version is not loaded.
            ConfigError: A rollout of the name is in progress; the version serves already; its inputs or outputs differ
                and the strategy does not allow it; answers differed where the strategy compares them.
        """
        self._check_usable()
        return self._deployments.deploy(name, version, strategy)

    def promote(self, name: str) -> RolloutStatus:
        """Give the new version of the rollout in progress all traffic at once, whatever its judge thinks.

        Raises:
            ModelNotFound: No such model.
            ConfigError: There is no rollout in progress.
        """
        self._check_usable()
        return self._deployments.promote(name)

    def rollback(self, name: str) -> RolloutStatus:
        """Give the version before all traffic back: one assignment, as long as that version is loaded.

        Ends a rollout in progress, or takes back one that was promoted. Requests already accepted by the new version
        are answered by it.

        Raises:
            ModelNotFound: No such model.
            ConfigError: There is nothing to go back to.
        """
        self._check_usable()
        return self._deployments.rollback(name)

    def pause(self, name: str) -> RolloutStatus:
        """Keep a canary's share as it is until `resume`, `promote` or `rollback`; evidence is still collected.

        Raises:
            ModelNotFound: No such model.
            ConfigError: There is no canary in progress.
        """
        self._check_usable()
        return self._deployments.pause(name)

    def resume(self, name: str) -> RolloutStatus:
        """Let a paused canary go on; its step begins anew, its evidence stays.

        Raises:
            ModelNotFound: No such model.
            ConfigError: There is no canary in progress.
        """
        self._check_usable()
        return self._deployments.resume(name)

    def report(self, name: str, metric: str, *, bad: bool, key: str | bytes | int) -> None:
        """Tell a canary's judge what came of an answer: a click that did not come, a complaint, a wrong label.

        Counted for the version that the key is with now. Does nothing when no canary is in progress.

        Args:
            name: The model.
            metric: One of the words of your own in `Canary.metrics`.
            bad: Whether it was bad; report good ones too, they are the other half of a share.
            key: What the request had as its `key`.

        Raises:
            ModelNotFound: No such model.
            ConfigError: The canary has no such metric, or the key is None.
        """
        self._check_usable()
        self._deployments.report(name, metric, bad, key)

    def record(self, name: str, n: int) -> Path:
        """Write the inputs of the next `n` answered requests beside the model; return where they will be.

        Every version of the name that is loaded later answers them before anybody asks it, and fails with
        `ModelLoadError` if it cannot: a warm-up with what is really asked. `BlueGreen(compare=…)` compares by them. The
        file `SOURCE.requests.npz` holds them in the clear; it appears once there are enough, at most 256 MiB.

        Raises:
            ModelNotFound: No such model.
            ConfigError: The model was loaded from bytes, or its requests are being copied already.
        """
        self._check_usable()
        return self._deployments.record(name, n)

    def status(self, name: str) -> RolloutStatus:
        """Where a model's change of version stands, with the reasons in words.

        Raises:
            ModelNotFound: No such model.
            Unavailable: This process is a fork of the one that made the engine.
        """
        self._check_process()
        return dataclasses.replace(self._deployments.status(name), circuits=self._models.circuits(name))

    def drift(self, name: str, version: str | None = None) -> DriftReport:
        """Where a version's inputs and outputs stand against their reference, feature by feature.

        Args:
            name: The model.
            version: A version or a label, for example the canary beside the one that serves; None: that one.

        Raises:
            ModelNotFound: No such model or version.
            Unavailable: The engine is closed, or this is a forked child.
        """
        self._check_usable()
        return self._models.drift_report(name, version)

    def capture_reference(self, name: str, n: int = 10_000, *, path: str | PathLike[str] | None = None) -> None:
        """Make a reference of the next rows that are asked and answered, and compare with it from then on.

        For a model whose training data is out of reach. Every request's arrays are copied until there are enough (256
        MiB at most), then the version that serves has its profile. Until then `drift(name)` says how far it is, in
        `why`, or in `note` where the version has a reference already. Requests that ask for some of the outputs only
        are left out.

        Args:
            name: The model.
            n: Rows.
            path: Where the profile is written, too; None: nowhere.

        Raises:
            ModelNotFound: No such model.
            ConfigError: The model's requests are being copied already.
        """
        self._check_usable()
        capture(self._models, name, check.integer("n", n, 1, 100_000_000), path)

    def reset_run_times(self, name: str | None = None) -> None:
        """Forget what runs were learned to take; what was measured at load stands again, and learning goes on.

        For when the machine has changed under the process (another CPU quota, a neighbour gone). `stats()` shows what
        is known as `run_times`.

        Args:
            name: The model, in all its loaded versions; None: all models.

        Raises:
            ModelNotFound: No such model.
        """
        self._models.reset_run_times(name)

    # ---- the response cache

    def cache_clear(self, name: str | None = None) -> None:
        """Forget cached answers; what is being answered now is still kept.

        A log record says so where a name is given and none of its versions has a cache.

        Args:
            name: The model, in all its loaded versions; None: all models.

        Raises:
            ModelNotFound: No such model.
        """
        models = self._models.versions(name)
        if name is not None and not any(model.stats().cache.capacity_bytes for model in models):
            _log.warning("cache model=%s has none to clear: ModelConfig(cache=CacheConfig(…)) gives it one", name)
        for model in models:
            model.clear_cache()

    def cache_stats(self, name: str, version: str | None = None) -> CacheStats:
        """What the response cache of a version holds and has done.

        Of a version without a cache (`ModelConfig.cache` gives it one) all is zero, `capacity_bytes` too, and it prints
        as "no cache".

        Args:
            name: The model.
            version: One of its versions; None: the one that serves.

        Raises:
            ModelNotFound: No such model or version.
        """
        model = self._models.stable(name) if version is None else self._models.model(name, version)
        return model.stats().cache

    # ---- inside

    def _check_usable(self) -> None:
        if self._closed:
            raise Unavailable("the engine is closed; make a new one")
        self._check_process()

    def _check_process(self) -> None:
        if not self._core.is_owner_process:
            raise Unavailable("this process is a fork of the one that made the engine; make a new Engine here")
