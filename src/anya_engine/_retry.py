# SPDX-License-Identifier: Apache-2.0
"""Whether and when a failed run is tried again. Pure: time, chance and counts are given."""

from __future__ import annotations

import math

from .resilience import RetryPolicy

__all__ = ["RetryBudget", "backoff"]


def backoff(policy: RetryPolicy, attempt: int, draw: float) -> float:
    """Return the seconds to wait after this attempt (from 1), for a chance in [0, 1).

    Evenly from 0 to the bound, which grows with the attempts ("full jitter", Brooker, AWS Architecture Blog, 2015).
    """
    try:
        bound = policy.initial_backoff * policy.multiplier ** (attempt - 1)
    except OverflowError:
        bound = math.inf
    return draw * min(policy.max_backoff, bound)


class RetryBudget:
    """The retries in hand of one version: each success pays for a part of one (the "retry throttling" of gRPC A6).

    Not thread-safe; its holder sees to that.

    Attributes:
        tokens: Retries in hand.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._seen = 0
        self.tokens = float(policy.burst)

    def pay(self, successes: int) -> float:
        """Pay in for what has succeeded since; `successes` counts from the version's load. Return what is in hand."""
        new = max(0, successes - self._seen)
        self._seen = max(successes, self._seen)
        # All at once is the same as one by one: nothing was taken in between.
        self.tokens = min(self._policy.burst, self.tokens + self._policy.budget * new)
        return self.tokens

    def take(self, successes: int) -> bool:
        """Take one retry, if there is one."""
        if self.pay(successes) < 1.0:
            return False
        self.tokens -= 1.0
        return True
