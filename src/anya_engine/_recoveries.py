# SPDX-License-Identifier: Apache-2.0
"""What an engine does about failures: asks again, asks others, writes down what it did. Decisions are `_fallback`'s."""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from . import _core
from ._attempts import attempt, give_up, shown, write
from ._fallback import Ask, GiveUp, Recovery, Retry, Stable, Step, check_cycles
from ._info import Attempt, ResilienceStats, Response, response_of
from ._log import Log
from ._retry import RetryBudget
from ._stand_in import Names, default_answer, named, other_inputs, other_outputs
from ._timer import Timer
from .config import ModelConfig
from .errors import AnyaError, ConfigError, DeadlineExceeded, Overloaded, Unavailable
from .resilience import Default, Fallback, LastGood, Link, RetryPolicy

__all__ = ["Asked", "Call", "Recoveries", "Steps"]

_log = Log("anya_engine")
# Refusals may come by thousands in a second, and nothing was attempted.
_REFUSALS = (Unavailable, Overloaded, DeadlineExceeded)


class Asked(NamedTuple):
    """What a request is, as the core takes it."""

    inputs: Any
    outputs: Sequence[str] | None
    timeout: float | None
    priority: int | None
    key: Any
    tenant: str | None


class Call(NamedTuple):
    """Ask this version this; what comes of it, an answer or an error, is sent back."""

    model: _core.Model
    asked: Asked


#: Seconds to wait, or a call to make; what is returned in the end answers the request.
Steps: TypeAlias = Generator[float | Call, Any, Response]


class Table(Protocol):
    """What `ModelTable` is to recoveries."""

    @property
    def loaded(self) -> Mapping[tuple[str, str], _core.Model]:
        """Every version."""

    def stable(self, name: str) -> _core.Model:
        """The version that serves a name."""

    def config_of(self, name: str, version: str) -> ModelConfig:
        """How a version is run."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a name's configuration says of failures.

    Attributes:
        retry: When to try again.
        links: What comes after; without degraded answers, none.
        timeout: Seconds that a request has which names none; None: no end.
        is_strict: No degraded answer will do, a stale one neither.
    """

    retry: RetryPolicy | None
    links: tuple[Link, ...]
    timeout: float | None
    is_strict: bool = False


class Recoveries:
    """Thread-safe. Entered only when something has failed."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._budgets: weakref.WeakKeyDictionary[_core.Model, RetryBudget] = weakref.WeakKeyDictionary()
        self._names: weakref.WeakKeyDictionary[_core.Model, Names] = weakref.WeakKeyDictionary()
        self._logged: weakref.WeakKeyDictionary[_core.Model, int] = weakref.WeakKeyDictionary()
        self.timer = Timer()
        self.clock: Callable[[], float] = time.monotonic
        self.draw: Callable[[], float] = random.random
        self.attempts: dict[tuple[str, str, int, str], int] = {}
        self.fallbacks: dict[tuple[str, str, str, str], int] = {}

    def recover(
        self, plan: Plan, model: Any, error: Exception, began: float, asked: Asked, detour: Attempt | None = None
    ) -> Steps:
        """What to do after the first attempt of a request has failed, and its first link, too, where `detour` says so.

        Raises:
            AnyaError: Nothing helped: the class of the first error, with `.attempts`.
        """
        name = model.name
        timeout = asked.timeout if asked.timeout is not None else plan.timeout
        deadline = math.inf if timeout is None else began + timeout
        first = self._table.loaded.get((name, model.version), model)  # without a rollout's tally: retries do not count
        stable = self._table.stable(name)
        links = plan.links if stable is first else (Stable(), *plan.links)
        recovery = Recovery(plan.retry, links, deadline)
        tried: list[Attempt] = [Attempt(model=name, version=first.version, error=error)]
        if detour is not None and detour.error is not None:
            recovery = Recovery(None, links[1:], deadline, started=True)
            tried.append(detour)
            error = detour.error
        while True:
            draw, expected = self.draw(), first.expected_run
            step = recovery.failed(error, self.clock(), draw, expected, lambda: self._take(first, plan.retry))
            self._note(first, tried, recovery, step, deadline, plan)
            degraded, call, rename = False, first, None
            ask = asked
            try:
                if isinstance(step, GiveUp):
                    give_up(tried)
                elif isinstance(step, Retry):
                    yield step.wait
                elif isinstance(step.link, Stable):
                    call = stable
                elif isinstance(step.link, Fallback):
                    degraded, call = True, self._table.stable(step.link.model)
                    ask, rename = self._translated(step.link, first, call, asked)
                else:
                    response = self._ready(step.link, first, asked, error, tried)
                    self._count(self.attempts, name, first.version, recovery.attempts, "fallback")
                    return response
            except AnyaError as failure:
                if isinstance(step, GiveUp):
                    raise
                error = failure
                tried.append(attempt(step, first.version, failure))
                continue
            left = deadline - self.clock()
            limit = self._table.config_of(call.name, call.version).max_timeout
            ask = ask._replace(timeout=None if left == math.inf else max(0.0, min(left, limit or left)))
            result = yield Call(call.fresh() if plan.is_strict else call, ask)
            if not isinstance(result, Exception):
                tried.append(Attempt(model=call.name, version=call.version))
                self._count(self.attempts, name, first.version, recovery.attempts, "fallback" if degraded else "ok")
                self._log_answer(result, call, tried)
                return _renamed(response_of(call, result, tuple(tried), degraded=degraded), rename)
            error = result
            tried.append(Attempt(model=call.name, version=call.version, error=error))

    # ---- links

    def stable(self, name: str) -> _core.Model:
        """The version that serves a name."""
        return self._table.stable(name)

    def are_alike(self, link: Fallback, first: _core.Model, other: _core.Model) -> bool:
        """Whether the other takes a request as it is, and its answer may be given as it is.

        Raises:
            ConfigError: It cannot stand in at all.
        """
        ours, theirs = self.names(first), self.names(other)
        rename = other_outputs(link, None, ours, theirs)
        return (
            link.inputs == {}
            and [name for name, _, _ in ours.inputs] == [name for name, _, _ in theirs.inputs]
            and list(rename.items()) == [(name, name) for name, _, _ in theirs.outputs]
            and self._table.config_of(other.name, other.version).max_timeout is None
        )

    def _translated(
        self, link: Fallback, first: _core.Model, other: _core.Model, asked: Asked
    ) -> tuple[Asked, Mapping[str, str]]:
        ours, theirs = self.names(first), self.names(other)
        rename = other_outputs(link, asked.outputs, ours, theirs)
        inputs = other_inputs(link, named(asked.inputs, ours), theirs)
        return asked._replace(inputs=inputs, outputs=list(dict.fromkeys(rename.values()))), rename

    def _ready(
        self, link: LastGood | Default, first: _core.Model, asked: Asked, error: Exception, tried: list[Attempt]
    ) -> Response:
        """An answer that needs no run."""
        number = getattr(error, "request_id", None) or 0
        if isinstance(link, LastGood):
            model, found = self._last_good(first, asked, link.max_age)
            tried.append(Attempt(model=model.name, version=model.version))
            return response_of(model, (found[0], number, *found[2:]), tuple(tried), degraded=True)
        names = self.names(first)
        try:
            outputs = default_answer(link, named(asked.inputs, names), asked.outputs, names)
        except AnyaError:
            raise
        except Exception as failure:
            raise AnyaError(f"the default's function failed: {type(failure).__name__}: {failure}") from failure
        tried.append(Attempt(model="default", version=""))
        response = response_of(first, (outputs, number, 0.0, 0.0, 0, None, False, None), tuple(tried), degraded=True)
        return dataclasses.replace(response, served_by="default")

    def _last_good(self, first: _core.Model, asked: Asked, max_age: float) -> tuple[_core.Model, Any]:
        """What the cache of the version asked, or else of the one that serves, still has.

        Raises:
            Unavailable: They have nothing, or nothing that is young enough.
        """
        for model in dict.fromkeys((first, self._table.stable(first.name))):
            found = model.last_good(asked.inputs, asked.outputs, asked.tenant, max_age)
            if found is not None:
                return model, found
        raise Unavailable(f"the cache of '{first.name}' has no answer to this that is stale for at most {max_age:g} s")

    def names(self, model: _core.Model) -> Names:
        """What a version takes and gives."""
        found = self._names.get(model)
        if found is None:
            info = model.info()
            found = self._names[model] = Names(tuple(info["inputs"]), tuple(info["outputs"]))
        return found

    # ---- the budget

    def _take(self, model: _core.Model, policy: RetryPolicy | None) -> bool:
        assert policy is not None
        with self._lock:
            return self._budget(model, policy).take(model.succeeded)

    def tokens(self, model: _core.Model, policy: RetryPolicy) -> float:
        """Retries in hand of a version."""
        with self._lock:
            return self._budget(model, policy).pay(model.succeeded)

    def _budget(self, model: _core.Model, policy: RetryPolicy) -> RetryBudget:
        budget = self._budgets.get(model)
        if budget is None:
            budget = self._budgets[model] = RetryBudget(policy)
        return budget

    def check(self, model: _core.Model, config: ModelConfig) -> None:
        """Refuse a chain that cannot work, as far as its models are there.

        Raises:
            ConfigError: It goes in a circle, a fallback does not match, a default does not fit.
        """
        chains = {name: self._table.config_of(name, version).links for name, version in self._table.loaded}
        check_cycles({**chains, model.name: config.links})
        names = self.names(model)
        for index, link in enumerate(config.links):
            try:
                if isinstance(link, Fallback) and any(name == link.model for name, _ in self._table.loaded):
                    other_outputs(link, None, names, self.names(self._table.stable(link.model)))
                elif isinstance(link, Default) and not callable(link.outputs):
                    default_answer(link, {}, None, names)
            except ConfigError as error:
                field = f"fallback[{index}].{error.field}"
                raise ConfigError(f"model '{model.name}': {field}: {error}", field=field) from error

    # ---- what is told

    def stats(self) -> tuple[ResilienceStats, ...]:
        """What was done about failures, for each version whose configuration says anything of them."""
        with self._lock:
            attempts, fallbacks = dict(self.attempts), dict(self.fallbacks)
        made = []
        for (name, version), model in self._table.loaded.items():
            config = self._table.config_of(name, version)
            if config.retry is None and config.breaker is None and not config.fallback:
                continue
            self.look(model)
            to = {(link, code): count for (*of, link, code), count in fallbacks.items() if of == [name, version]}
            if model.turned_away_count:
                around = (shown(Ask(config.links[0])), Unavailable.code)
                to[around] = to.get(around, 0) + model.turned_away_count
            made.append(
                ResilienceStats(
                    name=name,
                    version=version,
                    attempts={(n, how): count for (*of, n, how), count in attempts.items() if of == [name, version]},
                    fallbacks=to,
                    budget_tokens=None if config.retry is None else self.tokens(model, config.retry),
                )
            )
        return tuple(made)

    def _note(
        self, first: _core.Model, tried: list[Attempt], recovery: Recovery, step: Step, deadline: float, plan: Plan
    ) -> None:
        """Count and log the attempt that has just failed, and what comes next."""
        last = tried[-1]
        code = getattr(last.error, "code", type(last.error).__name__)
        number = recovery.attempts - isinstance(step, Retry)
        if len(tried) == number:  # else a link has failed, which is no attempt of the model asked
            self._count(self.attempts, first.name, first.version, number, "error")
        if isinstance(step, Ask):
            self._count(self.fallbacks, first.name, first.version, shown(step), code)
        refused = isinstance(last.error, _REFUSALS)
        level = logging.DEBUG if refused else logging.WARNING
        if not refused:
            self.look(first)
        if not _log.isEnabledFor(level):
            return
        record = {
            "request": getattr(last.error, "request_id", None),
            "model": last.model,
            "version": last.version,
            "attempt": len(tried),
            "error": code,
            "next": shown(step),
            "backoff": step.wait if isinstance(step, Retry) else 0.0,
            "remaining": None if deadline == math.inf else deadline - self.clock(),
            "budget": None if plan.retry is None else self.tokens(first, plan.retry),
        }
        write(level, "attempt", record)

    @staticmethod
    def _log_answer(answer: Any, model: _core.Model, tried: list[Attempt]) -> None:
        level = logging.DEBUG if isinstance(tried[-2].error, _REFUSALS) else logging.INFO
        if _log.isEnabledFor(level):
            request = answer[1] if isinstance(answer, tuple) else None
            facts = {"request": request, "model": model.name, "version": model.version, "attempt": len(tried)}
            write(level, "attempt", {**facts, "error": "OK"})

    def _count(self, counts: dict[Any, int], *key: Any) -> None:
        with self._lock:
            counts[key] = counts.get(key, 0) + 1

    def look(self, model: _core.Model) -> None:
        """Log what a version's circuit breaker has done since the last look, and look again until it is closed."""
        circuit = model.circuit()
        if circuit is None or not circuit.events:
            return
        with self._lock:
            seen = self._logged.get(model, 0)
            new = [event for event in circuit.events if event.number > seen]
            self._logged[model] = circuit.events[-1].number
        for event in new:
            level = logging.WARNING if event.to == "open" else logging.INFO
            facts = {"model": model.name, "version": model.version, "state": event.to}
            write(level, "circuit", {**facts, "calls": event.calls, "failed": event.failed, "slow": event.slow})
        if new and circuit.state != "closed":
            self._look_later(weakref.ref(model), circuit.opens_in)

    def _look_later(self, model: weakref.ref[_core.Model], seconds: float) -> None:
        def again() -> None:
            held = model()
            if held is None or self.timer.stopped:
                return
            self.look(held)
            circuit = held.circuit()
            if circuit is not None and circuit.state != "closed":
                self._look_later(model, circuit.opens_in)

        self.timer.call_later(max(1.0, seconds), again)


def _renamed(response: Response, names: Mapping[str, str] | None) -> Response:
    if names is None:
        return response
    return dataclasses.replace(response, outputs={ours: response.outputs[theirs] for ours, theirs in names.items()})
