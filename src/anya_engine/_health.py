# SPDX-License-Identifier: Apache-2.0
"""Whether an engine and its models take requests, and why not."""

from __future__ import annotations

import weakref

from . import _core
from ._info import Health, ModelHealth
from ._log import Log
from ._model_table import ModelTable
from ._records import facts
from ._repairs import Repairs
from ._trust import Rechecks
from .resilience import Fallback

__all__ = ["HealthBook"]

_log = Log("anya_engine")


class HealthBook:
    """What `Engine.health` says. Thread-safe."""

    def __init__(self, core: _core.Engine, table: ModelTable, repairs: Repairs, rechecks: Rechecks) -> None:
        self._core, self._models, self._repairs, self._rechecks = core, table, repairs, rechecks
        self._stuck: weakref.WeakKeyDictionary[_core.Model, int] = weakref.WeakKeyDictionary()  # as last logged

    def look(self, *, is_closed: bool) -> Health:
        """How it is now; stuck runs that nobody was told of leave a record."""
        reason = ""
        if not self._core.is_owner_process:
            reason = "this process is a fork of the one that made the engine; make a new Engine here"
        elif is_closed:
            reason = "the engine is closed"
        ready = not reason
        models = {
            name: self._of(self._models.stable(name))
            if ready
            else ModelHealth(live=False, ready=False, version=self._models.stable(name).version, reason=reason)
            for name in list(self._models.serving)
        }
        for name, _ in list(self._models.loading):
            models.setdefault(name, ModelHealth(ready=False, version=None, reason="its first version is loading"))
        waiting = [name for name, model in models.items() if not model.ready]
        if ready and waiting:
            reason = f"not ready: {', '.join(sorted(waiting))}"
        live = ready and all(model.live for model in models.values())
        return Health(live=live, ready=ready and not waiting, reason=reason, models=models)

    def _of(self, model: _core.Model) -> ModelHealth:
        stats = model.stats()
        if stats.failed:
            return self._repairs.health(model.name, model.version)
        links = self._models.config_of(model.name, model.version).fallback
        gone = [link.model for link in links if isinstance(link, Fallback) and link.model not in self._models.serving]
        reason = f"no model {', '.join(map(repr, gone))} is loaded to fall back to" if gone else ""
        if stats.circuit is not None and stats.circuit.state != "closed":
            self._models.recoveries.look(model)
            reason = f"the circuit breaker is {stats.circuit.state.replace('_', ' ')}"
            if not links:
                return ModelHealth(ready=False, version=model.version, reason=reason)
            reason += "; its fallbacks answer"
        if stats.stuck_runs:
            reason = f"{stats.stuck_runs} of {stats.instances} instances are stuck in runs that were told to stop"
        if stats.stuck_runs > self._stuck.get(model, 0):
            what = facts("stuck", model=model.name, version=model.version, why=reason)
            _log.warning("model '%s:%s': %s", model.name, model.version, reason, extra=what)
        self._stuck[model] = stats.stuck_runs
        ready = stats.stuck_runs < stats.instances
        if (code := self._rechecks.refused.get(model)) is not None:
            reason = f"the registry lets it run no longer: {code}"
            ready = ready and not self._rechecks.drains(model)
        return ModelHealth(ready=ready, version=model.version, reason=reason)
