# SPDX-License-Identifier: Apache-2.0
"""What is said of attempts: in the error of an exhausted chain, and in the log."""

from __future__ import annotations

from typing import Any, NoReturn

from ._fallback import Ask, Retry, Stable, Step
from ._info import Attempt
from ._log import Log
from ._records import facts
from .errors import AnyaError
from .resilience import Default, Fallback, LastGood

__all__ = ["attempt", "give_up", "shown", "write"]

_log = Log("anya_engine")


class _Tried:
    """The sentence of an exhausted chain, made when read; its facts are those of the first error."""

    def __init__(self, first: Exception, attempts: tuple[Attempt, ...]) -> None:
        self.first = first
        self.attempts = attempts

    def __str__(self) -> str:
        each = "; ".join(
            f"{number}. {attempt.model}{':' if attempt.version else ''}{attempt.version}: "
            f"{getattr(attempt.error, 'code', type(attempt.error).__name__)}"
            f"{f' ({attempt.error})' if number > 1 else ''}"
            for number, attempt in enumerate(self.attempts, 1)
        )
        return f"{self.first}; tried: {each}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)


def give_up(tried: list[Attempt]) -> NoReturn:
    first = tried[0].error
    assert first is not None
    attempts = tuple(tried)
    if len(tried) == 1 or not isinstance(first, AnyaError):
        if isinstance(first, AnyaError):
            first.attempts = attempts
        raise first
    raise type(first)(_Tried(first, attempts), attempts=attempts) from first


def attempt(step: Step, version: str, error: Exception) -> Attempt:
    if isinstance(step, Ask) and isinstance(step.link, Fallback):
        return Attempt(model=step.link.model, version="", error=error)
    return Attempt(model=shown(step), version=version if isinstance(step, Retry) else "", error=error)


def shown(step: Step) -> str:
    """A step in a word."""
    if not isinstance(step, Ask):
        return "retry" if isinstance(step, Retry) else "give_up"
    if isinstance(step.link, Fallback):
        return step.link.model
    return {Stable: "stable", LastGood: "last_good", Default: "default"}[type(step.link)]


def write(level: int, event: str, record: dict[str, Any]) -> None:
    """One structured record: `key=value` in the message, the same as data in `record.anya`."""
    words = " ".join(f"{key}={_short(value)}" for key, value in record.items())
    _log.log(level, "%s %s", event, words, extra=facts(event, **record))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
