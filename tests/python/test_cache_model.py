# SPDX-License-Identifier: Apache-2.0
"""The core's response cache beside a plain one, by whatever hypothesis makes up; time is a number that it chooses."""

from __future__ import annotations

import functools
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from python.cache_model import SECOND, Model

from anya_engine import _core

SIZES = (16, 300, 2000)
KEYS = st.integers(0, 24).map(lambda number: b"%08d" % number)


def made(policy: str, capacity: int, **more: Any) -> Any:
    """A cache of the core, without jitter."""
    options = _core.CacheOptions()
    options.capacity_bytes, options.policy, options.ttl_jitter = capacity, policy, 0.0
    for name, value in more.items():
        setattr(options, name, value)
    return _core.BytesCache(options, 7)


@functools.cache
def size_of(policy: str, length: int) -> int:
    """What an entry with a key of 8 bytes and a value of so many takes."""
    cache = made(policy, 1 << 20)
    empty = cache.stats().bytes
    cache.insert(b"12345678", "", b"x" * length, 0)
    return int(cache.stats().bytes - empty)


class Beside(RuleBasedStateMachine):
    """Both do the same; whatever is seen of them is equal."""

    policy = ""

    @initialize(
        entries=st.integers(3, 14),
        ttl=st.sampled_from([None, 10.0]),
        while_revalidate=st.sampled_from([0.0, 5.0]),
        if_error=st.sampled_from([0.0, 30.0]),
    )
    def begin(self, entries: int, ttl: float | None, while_revalidate: float, if_error: float) -> None:
        """Room for so many entries of the middle size."""
        room = entries * size_of(self.policy, SIZES[1])
        terms = {"ttl": ttl or 0.0, "stale_while_revalidate": while_revalidate, "stale_if_error": if_error}
        fixed = 0
        while True:  # what an empty cache takes depends a little on its capacity
            self.cache = made(self.policy, fixed + room, **terms)
            if self.cache.stats().fixed_bytes == fixed:
                break
            fixed = self.cache.stats().fixed_bytes
        self.model = Model(self.policy, room, ttl, while_revalidate, if_error)
        self.now = 0

    @rule(key=KEYS, size=st.sampled_from(SIZES), after_error=st.booleans())
    def ask(self, key: bytes, size: int, after_error: bool) -> None:
        """As a request does: what is not there is made and kept."""
        self.now += 1
        found = self.cache.find(key, "", self.now, after_error)
        assert found == self.model.find(key, self.now, after_error=after_error)
        if found is None or found[1] >= 0:
            value = key + b"%d" % self.now
            value += b"." * (size - len(value))
            self.cache.insert(key, "", value, self.now)
            if size_of(self.policy, size) <= self.model.room:
                self.model.insert(key, value, size_of(self.policy, size), self.now)

    @rule(seconds=st.sampled_from([1, 4, 11, 40]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds * SECOND

    @rule()
    def clear(self) -> None:
        """Both forget."""
        self.cache.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        """The counters agree, and the bytes to the last one."""
        if not hasattr(self, "cache"):
            return
        stats = self.cache.stats()
        assert {name: getattr(stats, name) for name in self.model.counts} == self.model.counts
        assert stats.entries == len(self.model.entries)
        assert stats.bytes - stats.fixed_bytes == sum(entry.size for entry in self.model.entries.values())


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_the_core_does_what_the_plain_cache_does(policy: str) -> None:
    """For LRU and S3-FIFO, with and without a time to live, every answer, age, eviction and byte is the same."""
    kind = type(policy, (Beside,), {"policy": policy})
    run_state_machine_as_test(kind, settings=settings(max_examples=60, stateful_step_count=80, deadline=None))
