# SPDX-License-Identifier: Apache-2.0
"""The response cache of a model: how much it keeps, for how long, and for whom. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

from . import _checks as check
from ._tables import FromTable

__all__ = ["CacheConfig"]

#: Less than this is hardly more than the table of an empty cache.
_LEAST = 1 << 16
#: Seconds; beyond them leave `ttl` out.
_LONGEST = 1e9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig(FromTable):
    """A response cache: equal questions to one loaded version are answered without a run.

    Equal means: the same tenant, the same outputs wanted, and every input of the same dtype, shape and bytes, after the
    model's rules have done what they do to inputs. Each loaded version has a cache of its own, which ends with it.

    Attributes:
        capacity_bytes: Of questions, answers and everything that is kept to find them, for each loaded version.
        ttl: Seconds until an answer is stale; None: never.
        ttl_jitter: Each answer's own time to live differs from `ttl` by up to this share of it, so that what came
            together does not go together.
        policy: Who goes when the cache is full. "s3fifo" (Yang et al., SOSP 2023) keeps what was asked again and lets
            what was asked once pass through; "lru" keeps what was asked last.
        stale_if_error: Seconds beyond `ttl` in which a stale answer is given in place of an error: `ExecutionError`,
            `OutOfMemory`, `ModelOutputInvalid`, `Overloaded`, `DeadlineExceeded`, and while the circuit breaker is open
            or the device is lost (RFC 5861).
        stale_while_revalidate: Seconds beyond `ttl` in which a stale answer is given at once, while a run of the lowest
            priority makes a new one (RFC 5861). Not for questions of more than 1 MiB.
        single_flight: Equal requests that are in flight together share one run.
        on_leader_error: What becomes of those that wait when that run fails: "fail" ends them with its error, "rerun"
            lets the next one run. A leader that is cancelled, late or turned away is always followed by the next one.
        scope: Who shares answers: "tenant", requests of one `tenant`; "shared", all.
        cache_errors: False; no error is ever kept, nor an answer with NaN or infinities in it.
        force: Cache a model that gives random answers all the same; without it such a model does not load.
    """

    capacity_bytes: int = 64 << 20
    ttl: float | None = None
    ttl_jitter: float = 0.1
    policy: Literal["s3fifo", "lru"] = "s3fifo"
    stale_if_error: float = 0.0
    stale_while_revalidate: float = 0.0
    single_flight: bool = True
    on_leader_error: Literal["fail", "rerun"] = "fail"
    scope: Literal["tenant", "shared"] = "tenant"
    cache_errors: Literal[False] = False
    force: bool = False

    def __post_init__(self) -> None:
        self._set("capacity_bytes", check.integer("capacity_bytes", self.capacity_bytes, _LEAST, 1 << 50))
        if self.ttl is not None:
            self._set("ttl", check.number("ttl", self.ttl, 1e-6, _LONGEST))
        self._set("ttl_jitter", check.number("ttl_jitter", self.ttl_jitter, 0.0, 0.5))
        check.choice("policy", self.policy, ("s3fifo", "lru"))
        for field in ("stale_if_error", "stale_while_revalidate"):
            seconds = check.number(field, getattr(self, field), 0.0, _LONGEST)
            if seconds > 0 and self.ttl is None:
                check.refuse(field, "is beyond ttl, and there is none", seconds)
            self._set(field, seconds)
        check.boolean("single_flight", self.single_flight)
        check.choice("on_leader_error", self.on_leader_error, ("fail", "rerun"))
        check.choice("scope", self.scope, ("tenant", "shared"))
        if check.boolean("cache_errors", self.cache_errors):
            check.refuse("cache_errors", "errors are never cached; a request that failed may be asked again", True)
        check.boolean("force", self.force)

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)
