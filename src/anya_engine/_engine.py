# SPDX-License-Identifier: Apache-2.0
"""The object a service holds."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from . import _core
from ._checks import name as checked_name
from ._cuda import preload_cuda
from ._event_loops import EventLoops
from ._info import Attempt, EngineStats, Health, ModelHealth, ModelInfo, Response, TensorSpec
from ._options import core_options
from ._runtime import find_runtime
from .config import EngineConfig, ModelConfig
from .errors import ConfigError, ModelLoadError, ModelNotFound, Unavailable

if TYPE_CHECKING:
    import numpy as np
    from prometheus_client.registry import Collector

__all__ = ["Engine"]

_log = logging.getLogger("anya_engine")

# One array for a model of one input, or a mapping of input names to arrays. An array is anything with `__array__`,
# `__dlpack__` or the buffer protocol.
Inputs: TypeAlias = Any
Outputs: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


class Engine:
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
        version: A version to answer instead of the one that serves.
        timeout: Seconds until the request ends with `DeadlineExceeded`; None: no end.
        priority: 1 (highest) to 255; None: the model's default. Waiting requests of a lower number run first.
        key: What keeps one user on one version while versions change.
        tenant: What separates caches.

    Raises:
        ModelNotFound: No such model or version.
        InvalidInput: The inputs do not fit; the message names the input, what it is and what it should be.
        InputTooLarge: More bytes than `max_request_bytes`.
        Overloaded: The queue is full.
        DeadlineExceeded: The time ran out.
        Unavailable: The engine is closed, or this is a forked child.
        ExecutionError: The run failed; the message is ONNX Runtime's.
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
        self._config = config or EngineConfig()
        self._library = find_runtime(runtime)
        if self._library.note:
            _log.info("%s", self._library.note)
        self._core = _core.Engine(self._library.path)
        self._loops = EventLoops()
        self._callbacks = _core.CallbackQueue()
        self._callback_thread: threading.Thread | None = None
        self._closed = False
        # Tables are replaced, never changed: a request reads one and does not look again.
        self._serving: dict[str, _core.Model] = {}
        self._loaded: dict[tuple[str, str], _core.Model] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._lock = threading.Lock()  # of those who change the tables
        self._loading: set[tuple[str, str]] = set()
        # What was accepted still ends when the interpreter exits, or when nobody holds the engine any more.
        self._finalizer = weakref.finalize(self, _shut, self._core, self._callbacks)
        try:
            for name, model in self._config.models.items():
                if model.source is not None:
                    self.load(name, model.source, version=model.version)
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_file(cls, path: str | PathLike[str], *, runtime: str | PathLike[str] | None = None) -> Engine:
        """An engine from a TOML file: what `EngineConfig` holds, written down."""
        return cls(EngineConfig.from_toml(path), runtime=runtime)

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
            name: Letters, digits, ".", "_" and "-", at most 128.
            source: An .onnx file, a directory that holds model.onnx, or the model's bytes.
            version: A string; None: the next free number, "1" for the first.
            config: How to run it; None: that of the name's last load, then the engine configuration's, then defaults.

        Raises:
            ModelLoadError: The source cannot be read, or the version exists (a load never replaces silently).
            ModelInvalid: The bytes are no model that can be run.
            TrustError: The source is not safe to read: a link, a device, a path that leaves the model's folder.
            ConfigError: The configuration cannot be had, for example a provider that is not installed.
        """
        self._check_usable()
        checked_name("name", name)
        if version is not None:
            checked_name("version", version)
        with self._lock:
            version = version or self._next_version(name)
            if (name, version) in self._loaded or (name, version) in self._loading:
                raise ModelLoadError(
                    f"model '{name}' has a version '{version}' already; choose another version, or unload it first",
                    field="version",
                    value=version,
                )
            self._loading.add((name, version))
            config = config or self._configs.get(name) or self._config.models.get(name) or ModelConfig()
        try:
            if any("CUDA" in (provider if isinstance(provider, str) else provider[0]) for provider in config.providers):
                preload_cuda(self._library.folder / "libonnxruntime_providers_cuda.so")
            where = source if isinstance(source, bytes) else fspath(source)
            model = self._core.load(name, version, where, core_options(config))
        except BaseException:
            with self._lock:
                self._loading.discard((name, version))
            raise
        with self._lock:
            self._loading.discard((name, version))
            self._configs[name] = config
            self._loaded = {**self._loaded, (name, version): model}
            self._serving = {name: model, **self._serving}
        info = self._info(name, version, model)
        _log.info(
            "loaded model=%s version=%s state=%s digest=%s batchable=%s seconds=%.3f",
            *(name, version, info.state, info.digest, info.batchable, info.load_seconds),
        )
        return info

    def unload(self, name: str, version: str | None = None) -> None:
        """Take a version, or all versions of a name, out of service; drain it; free it. Blocks without the GIL.

        Raises:
            ModelNotFound: No such model or version.
            ConfigError: The version serves its name while others are loaded: unload those first, or the whole name.
        """
        with self._lock:
            gone = {key: model for key, model in self._loaded.items() if key[0] == name and version in (None, key[1])}
            if not gone:
                self._not_found(name, version)
            left = {key: model for key, model in self._loaded.items() if key not in gone}
            if self._serving[name] in gone.values():
                if others := [key[1] for key in left if key[0] == name]:
                    raise ConfigError(
                        f"version '{version}' of model '{name}' serves its requests while {others} are warm; "
                        f"unload those first, or unload('{name}') to take the whole model away",
                        field="version",
                        value=version,
                    )
                self._serving = {key: model for key, model in self._serving.items() if key != name}
                self._configs.pop(name, None)
            self._loaded = left
        for key, model in gone.items():
            model.unload()
            _log.info("unloaded model=%s version=%s", *key)

    def models(self) -> list[ModelInfo]:
        """Every loaded version, in the order of loading."""
        return [self._info(name, version, model) for (name, version), model in self._loaded.items()]

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
    ) -> Outputs:
        """Ask and wait. Runs on this thread when an instance is idle, in company otherwise."""
        try:
            model = self._serving[name] if version is None else self._loaded[name, version]
        except (KeyError, TypeError):
            self._not_found(name, version)
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
    ) -> Response:
        """Like `infer`, with how the answer came about."""
        model = self._find(name, version)
        return self._response(model, model.infer_detailed(inputs, outputs, timeout, priority, key, tenant))

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
    ) -> _core.Future:
        """Ask and go on; the answer is in the `Future`. The inputs are copied: the caller may change them at once."""
        model = self._find(name, version)
        if self._callback_thread is None:
            self._start_callback_thread()
        return _core.Future._submit(model, self._callbacks, inputs, outputs, timeout, priority, key, tenant)

    async def infer_async(
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
    ) -> Outputs:
        """Ask from any asyncio loop (uvloop too). Cancelling the task cancels the request.

        Tasks that ask in one turn of the loop go in together; a whole batch of answers wakes the loop once.
        """
        try:
            model = self._serving[name] if version is None else self._loaded[name, version]
        except (KeyError, TypeError):
            self._not_found(name, version)
        loop = asyncio.get_running_loop()
        served = self._loops.by_loop.get(loop) or self._loops.attach(loop)
        future, ticket = served.submit(model, inputs, outputs, timeout, priority, key, tenant)
        try:
            return await future
        except asyncio.CancelledError:
            served.cancel(ticket)
            raise

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
    ) -> Response:
        """Like `infer_async`, with how the answer came about."""
        model = self._find(name, version)
        loop = asyncio.get_running_loop()
        served = self._loops.by_loop.get(loop) or self._loops.attach(loop)
        future, ticket = served.submit_detailed(model, inputs, outputs, timeout, priority, key, tenant)
        try:
            return self._response(model, await future)
        except asyncio.CancelledError:
            served.cancel(ticket)
            raise

    # ---- what it tells

    def stats(self) -> EngineStats:
        """Counters of every loaded version. For each, `accepted` is the sum of `ended` plus `in_flight`."""
        return EngineStats(models=tuple(self._core.stats()))

    def collector(self) -> Collector:
        """A Prometheus collector over `stats()`: `REGISTRY.register(engine.collector())`."""
        from ._prometheus import EngineCollector

        return EngineCollector(self.stats)

    def health(self) -> Health:
        """Whether the engine and each model take requests, and why not."""
        reason = ""
        if not self._core.is_owner_process:
            reason = "this process is a fork of the one that made the engine; make a new Engine here"
        elif self._closed:
            reason = "the engine is closed"
        ready = not reason
        models = {
            name: ModelHealth(ready=ready, version=model.version, reason=reason)
            for name, model in self._serving.items()
        }
        for name, _ in list(self._loading):
            models.setdefault(name, ModelHealth(ready=False, version=None, reason="its first version is loading"))
        waiting = [name for name, model in models.items() if not model.ready]
        if ready and waiting:
            reason = f"not ready: {', '.join(sorted(waiting))}"
        return Health(live=ready, ready=ready and not waiting, reason=reason, models=models)

    # ---- the end

    def close(self) -> None:
        """Refuse what comes, drain what was accepted, stop. Idempotent. Blocks without the GIL."""
        self._closed = True
        if not self._core.is_owner_process:
            self._finalizer.detach()
            return
        self._finalizer()
        thread = self._callback_thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._loops.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"models={sorted(self._serving)}"
        return f"<anya_engine.Engine {state} onnxruntime={self._core.runtime_version}>"

    # ---- inside

    def _find(self, name: str, version: str | None) -> _core.Model:
        try:
            return self._serving[name] if version is None else self._loaded[name, version]
        except (KeyError, TypeError):
            self._not_found(name, version)

    def _not_found(self, name: object, version: object) -> NoReturn:
        if version is None or not any(key[0] == name for key in self._loaded):
            there = f"loaded: {', '.join(sorted(self._serving)) or 'nothing'}"
            raise ModelNotFound(f"there is no model {name!r}; {there}", field="name", value=name)
        there = ", ".join(key[1] for key in self._loaded if key[0] == name)
        raise ModelNotFound(f"model {name!r} has no version {version!r}; it has {there}", field="version", value=version)

    def _next_version(self, name: str) -> str:
        taken = {key[1] for key in (*self._loaded, *self._loading) if key[0] == name}
        return next(number for number in _numbers() if number not in taken)

    def _info(self, name: str, version: str, model: _core.Model) -> ModelInfo:
        facts = model.info()
        return ModelInfo(
            name=name,
            version=version,
            state="serving" if self._serving.get(name) is model else "warm",
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

    def _response(self, model: _core.Model, answer: tuple[Outputs, int, float, float, int]) -> Response:
        outputs, request_id, queue_time, compute_time, batch_size = answer
        return Response(
            outputs=outputs,
            request_id=request_id,
            version=model.version,
            served_by=model.name,
            degraded=False,
            attempts=(Attempt(model=model.name, version=model.version),),
            from_cache=False,
            stale_age=None,
            sanitized=_NOTHING,
            queue_time=queue_time,
            compute_time=compute_time,
            batch_size=batch_size,
        )

    def _check_usable(self) -> None:
        if self._closed:
            raise Unavailable("the engine is closed; make a new one")
        if not self._core.is_owner_process:
            raise Unavailable("this process is a fork of the one that made the engine; make a new Engine here")

    def _start_callback_thread(self) -> None:
        with self._lock:
            if self._callback_thread is None:
                self._callback_thread = threading.Thread(
                    target=self._callbacks.run, name="anya-callbacks", daemon=True
                )
                self._callback_thread.start()


def _shut(core: _core.Engine, callbacks: _core.CallbackQueue) -> None:
    core.close()
    callbacks.stop()


_NOTHING: Mapping[str, int] = {}


def _numbers() -> Iterator[str]:
    number = 1
    while True:
        yield str(number)
        number += 1
