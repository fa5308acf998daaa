# SPDX-License-Identifier: Apache-2.0
"""The response cache in plain Python: what the core's must do, entry by entry."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

SECOND = 1_000_000_000


@dataclasses.dataclass
class Entry:
    """A kept answer."""

    value: bytes
    size: int
    stale_from: float
    gone_from: float
    serial: int
    used: int = 0


class Lru:
    """The one whose last use is longest ago goes; of equals the one that came first."""

    def hit(self, entry: Entry, now: int) -> None:
        entry.used = now

    def add(self, key: bytes, entry: Entry, now: int) -> None:
        entry.used = now

    def remove(self, key: bytes) -> None:
        pass

    def evict(self, entries: dict[bytes, Entry]) -> bytes:
        return min(entries, key=lambda key: (entries[key].used, entries[key].serial))


class S3Fifo:
    """As its authors describe it: a small queue of a tenth, a main queue, and the keys of what left the small one."""

    def __init__(self, room: int) -> None:
        self.main_room = room - room // 10
        self.small: OrderedDict[bytes, Entry] = OrderedDict()
        self.main: OrderedDict[bytes, Entry] = OrderedDict()
        self.ghosts: OrderedDict[bytes, None] = OrderedDict()

    def hit(self, entry: Entry, now: int) -> None:
        entry.used = min(entry.used + 1, 3)

    def add(self, key: bytes, entry: Entry, now: int) -> None:
        came_back = key in self.ghosts
        self.ghosts.pop(key, None)
        (self.main if came_back else self.small)[key] = entry

    def remove(self, key: bytes) -> None:
        self.small.pop(key, None)
        self.main.pop(key, None)

    def evict(self, entries: dict[bytes, Entry]) -> bytes:
        while True:
            if self.main and (sum(each.size for each in self.main.values()) > self.main_room or not self.small):
                return self._evict_main()
            key, entry = self.small.popitem(last=False)
            if entry.used < 2:
                self.ghosts.pop(key, None)
                self.ghosts[key] = None
                while len(self.ghosts) > (len(self.small) + len(self.main)) * 9 // 10:
                    self.ghosts.popitem(last=False)
                return key
            entry.used = 0
            self.main[key] = entry

    def _evict_main(self) -> bytes:
        while True:
            key, entry = self.main.popitem(last=False)
            if entry.used == 0:
                return key
            entry.used -= 1
            self.main[key] = entry


class Model:
    """A cache of so much room for entries, whose sizes the caller knows."""

    def __init__(self, policy: str, room: int, ttl: float | None, while_revalidate: float, if_error: float) -> None:
        self.policy: Lru | S3Fifo = Lru() if policy == "lru" else S3Fifo(room)
        self.room = room
        self.ttl = float("inf") if ttl is None else ttl * SECOND
        self.while_revalidate = while_revalidate * SECOND
        self.if_error = if_error * SECOND
        self.entries: dict[bytes, Entry] = {}  # in the order of arrival
        self.counts = dict.fromkeys(("hits", "stale", "stale_on_error", "misses", "insertions"), 0)
        self.counts |= dict.fromkeys(("evicted_capacity", "evicted_ttl", "evicted_invalidate"), 0)

    def find(self, key: bytes, now: int, *, after_error: bool) -> tuple[bytes, int] | None:
        """What is found first, and if that is nothing, after an error."""
        found = self._give(key, now, self.while_revalidate, "stale")
        if found is None:
            self.counts["misses"] += 1
            if after_error:
                found = self._give(key, now, self.if_error, "stale_on_error", fresh="stale_on_error")
        return found

    def insert(self, key: bytes, value: bytes, size: int, now: int) -> None:
        """Keep an answer."""
        while self.entries and next(iter(self.entries.values())).gone_from <= now:
            self._take_out(next(iter(self.entries)), "evicted_ttl")
        if (old := self.entries.get(key)) is not None:
            if old.stale_from > now:
                return
            self._take_out(key, "evicted_ttl")
        while self.entries and sum(each.size for each in self.entries.values()) + size > self.room:
            victim = self.policy.evict(self.entries)
            gone = self.entries[victim].gone_from <= now
            self._take_out(victim, "evicted_ttl" if gone else "evicted_capacity")
        stale_from = now + self.ttl
        kept = max(self.while_revalidate, self.if_error)
        self.entries[key] = entry = Entry(value, size, stale_from, stale_from + kept, self.counts["insertions"])
        self.policy.add(key, entry, now)
        self.counts["insertions"] += 1

    def clear(self) -> None:
        """Everything goes."""
        for key in list(self.entries):
            self._take_out(key, "evicted_invalidate")

    def _give(self, key: bytes, now: int, allowed: float, stale: str, fresh: str = "hits") -> tuple[bytes, int] | None:
        entry = self.entries.get(key)
        if entry is None or now - entry.stale_from >= allowed > 0 or (allowed == 0 and now >= entry.stale_from):
            return None
        over = -1 if now < entry.stale_from else int(now - entry.stale_from)
        self.policy.hit(entry, now)
        self.counts[fresh if over < 0 else stale] += 1
        return entry.value, over

    def _take_out(self, key: bytes, cause: str) -> None:
        self.policy.remove(key)
        del self.entries[key]
        self.counts[cause] += 1
