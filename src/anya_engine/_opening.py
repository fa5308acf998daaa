# SPDX-License-Identifier: Apache-2.0
"""From a model's place and configuration to a version in the core."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from . import _core
from ._core_rules import schema_reader
from ._cuda import preload_cuda
from ._options import core_options
from ._runtime import RuntimeLibrary
from ._shared_counts import HEAD, SharedCounts
from ._state import Key
from ._trust import Policies
from .config import ModelConfig, Provider

__all__ = ["CPU", "Opener", "has_cpu_after_others"]

CPU = "CPUExecutionProvider"


class Opener:
    """Opens versions as they are configured. Thread-safe."""

    def __init__(
        self, core: _core.Engine, library: RuntimeLibrary, policies: Policies, counts: SharedCounts | None
    ) -> None:
        """`counts`: where versions count, for other processes to read."""
        self._core = core
        self._library = library
        self._policies = policies
        self._counts = counts

    def load(self, key: Key, source: str | bytes, config: ModelConfig) -> _core.Model:
        """Read, check and warm up a version; whoever asked must `unload` it."""
        if any(_name(provider).startswith("CUDA") for provider in config.providers):
            preload_cuda(self._library.folder / "libonnxruntime_providers_cuda.so")
        origin = "bytes" if isinstance(source, bytes) else f"'{source}'"
        read_schema = schema_reader(config, f"model '{':'.join(key)}' from {origin}")
        policy = self._policies.of(config.trust)
        options = core_options(config)
        on_verdict = self._policies.audit(key, config.trust)
        if self._counts is None:
            return self._core.load(*key, source, options, read_schema, policy, on_verdict)
        number, memory = self._counts.new()
        try:
            counters = memoryview(memory)[HEAD:]
            model = self._core.load(*key, source, options, read_schema, policy, on_verdict, counters)
        except BaseException:
            self._counts.forget(number, unused=True)
            raise
        weakref.finalize(model, self._counts.forget, number)
        facts = model.info()
        watched = config.predictions
        self._counts.describe(
            memory,
            {
                "name": key[0],
                "version": key[1],
                "instances": facts["instances"],
                "max_queue_size": config.batching.max_queue_size,
                "memory": facts["memory_bytes"],
                "classes": None if watched is None else list(watched.classes or ()),
            },
        )
        return model


def has_cpu_after_others(providers: Iterable[Provider]) -> bool:
    """Whether a version that cannot have the others may run on the CPU."""
    names = [_name(provider) for provider in providers]
    return len(names) > 1 and names[-1] == CPU


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]
