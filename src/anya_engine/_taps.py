# SPDX-License-Identifier: Apache-2.0
"""What stands between a request and its version while somebody wants to see requests: a shadow, a recorder."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from . import _core
from ._routing import Router, Split

__all__ = ["Tap", "Tapped", "TappedModel"]


class Sight(Protocol):
    """A request that was seen."""

    def answered(self, answer: Any, *, computed: bool) -> None:
        """It has this answer, by a run of its own or by another request's."""

    def forget(self) -> None:
        """It has none."""


class Tap(Protocol):
    """Who wants to see requests. Thread-safe."""

    def wants(self, stable: _core.Model) -> bool:
        """Whether it wants the next one."""

    def ask(self, inputs: Any, outputs: Any, key: Any, tenant: Any) -> Sight | None:
        """Take a request's arguments, which are the caller's to change afterwards."""


class Tapped(Router):
    """What serves a name, with a tap on it."""

    __slots__ = ("inner", "tap")

    def __init__(self, inner: _core.Model | Split[_core.Model], tap: Tap) -> None:
        self.inner = inner
        self.tap = tap

    def pick(self, key: object) -> Any:
        """Return the version that answers a key, watched where the tap wants it."""
        inner = self.inner
        model = inner.pick(key) if isinstance(inner, Split) else inner
        return TappedModel(model, self.tap) if self.tap.wants(model) else model


class TappedModel:
    """A version, for one request that the tap sees."""

    __slots__ = ("_tap", "model")

    def __init__(self, model: _core.Model, tap: Tap) -> None:
        self.model = model
        self._tap = tap

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def version(self) -> str:
        """The version that answers."""
        return self.model.version

    def infer(self, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> dict[str, Any]:
        """Answer, then show: the caller waits no longer than for the copying."""
        return self.infer_detailed(inputs, outputs, timeout, priority, key, tenant)[0]  # type: ignore[no-any-return]

    def infer_detailed(self, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> Any:
        """Likewise."""
        answer = self.model.infer_detailed(inputs, outputs, timeout, priority, key, tenant)
        if seen := self._tap.ask(inputs, outputs, key, tenant):
            _show(seen, answer)
        return answer

    def submit(
        self,
        callbacks: _core.CallbackQueue,
        inputs: Any,
        outputs: Any,
        timeout: Any,
        priority: Any,
        key: Any,
        tenant: Any,
        recover: Callable[..., None] | None = None,
    ) -> _core.Future:
        """Show at once, since the caller may change its arrays as soon as this returns."""
        future = self.model.submit(callbacks, inputs, outputs, timeout, priority, key, tenant, recover)
        if seen := self._tap.ask(inputs, outputs, key, tenant):
            future.add_done_callback(lambda done: _settle(seen, done))
        return future

    def ask(self, door: Any, *request: Any) -> Coroutine[Any, Any, Any]:
        """Answer, awaited; show at once, since the caller may change its arrays while it waits for another task."""
        return self._asked(door, request, detailed=False)

    def ask_detailed(self, door: Any, *request: Any) -> Coroutine[Any, Any, Any]:
        """Likewise."""
        return self._asked(door, request, detailed=True)

    async def _asked(self, door: Any, request: tuple[Any, ...], *, detailed: bool) -> Any:
        inputs, outputs, _, _, key, tenant = request
        seen = self._tap.ask(inputs, outputs, key, tenant)
        try:
            answer = await self.model.ask_detailed(door, *request)
        except BaseException:
            if seen:
                seen.forget()
            raise
        if seen:
            _show(seen, answer)
        return answer if detailed else answer[0]


def _show(seen: Sight, detailed: Any) -> None:
    seen.answered(detailed[0], computed=not detailed[6])


def _settle(seen: Sight, future: _core.Future) -> None:
    if future.cancelled() or future.exception(0) is not None:
        seen.forget()
    else:
        seen.answered(future.result(0), computed=not future.from_cache())
