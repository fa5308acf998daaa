# SPDX-License-Identifier: Apache-2.0
"""The part of an engine that brings it from one configuration to another."""

from __future__ import annotations

import threading
from functools import partial
from os import PathLike
from pathlib import Path

from . import _checks as check
from ._apply import Applier
from ._deployments import Deployments
from ._model_table import ModelTable
from ._plan import Plan
from ._trust import Rechecks
from ._watch import Watch
from .config import EngineConfig
from .errors import ConfigError

__all__ = ["Configurable"]


class Configurable:
    """What `Engine` knows of plans; see there."""

    _models: ModelTable
    _deployments: Deployments
    _rechecks: Rechecks
    _applier: Applier
    _watches: list[Watch]  # one at most; a list because the engine's finalizer holds it

    def _begin_plans(self, process_group: str | PathLike[str] | None) -> None:
        self._applier = Applier(self._models, self._deployments, process_group, self._rechecks.wake)
        self._config_file: Path | None = None  # that the engine was made from
        self._watches = []
        self._watch_lock = threading.Lock()

    def _follow(self, file: str | PathLike[str]) -> None:
        self._config_file = Path(file).absolute()

    def _check_usable(self) -> None:
        raise NotImplementedError

    def plan(self, config: EngineConfig | str | PathLike[str]) -> Plan:
        """What `apply` would change, in words (`str`) and as steps; False when that is nothing. Nothing is done.

        Args:
            config: What the engine should hold, or the path of a TOML file that says so.

        Raises:
            ConfigError: The configuration contradicts itself or what is loaded, or the repository cannot be read.
        """
        self._check_usable()
        return self._applier.plan(_config(config))

    def apply(self, config: EngineConfig | str | PathLike[str]) -> Plan:
        """Bring the engine to a configuration, all or nothing. Blocks without the GIL; requests go on being answered.

        Versions that a configuration brought and that this one does not have go; those loaded by `load` stay. First
        everything new is loaded and warmed up; then one assignment makes it visible; then what has gone is drained and
        unloaded. A version that is to run otherwise is loaded again beside itself and takes its own place.
        `ModelConfig.version_transition` chooses the other order, for models that do not fit twice.

        Args:
            config: What the engine should hold, or the path of a TOML file that says so.

        Returns:
            What was done.

        Raises:
            ApplyError: A step failed. Its `__cause__` is why, and everything is as it was.
            ConfigError: The configuration contradicts itself or what is loaded, or the repository cannot be read.
            UnsafeFile: A name or a version in the repository is a link.
        """
        self._check_usable()
        return self._applier.apply(_config(config))

    def watch(self, config: str | PathLike[str] | None = None, *, interval: float = 10.0) -> Watch:
        """Look at configuration and model repository every `interval` seconds and apply what has changed, as a plan.

        A change that fails is logged once and leaves everything as it was; it is tried again, ever more seldom, and at
        once when the files change. Stops with `close()`.

        Args:
            config: A TOML file to follow; None: the one that the engine was made from, else what was applied last.
            interval: Seconds between two looks. What has changed is applied by the second look that finds it the same.

        Raises:
            ConfigError: The engine is being watched already.

        Returns:
            The watch; its `stop()` ends it.
        """
        self._check_usable()
        interval = check.number("interval", interval, 0.001, 86_400.0)
        file = config if config is not None else self._config_file
        applier = self._applier
        read = partial(EngineConfig.from_toml, file) if file is not None else lambda: applier.config
        with self._watch_lock:
            if any(watch.running for watch in self._watches):
                raise ConfigError("this engine is being watched already; stop() that watch first", field="watch")
            watch = Watch(self._models, applier, read, interval)
            self._watches[:] = [watch]
            watch.start()
        return watch


def _config(config: EngineConfig | str | PathLike[str]) -> EngineConfig:
    if isinstance(config, (str, PathLike)):
        return EngineConfig.from_toml(config)
    check.instance("config", config, EngineConfig)
    return config
