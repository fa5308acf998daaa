# SPDX-License-Identifier: Apache-2.0
"""What happens when an answer fails: tried again, refused for a while, or answered by something simpler.

All are frozen and checked on construction. Durations are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from . import _checks as check
from ._frozen import FrozenMapping
from ._tables import FromTable, build
from .errors import ConfigError

__all__ = ["BreakerPolicy", "Default", "Fallback", "LastGood", "Link", "RetryPolicy"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy(FromTable):
    """When a failed run is tried again. Only errors whose `retryable` is true are: no refusal, bad input, or timeout.

    Attributes:
        max_attempts: Runs of one request at most, the first one included.
        initial_backoff: The wait before the second attempt is drawn evenly from 0 to this ("full jitter").
        max_backoff: No wait is drawn from beyond this.
        multiplier: What the upper end grows by from attempt to attempt.
        budget: Retries that each answer that succeeds pays for. When more fails than that, nothing is tried again: the
            load of an outage's retries would keep the outage going. 0: nothing is paid in, `burst` is all there is.
        burst: Retries in hand at most, and at the start.
    """

    max_attempts: int = 3
    initial_backoff: float = 0.025
    max_backoff: float = 1.0
    multiplier: float = 2.0
    budget: float = 0.1
    burst: int = 10

    def __post_init__(self) -> None:
        _integer(self, "max_attempts", 1, 100)
        _number(self, "initial_backoff", 0.0, 3600.0)
        _number(self, "max_backoff", 0.0, 3600.0)
        if self.max_backoff < self.initial_backoff:
            check.refuse("max_backoff", "must be at least initial_backoff", self.max_backoff, self.initial_backoff)
        _number(self, "multiplier", 1.0, 100.0)
        _number(self, "budget", 0.0, 1.0)
        _integer(self, "burst", 1, 1_000_000)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy(FromTable):
    """When a version is asked no more for a while. Its requests are then refused at once with `Unavailable`.

    Calls are requests that were run: failed ones, and ones that ended at their deadline while they ran, are failures.
    What was refused, cancelled, or expired in the queue says nothing of the version.

    Attributes:
        window: The last so many calls are looked at.
        minimum_calls: Before there have been so many, nothing is decided.
        failure_rate: The breaker opens when this share of the calls, or more, has failed.
        slow_call_duration: A call whose run takes longer is slow; None: none is.
        slow_call_rate: The breaker opens when this share of the calls, or more, is slow.
        open_duration: How long it stays open; then `probes` requests are let through (half open), and it closes if they
            keep the rates, or opens again for twice as long.
        max_open_duration: No longer than this.
        probes: See `open_duration`.
    """

    window: int = 100
    minimum_calls: int = 20
    failure_rate: float = 0.5
    slow_call_duration: float | None = None
    slow_call_rate: float = 0.8
    open_duration: float = 5.0
    max_open_duration: float = 60.0
    probes: int = 5

    def __post_init__(self) -> None:
        _integer(self, "window", 1, 10_000)
        _integer(self, "minimum_calls", 1, self.window)
        _number(self, "failure_rate", 0.001, 1.0)
        if self.slow_call_duration is not None:
            _number(self, "slow_call_duration", 1e-6, 1e6)
        _number(self, "slow_call_rate", 0.001, 1.0)
        _number(self, "open_duration", 0.001, 86400.0)
        _number(self, "max_open_duration", self.open_duration, 1e6)
        _integer(self, "probes", 1, 1000)


@dataclasses.dataclass(frozen=True, slots=True)
class Fallback:
    """Another model answers: the version that serves its name, asked once, without retries and fallbacks of its own.

    Attributes:
        model: Its name; may be given by position. A plain string in `ModelConfig.fallback` is a Fallback to that name.
        inputs: What the asked model calls the other's inputs, by the other's name, where they differ. Inputs that the
            other does not take are left out.
        outputs: What the other calls the asked model's outputs, by the asked model's name, where they differ.
    """

    model: str
    _: dataclasses.KW_ONLY
    inputs: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)
    outputs: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        check.name("model", self.model)
        for field in ("inputs", "outputs"):
            names = getattr(self, field)
            check.mapping(field, names)
            for key, value in names.items():
                if not all(isinstance(name, str) and name for name in (key, value)):
                    check.refuse(field, "must map names to names", (key, value))
            object.__setattr__(self, field, FrozenMapping(names))

    def to_table(self) -> Any:
        """What `link` reads as this."""
        table = {"model": self.model, "inputs": dict(self.inputs), "outputs": dict(self.outputs)}
        return {key: value for key, value in table.items() if value} if self.inputs or self.outputs else self.model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LastGood:
    """The answer to the same question from the response cache, also after its time to live. Needs `ModelConfig.cache`.

    Attributes:
        max_age: How long after its time to live an answer may still be given.
    """

    max_age: float = 300.0

    def __post_init__(self) -> None:
        _number(self, "max_age", 0.0, 1e9)

    def to_table(self) -> Any:
        """What `link` reads as this."""
        return {"last_good": {"max_age": self.max_age}}


@dataclasses.dataclass(frozen=True, slots=True)
class Default:
    """An answer that always works.

    Attributes:
        outputs: Value by output name, for every output of the model: a number, a string, or an array, which is
            broadcast to the output's shape and has one entry per row; or a function of the request's inputs (a
            dictionary of arrays) that returns such a mapping, called on whatever thread the failure is dealt with; what
            it raises is noted as this link's error. May be given by position.
    """

    outputs: Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def __post_init__(self) -> None:
        if callable(self.outputs):
            return
        check.mapping("outputs", self.outputs)
        if not self.outputs:
            check.refuse("outputs", "must have a value for every output of the model", self.outputs)
        values = {}
        for name, value in self.outputs.items():
            if not name or not isinstance(name, str):
                check.refuse("outputs", "a name must be a string of at least one character", name)
            values[name] = _value(f"outputs.{check.key(name)}", value)
        object.__setattr__(self, "outputs", FrozenMapping(values))

    def to_table(self) -> Any:
        """What `link` reads as this."""
        if callable(self.outputs):
            raise ConfigError("outputs: TOML cannot hold a function", field="outputs")
        return {"default": {name: _listed(value) for name, value in self.outputs.items()}}


#: One step of a fallback chain.
Link: TypeAlias = Fallback | LastGood | Default


def chain(field: str, value: Any) -> tuple[Link, ...]:
    """Return the links of a chain: strings are models; tables are what TOML holds."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        check.refuse(field, "must be a sequence of model names, Fallback, LastGood and Default", value)
    links = tuple(_link(f"{field}[{index}]", item) for index, item in enumerate(value))
    for index, link in enumerate(links):
        if links.index(link) < index:
            check.refuse(f"{field}[{index}]", "is in the chain already", link)
        if isinstance(link, Default) and not callable(link.outputs) and index + 1 < len(links):
            check.refuse(f"{field}[{index + 1}]", "comes after a Default, which always answers", links[index + 1])
    return links


def _link(field: str, item: Any) -> Link:
    try:
        return _read(item)
    except ConfigError as error:
        inner = field if error.field is None else f"{field}.{error.field}"
        raise ConfigError(f"{field}: {error}", field=inner, limit=error.limit, value=error.value) from error


def _read(item: Any) -> Link:
    if isinstance(item, (Fallback, LastGood, Default)):
        return item
    if isinstance(item, str):
        return Fallback(item)
    if isinstance(item, Mapping) and "model" in item:
        return build(Fallback, item, {})
    kind = next(iter(item)) if isinstance(item, Mapping) and len(item) == 1 else None
    if kind == "last_good":
        return build(LastGood, item["last_good"], {})
    if kind == "default":
        return Default(item["default"])
    raise ConfigError(f"must be a model's name, Fallback, LastGood or Default, got {check.shown(item)}", value=item)


def _value(field: str, value: Any) -> Any:
    """Return a value that cannot change: arrays and lists become tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_value(field, each) for each in value)
    if not isinstance(value, (bool, int, float, str)):
        check.refuse(field, "must be a number, a string, or an array of such", value)
    return value


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _number(policy: object, field: str, low: float, high: float) -> None:
    object.__setattr__(policy, field, check.number(field, getattr(policy, field), low, high))


def _integer(policy: object, field: str, low: int, high: int) -> None:
    object.__setattr__(policy, field, check.integer(field, getattr(policy, field), low, high))
