# SPDX-License-Identifier: Apache-2.0
"""What comes after a failed attempt: the same again, the next link of the chain, or the end. Pure.

The order: what was asked, as often as `RetryPolicy` lets it be; the version that serves, if a canary was asked; the
links of `ModelConfig.fallback` as they stand. No link is asked for longer than the request has left, and none that has
to run once its time is over: then a cached or a default answer is all there can be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ._retry import backoff
from .errors import AnyaError, Cancelled, ConfigError, DeadlineExceeded
from .resilience import Fallback, Link, RetryPolicy

__all__ = ["Ask", "GiveUp", "Recovery", "Retry", "Stable", "check_cycles"]


@dataclasses.dataclass(frozen=True, slots=True)
class Stable:
    """The version that serves the name, in the place of one that shares its traffic."""


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """What was asked is asked again after so many seconds."""

    wait: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """The next link is asked."""

    link: Stable | Link


@dataclasses.dataclass(frozen=True, slots=True)
class GiveUp:
    """There is nothing left to try."""


Step: TypeAlias = Retry | Ask | GiveUp


class Recovery:
    """One request on its way through what is left to try. Not thread-safe; used by one thread at a time.

    Attributes:
        attempts: How often what was asked was asked.
    """

    __slots__ = ("_deadline", "_links", "_policy", "_started", "attempts")

    def __init__(
        self, policy: RetryPolicy | None, links: Sequence[Stable | Link], deadline: float, *, started: bool = False
    ) -> None:
        """Begin after the first attempt.

        Args:
            policy: When to try again; None: never.
            links: What to go on to, in order.
            deadline: When the request's time is over, on the clock of `failed`; infinity: never.
            started: A link has been asked already.
        """
        self._policy = policy
        self._links = list(reversed(links))
        self._deadline = deadline
        self._started = started
        self.attempts = 1

    def failed(self, error: Exception, now: float, draw: float, expected: float, take: Callable[[], bool]) -> Step:
        """What comes after this error.

        Args:
            error: What the last attempt, or the last link, ended with.
            now: The time.
            draw: Chance in [0, 1).
            expected: Seconds that another attempt is expected to take.
            take: Takes a retry of the budget, if there is one; asked last, so that no retry is paid for in vain.
        """
        wait = self._wait(error, now, draw, expected)
        if wait is not None and take():
            self.attempts += 1
            return Retry(wait)
        # What was asked is the judge of the question; for the links after it the question is a good one.
        if isinstance(error, Cancelled) or not (self._started or self._opens_chain(error)):
            return GiveUp()
        self._started = True
        late = isinstance(error, DeadlineExceeded) or now >= self._deadline
        while self._links:
            link = self._links.pop()
            if not (late and isinstance(link, (Stable, Fallback))):
                return Ask(link)
        return GiveUp()

    def _wait(self, error: Exception, now: float, draw: float, expected: float) -> float | None:
        """The wait before another attempt; None: there is none that could end well."""
        policy = self._policy
        if policy is None or self._started or not (isinstance(error, AnyaError) and error.retryable):
            return None
        if self.attempts >= policy.max_attempts:
            return None
        wait = backoff(policy, self.attempts, draw)
        return wait if now + wait + expected < self._deadline else None

    @staticmethod
    def _opens_chain(error: Exception) -> bool:
        return isinstance(error, DeadlineExceeded) or (isinstance(error, AnyaError) and error.starts_fallback)


def check_cycles(chains: Mapping[str, Sequence[Link]]) -> None:
    """Refuse chains that lead back to where they began.

    Raises:
        ConfigError: A model is among its own fallbacks, by whatever way.
    """
    left = {name: {link.model for link in links if isinstance(link, Fallback)} for name, links in chains.items()}
    # Whoever leads only to those who lead nowhere is in no circle.
    while ends := [name for name, models in left.items() if not models & left.keys()]:
        for name in ends:
            del left[name]
    if not left:
        return
    path = [min(left)]
    while (after := min(left[path[-1]] & left.keys())) not in path:
        path.append(after)
    circle = [*path[path.index(after) :], after]
    field = f"models.{circle[0]}.fallback"
    raise ConfigError(f"{field}: goes in a circle: {' -> '.join(circle)}", field=field, value=tuple(circle))
