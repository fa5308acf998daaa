# SPDX-License-Identifier: Apache-2.0
"""What serves a name whose configuration says what happens when it fails."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import _core
from ._info import Attempt, Response, response_of
from ._recoveries import Asked, Call, Plan, Recoveries, Steps
from ._routing import Router, Split
from ._taps import Tapped, TappedModel
from .config import ModelConfig
from .errors import AnyaError, ExecutionError, InvalidInput, OutOfMemory, Unavailable
from .resilience import Fallback

__all__ = ["Guarded", "strict"]

_now = time.monotonic


class Guarded(Router):
    """Asks what serves the name; only what fails goes on to `Recoveries`. Thread-safe, immutable.

    Attributes:
        target: What serves the name.
        strict: The same without degraded answers.
    """

    __slots__ = ("_around", "_caught", "_known", "_pick", "_plan", "_recoveries", "strict", "target")

    def __init__(self, target: Any, config: ModelConfig, recoveries: Recoveries, *, is_strict: bool = False) -> None:
        timeouts = [each for each in (config.default_timeout, config.max_timeout) if each is not None]
        self.target = target
        self._recoveries = recoveries
        self._plan = Plan(
            retry=config.retry,
            links=() if is_strict else config.links,
            timeout=min(timeouts) if timeouts else None,
            is_strict=is_strict,
        )
        links = self._plan.links
        # Where there is nobody to go on to, only what can be tried again is more than passed on.
        hopeless = not links and not isinstance(target, Router)
        self._caught: Any = (ExecutionError, OutOfMemory) if hopeless else AnyaError
        # Who is asked in its place while the breaker is open, without making an error of each refusal first.
        first = links[0] if links and config.breaker and not isinstance(target, Router) else None
        self._around = first if isinstance(first, Fallback) else None
        # Who that was last, and whether it takes and gives the same.
        self._known: tuple[Callable[[], Any], bool] = (
            lambda: None,
            False,
        )
        self._pick: Callable[[object], Any] | None = target.pick if isinstance(target, Router) else None
        self.strict: Guarded = self if is_strict else Guarded(strict(target), config, recoveries, is_strict=True)

    def pick(self, key: object) -> Any:  # noqa: ARG002
        """Return itself: it answers every key."""
        return self

    def infer(self, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> Any:
        """Answer, in the end."""
        began = _now()
        model = self.target if self._pick is None else self._pick(key)
        if self._around is not None and model.turned_away():
            return self._go_around(model, began, inputs, outputs, timeout, priority, key, tenant)
        try:
            return model.infer(inputs, outputs, timeout, priority, key, tenant)
        except self._caught as error:
            asked = Asked(inputs, outputs, timeout, priority, key, tenant)
            return _here(self._recoveries.recover(self._plan, model, error, began, asked)).outputs

    def _go_around(self, model: _core.Model, began: float, *request: Any) -> Any:
        """Let the first link answer; what it cannot goes the usual way from there."""
        link = self._around
        assert link is not None
        detour = None
        try:
            other = self._recoveries.stable(link.model)
            if other is not self._known[0]():
                self._known = (weakref.ref(other), self._recoveries.are_alike(link, model, other))
            if self._known[1]:
                return other.infer(*request)
        except InvalidInput:
            raise  # as the one asked would have said
        except AnyaError as error:
            detour = Attempt(model=link.model, version="", error=error)
        closed = Unavailable(
            f"model '{model.name}:{model.version}': the circuit breaker is open, or the device is lost"
        )
        steps = self._recoveries.recover(self._plan, model, closed, began, Asked(*request), detour)
        return _here(steps).outputs

    def infer_detailed(self, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> Response:
        """Likewise, with how it came about."""
        began = _now()
        model = self.target if self._pick is None else self._pick(key)
        try:
            return response_of(model, model.infer_detailed(inputs, outputs, timeout, priority, key, tenant))
        except AnyaError as error:
            asked = Asked(inputs, outputs, timeout, priority, key, tenant)
            return _here(self._recoveries.recover(self._plan, model, error, began, asked))

    async def ask(
        self, door: Any, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any
    ) -> Any:
        """Answer in the end, awaited."""
        began = _now()
        model = self.target if self._pick is None else self._pick(key)
        if isinstance(model, TappedModel):
            inputs = _copied(inputs)
        call = model.ask(door, inputs, outputs, timeout, priority, key, tenant)
        if not isinstance(model, TappedModel):
            call.keeps_inputs = True
        try:
            return await call
        except AnyaError as error:
            asked = Asked(_kept(call, inputs), outputs, timeout, priority, key, tenant)
            steps = self._recoveries.recover(self._plan, model, error, began, asked)
        return (await _awaited(steps, door)).outputs

    async def ask_detailed(
        self, door: Any, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any
    ) -> Response:
        """Likewise, with how it came about."""
        began = _now()
        model = self.target if self._pick is None else self._pick(key)
        if isinstance(model, TappedModel):
            inputs = _copied(inputs)
        call = model.ask_detailed(door, inputs, outputs, timeout, priority, key, tenant)
        if not isinstance(model, TappedModel):
            call.keeps_inputs = True
        try:
            return response_of(model, await call)
        except AnyaError as error:
            asked = Asked(_kept(call, inputs), outputs, timeout, priority, key, tenant)
            steps = self._recoveries.recover(self._plan, model, error, began, asked)
        return await _awaited(steps, door)

    def submit(self, callbacks: _core.CallbackQueue, *request: Any) -> _core.Future:
        """Answer in the end; what is refused at the door goes the same way, unless there is nothing to be done."""
        began = _now()
        asked = Asked(*request)
        model = self.target if self._pick is None else self._pick(asked.key)

        def recover(future: _core.Future, error: Exception, given: Any) -> None:
            steps = self._recoveries.recover(self._plan, model, error, began, asked._replace(inputs=given))
            _Later(self._recoveries, steps, future, callbacks).go(None)

        try:
            return model.submit(callbacks, *asked, recover)  # type: ignore[no-any-return]
        except AnyaError as error:
            again = asked._replace(inputs=_copied(asked.inputs))
            steps = self._recoveries.recover(self._plan, model, error, began, again)
            first = next(steps)  # raises when there is nothing to be done
            core = model.model if isinstance(model, TappedModel) else model
            future = _core.Future._promise(core, callbacks)
            _Later(self._recoveries, steps, future, callbacks).do(first)
            return future


def strict(target: Any) -> Any:
    """What serves a name, for who takes no degraded answers."""
    if isinstance(target, Guarded):
        return target.strict
    if isinstance(target, Tapped):
        return Tapped(strict(target.inner), target.tap)
    return target.each(strict) if isinstance(target, Split) else target.fresh()


def _here(steps: Steps) -> Response:
    """Take the steps on this thread."""
    result: Any = None
    try:
        while True:
            step = steps.send(result)
            if isinstance(step, float):
                time.sleep(step)
                result = None
                continue
            try:
                result = step.model.infer_detailed(*step.asked)
            except AnyaError as error:
                result = error
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def _awaited(steps: Steps, door: Any) -> Response:
    """Take the steps in this task."""
    result: Any = None
    try:
        while True:
            step = steps.send(result)
            if isinstance(step, float):
                await asyncio.sleep(step)
                result = None
                continue
            try:
                result = await step.model.ask_detailed(door, *step.asked)
            except AnyaError as error:
                result = error
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class _Later:
    """Takes the steps for a future, on whatever thread the last one ended: no thread waits for any of them."""

    def __init__(
        self, recoveries: Recoveries, steps: Steps, future: _core.Future, callbacks: _core.CallbackQueue
    ) -> None:
        self._recoveries = recoveries
        self._steps = steps
        self._future = future
        self._callbacks = callbacks
        self._attempt: _core.Future | None = None
        future.add_done_callback(self._over)

    def go(self, result: Any) -> None:
        """Take the next step, which may be the last."""
        try:
            step = self._steps.send(result)
        except StopIteration as end:
            self._future._resolve(end.value.outputs, None)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the future ends with it
            self._future._resolve(None, error)
        else:
            self.do(step)

    def do(self, step: float | Call) -> None:
        """Take this step."""
        if self._future.done():  # cancelled meanwhile
            self._steps.close()
            return
        if isinstance(step, float):
            self._recoveries.timer.call_later(step, partial(self.go, None))
            return
        try:
            attempt = step.model.submit(self._callbacks, *step.asked)
        except AnyaError as error:
            self.go(error)
            return
        self._attempt = attempt
        if self._future.done():
            attempt.cancel()
        attempt.add_done_callback(self._ended)

    def _ended(self, attempt: _core.Future) -> None:
        error = attempt.exception(0)
        self.go(error if error is not None else attempt.result(0))

    def _over(self, future: _core.Future) -> None:
        if self._attempt is not None and future.cancelled():
            self._attempt.cancel()


def _copied(inputs: Any) -> Any:
    """The caller's arrays as they are now."""
    if hasattr(inputs, "keys"):
        return {name: np.array(inputs[name]) for name in inputs.keys()}  # noqa: SIM118  # as `dict` does it
    return np.array(inputs)


def _kept(call: Any, inputs: Any) -> Any:
    """What a failed call was about; what was refused at its first step has not let anybody change its inputs."""
    kept = getattr(call, "inputs", None)
    return inputs if kept is None else kept
