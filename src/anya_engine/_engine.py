# SPDX-License-Identifier: Apache-2.0
"""The object a service holds."""

from __future__ import annotations

import asyncio
import inspect
import sys
import weakref
from collections.abc import Coroutine
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from . import _checks as check
from . import _core
from ._callbacks import CallbackThread
from ._configurable import Configurable
from ._control import Control
from ._deployments import Deployments
from ._drift_watch import DriftWatches
from ._event_loops import EventLoops
from ._guard import strict
from ._health import HealthBook
from ._info import EngineStats, Health, Response, response_of
from ._log import Log
from ._metrics import metrics_of
from ._model_table import ModelTable
from ._process_group import ProcessGroup
from ._repairs import Repairs
from ._runtime import find_runtime
from ._shared_counts import SharedCounts
from ._shared_families import SharedFamilies
from ._tracing import Tracing, tracing_for
from ._trust import Rechecks
from ._watch import Watch
from .config import EngineConfig
from .errors import ApplyError

if TYPE_CHECKING:
    import numpy as np
    from prometheus_client.registry import Collector

__all__ = ["Engine"]

_log = Log("anya_engine")

# One array for a model of one input, or a mapping of input names to arrays. An array is anything with `__array__`,
# `__dlpack__` or the buffer protocol.
Inputs: TypeAlias = Any
Outputs: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


class Engine(Control, Configurable):
    """Runs ONNX models for the process it lives in: batched, bounded, counted.

    Thread-safe. Several engines in one process are independent of each other. After `fork()` every call in the child
    raises `Unavailable`: make a new engine there.

    Every way to ask takes the same arguments:

    Args:
        name: The model.
        inputs: A mapping of input names to arrays, or one bare array for a model of one input. The first axis is the
            batch axis: a request carries one or more rows. An array is anything with `__array__`, `__dlpack__` or the
            buffer protocol; a C-contiguous NumPy array of the right dtype is read in place by `infer`, and copied by
            the ways that do not wait.
        outputs: Names of the outputs wanted; None: all.
        version: A version to answer instead of the one that serves, or a label of one.
        timeout: Seconds until the request ends with `DeadlineExceeded`; None: the model's `default_timeout`, without
            one no end.
        priority: 1 (highest) to 255, or to the model's `priority_levels`; None: its `default_priority_level`, without
            one 128. Waiting requests of a lower number run first, in one level those that are due first.
        key: What keeps one user on one version while versions change.
        tenant: What separates answers in the response cache; see `CacheConfig.scope`.
        allow_degraded: Whether something else than the model's own fresh answer will do: that of a `fallback`, or a
            stale one of its cache. False: its error instead.

    Where the model's configuration says so, what fails is tried again, or answered by something else
    (`ModelConfig.retry`, `.fallback`); a request that names a version is asked once.

    Raises:
        ModelNotFound: No such model or version.
        InvalidInput: The inputs do not fit; the message names the input, what it is and what it should be.
        InputTooLarge: More bytes than `max_request_bytes`.
        Overloaded: The queue is full, or holds more than it can serve in time.
        DeadlineExceeded: The time ran out, or is predicted to.
        Unavailable: The engine is closed, this is a forked child, the circuit breaker is open, or the device is lost.
        ExecutionError: The run failed; the message is ONNX Runtime's.
        ModelOutputInvalid: The answer breaks a rule of `ModelConfig.outputs`.
        OutOfMemory: There was no memory for the run.
    """

    def __init__(self, config: EngineConfig | None = None, *, runtime: str | PathLike[str] | None = None) -> None:
        """Open ONNX Runtime and load what the configuration names.

        Args:
            config: Models to load and how to run them.
            runtime: Path of a libonnxruntime to use instead of the installed wheel's.

        Raises:
            ConfigError: No ONNX Runtime is installed, or it is too old; the message has the command that fixes it.
            ModelLoadError: A model of the configuration could not be loaded; nothing stays open.
        """
        config = EngineConfig() if config is None else config
        if not isinstance(config, EngineConfig):
            check.refuse("config", "must be an anya.EngineConfig; Engine.from_file(path) reads one", config)
        library = find_runtime(runtime)
        if library.note:
            _log.info("%s", library.note)
        self._core = _core.Engine(library.path)
        self._loops = EventLoops(self._core)
        self._door = self._loops.door
        self._callbacks = CallbackThread(self._core)
        self._closed = False
        self._collector: Collector | None = None
        folder = config.metrics_directory
        self._counts = None if folder is None else SharedCounts(fspath(folder))
        self._models = ModelTable(self._core, library, config.models, self._counts)
        group = None if config.process_group is None else ProcessGroup(fspath(config.process_group))
        self._deployments = Deployments(self._models, self._callbacks.queue, group=group)
        self._repairs = Repairs(self._models, self._deployments.reroute)
        self._models.on_device = self._repairs.begin
        self._tracing = tracing_for(self._core, config.tracing)
        self._metrics = metrics_of(self._core, self._models, self._deployments, self._tracing, self._counts)
        self._rechecks = Rechecks(self._models, self._deployments)
        self._models.refused = self._rechecks.refused
        self._health = HealthBook(self._core, self._models, self._repairs, self._rechecks)
        self._begin_plans(config.process_group)
        # What was accepted still ends when the interpreter exits, or when nobody holds the engine any more.
        own = (self._deployments, self._rechecks, self._models.drift, self._watches, self._repairs)
        ends = (*own, self._tracing, self._metrics.shared, self._counts)
        self._finalizer = weakref.finalize(self, _shut, self._core, self._callbacks, *ends)
        try:
            self._models.policies.of(config.trust)  # a key that cannot be had is found out now
            self._applier.apply(config)
            self._deployments.join()
        except ApplyError as error:
            self.close()
            raise error.__cause__ or error from None  # nothing was there that could have been kept
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_file(cls, path: str | PathLike[str], *, runtime: str | PathLike[str] | None = None) -> Engine:
        """An engine from a TOML file: what `EngineConfig` holds, written down."""
        engine = cls(EngineConfig.from_toml(path), runtime=runtime)
        engine._follow(path)
        return engine

    # ---- requests

    def infer(
        self,
        name: str,
        inputs: Inputs,
        *,
        outputs: list[str] | tuple[str, ...] | None = None,
        version: str | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        key: str | bytes | int | None = None,
        tenant: str | None = None,
        allow_degraded: bool = True,
    ) -> Outputs:
        """Ask and wait. Runs on this thread when an instance is idle, in company otherwise."""
        try:
            model = self._models.serving[name] if version is None else self._models.named[name, version]
        except (KeyError, TypeError):
            self._models.not_found(name, version)
        if not allow_degraded:
            model = strict(model)
        return model.infer(inputs, outputs, timeout, priority, key, tenant)

    def infer_detailed(
        self,
        name: str,
        inputs: Inputs,
        *,
        outputs: list[str] | tuple[str, ...] | None = None,
        version: str | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        key: str | bytes | int | None = None,
        tenant: str | None = None,
        allow_degraded: bool = True,
    ) -> Response:
        """Like `infer`, with how the answer came about."""
        model = self._models.find(name, version, key, allow_degraded)
        return response_of(model, model.infer_detailed(inputs, outputs, timeout, priority, key, tenant))

    def submit(
        self,
        name: str,
        inputs: Inputs,
        *,
        outputs: list[str] | tuple[str, ...] | None = None,
        version: str | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        key: str | bytes | int | None = None,
        tenant: str | None = None,
        allow_degraded: bool = True,
    ) -> _core.Future:
        """Ask and go on; the answer is in the `anya.Future` (none of concurrent.futures). The inputs are copied."""
        model = self._models.find(name, version, key, allow_degraded)
        return model.submit(self._callbacks.queue(), inputs, outputs, timeout, priority, key, tenant)

    def infer_async(
        self,
        name: str,
        inputs: Inputs,
        *,
        outputs: list[str] | tuple[str, ...] | None = None,
        version: str | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        key: str | bytes | int | None = None,
        tenant: str | None = None,
        allow_degraded: bool = True,
    ) -> Coroutine[Any, Any, Outputs]:
        """Ask from any asyncio loop (uvloop too). Cancelling the task cancels the request.

        A coroutine, like that of an `async def`: await it, or make a task of it; nothing is asked before. Tasks that
        ask in one turn of the loop go in together; a whole batch of answers wakes the loop once.
        """
        try:
            model = self._models.serving[name] if version is None else self._models.named[name, version]
        except (KeyError, TypeError):
            return self._not_found_async(name, version)
        if not allow_degraded:
            model = strict(model)
        return model.ask(self._door, inputs, outputs, timeout, priority, key, tenant)

    async def infer_detailed_async(
        self,
        name: str,
        inputs: Inputs,
        *,
        outputs: list[str] | tuple[str, ...] | None = None,
        version: str | None = None,
        timeout: float | None = None,
        priority: int | None = None,
        key: str | bytes | int | None = None,
        tenant: str | None = None,
        allow_degraded: bool = True,
    ) -> Response:
        """Like `infer_async`, with how the answer came about."""
        model = self._models.find(name, version, key, allow_degraded)
        return response_of(model, await model.ask_detailed(self._door, inputs, outputs, timeout, priority, key, tenant))

    # ---- what it tells

    def stats(self) -> EngineStats:
        """Counters of every loaded version. For each, `accepted` is the sum of `ended` plus `in_flight`."""
        return EngineStats(models=tuple(self._core.stats()), resilience=self._models.recoveries.stats())

    def collector(self) -> Collector:
        """A Prometheus collector over `stats()`: `REGISTRY.register(engine.collector())`.

        The same one each time, so that a registry that is given it twice shows nothing twice.
        """
        if self._collector is None:
            from ._prometheus import EngineCollector

            self._collector = EngineCollector(self._metrics.families)
        return self._collector

    def metrics_text(self, *, openmetrics: bool = False) -> bytes:
        """What a scrape says, in Prometheus' text format or OpenMetrics': for a service's own /metrics endpoint.

        The core writes it without the GIL.
        """
        return self._metrics.text(openmetrics=openmetrics)

    def health(self) -> Health:
        """Whether the engine and each model take requests, and why not."""
        return self._health.look(is_closed=self._closed)

    # ---- the end

    def close(self) -> None:
        """Refuse what comes, drain what was accepted, stop. Idempotent. Blocks without the GIL.

        What a signal's handler raises meanwhile (Control-C's KeyboardInterrupt) comes out of it within a tenth of a
        second. The engine goes on draining without anybody waiting; `close` again waits on.
        """
        self._closed = True
        if not self._core.is_owner_process:
            self._finalizer.detach()
            return
        ends = self._finalizer.peek()
        try:
            self._finalizer()
        except BaseException:
            if ends is not None:  # interrupted: it is still to be done
                self._finalizer = weakref.finalize(self, ends[1], *ends[2])
            raise
        self._callbacks.join()  # whom another closer may still be waiting for
        self._loops.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"models={sorted(self._models.serving)}"
        return f"<anya_engine.Engine {state} onnxruntime={self._core.runtime_version}>"

    # ---- inside

    async def _not_found_async(self, name: str, version: str | None) -> Outputs:
        self._models.not_found(name, version)


def _shut(
    core: _core.Engine,
    callbacks: CallbackThread,
    deployments: Deployments,
    rechecks: Rechecks,
    drift: DriftWatches,
    watches: list[Watch],
    repairs: Repairs,
    tracing: Tracing | None,
    shown: SharedFamilies | None,
    counts: SharedCounts | None,
) -> None:
    if not core.is_owner_process:
        return  # a forked child at its end: whoever held the locks at the fork does not live here
    for watch in watches:
        watch.end()
    rechecks.end()
    deployments.stop()
    drift.stop()
    repairs.stop()
    core.close()
    deployments.table.recoveries.timer.stop()
    for watch in watches:
        watch.stop()
    rechecks.join()
    if tracing is not None:
        tracing.stop()
    if shown is not None:
        shown.close()
    if counts is not None:
        counts.close()
    callbacks.stop()


# For those who ask by introspection, mocks with a spec for one: it gives a coroutine, though no `async def` made it.
if sys.version_info >= (3, 12):
    inspect.markcoroutinefunction(Engine.infer_async)
else:
    setattr(Engine.infer_async, "_is_coroutine", getattr(asyncio.coroutines, "_is_coroutine"))  # noqa: B009, B010
