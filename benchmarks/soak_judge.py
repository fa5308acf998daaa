# SPDX-License-Identifier: Apache-2.0
"""Judges a soak: does anything grow, is the event loop held up. Pure functions of what was sampled.

A leak shows as a slope, not as a step: memory is judged by the Theil-Sen slope (the median of the slopes of all pairs
of samples), which a third of wild samples cannot move. What is counted exactly (descriptors, threads) must not have
more at the end than at the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MIB = float(1 << 20)

#: Memory may grow over the run by this share of itself, or by this much per minute, whichever is more.
GROWTH_SHARE = 0.02
GROWTH_PER_MINUTE = MIB
#: Submit cost, last quarter over first: what a loaded machine may do to it, and what a quiet one shows.
SUBMIT_BOUND = 2.0
SUBMIT_BOUND_QUIET = 1.25
#: The heartbeat's p99 beside requests, over that beside the same native load alone.
HEARTBEAT_BOUND = 1.5
#: Beats a p99 needs at least: ten above it.
ENOUGH_BEATS = 1000
ENOUGH_SAMPLES = 12


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The process at one moment of the run, the second model unloaded.

    Attributes:
        time: Seconds from the start.
        memory: Resident bytes.
        descriptors: Open ones.
        threads: Of the process.
        submit_median: Seconds of a submission's synchronous part, since the last sample.
        submit_p99: The same, the slowest hundredth.
    """

    time: float
    memory: float
    descriptors: int
    threads: int
    submit_median: float
    submit_p99: float


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must hold: `value` at most `bound`. `noisy`: a busy machine alone can break it."""

    name: str
    value: float
    bound: float
    unit: str = ""
    noisy: bool = False
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it holds; what could not be measured does not."""
        return self.value <= self.bound

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "MISSED"
        note = f"; {self.note}" if self.note else ""
        return f"{self.name}: {self.value:.4g}{self.unit} (bar <= {self.bound:.4g}{self.unit}) {verdict}{note}"


@dataclass(kw_only=True)
class Histogram:
    """Counts in logarithmic buckets of fixed edges; adding allocates nothing that stays."""

    least: float = 1e-5
    most: float = 1.0
    per_decade: int = 20
    counts: list[int] = field(default_factory=list)
    total: int = 0

    def __post_init__(self) -> None:
        self._scale = self.per_decade / math.log(10)
        size = 2 + round(math.log10(self.most / self.least) * self.per_decade)
        self.counts = self.counts or [0] * size

    def add(self, value: float) -> None:
        """Count one value; what lies outside the edges counts in the first or last bucket."""
        bucket = 0 if value <= self.least else 1 + int(math.log(value / self.least) * self._scale)
        self.counts[min(bucket, len(self.counts) - 1)] += 1
        self.total += 1

    def edge(self, bucket: int) -> float:
        """The upper edge of a bucket."""
        return self.least * math.exp(bucket / self._scale)

    def percentile(self, share: float) -> float:
        """The upper edge of the bucket that holds this share; NaN when empty. Exact to 1/per_decade of a decade."""
        wanted, seen = share * self.total, 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return self.edge(bucket)
        return math.nan

    def bars(self, width: int = 50) -> list[str]:
        """One line for every two buckets between the first and the last that hold something."""
        pairs = [sum(self.counts[first : first + 2]) for first in range(0, len(self.counts), 2)]
        used = [index for index, count in enumerate(pairs) if count]
        if not used:
            return ["(empty)"]
        most = max(pairs)
        lines = []
        for index in range(used[0], used[-1] + 1):
            bar = "#" * math.ceil(pairs[index] / most * width)
            lines.append(f"<= {self.edge(2 * index + 1) * 1e3:9.3f} ms {pairs[index]:8d} {bar}")
        return lines


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """The median slope of all pairs of points; 0 for fewer than two."""
    t, v = np.asarray(times, float), np.asarray(values, float)
    first, second = np.triu_indices(len(t), 1)
    apart = t[second] != t[first]
    first, second = first[apart], second[apart]
    return float(np.median((v[second] - v[first]) / (t[second] - t[first]))) if len(first) else 0.0


def quarters(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The first and the last quarter, without NaN."""
    size = max(1, len(values) // 4)
    return [x for x in values[:size] if x == x], [x for x in values[-size:] if x == x]


def growth(samples: Sequence[Sample]) -> list[Criterion]:
    """Nothing grows: memory, descriptors, threads, cost of a submission."""
    if len(samples) < ENOUGH_SAMPLES:
        note = "too few samples to judge growth"
        return [Criterion(name="samples missing", value=ENOUGH_SAMPLES - len(samples), bound=0, note=note)]
    times, memory = [each.time for each in samples], [each.memory for each in samples]
    seconds = times[-1] - times[0]
    allowed = max(GROWTH_SHARE * float(np.median(memory)), GROWTH_PER_MINUTE * seconds / 60)
    slope = theil_sen(times, memory)
    note = f"{slope * 60 / MIB:+.3f} MiB/min of {np.median(memory) / MIB:.0f} MiB"
    found = [
        Criterion(name="memory growth", value=slope * seconds / MIB, bound=allowed / MIB, unit=" MiB", note=note),
    ]
    for name in ("descriptors", "threads"):
        first, last = quarters([getattr(each, name) for each in samples])
        note = f"{max(first):.0f} then {max(last):.0f}"
        found.append(Criterion(name=f"{name} growth", value=max(last) - max(first), bound=0, note=note))
    first, last = quarters([each.submit_median for each in samples])
    before = float(np.median(first)) if first else math.nan
    after = float(np.median(last)) if last else math.nan
    note = f"median {before * 1e6:.1f} us then {after * 1e6:.1f} us"
    found.append(
        Criterion(name="submit cost, last over first quarter", value=after / before, bound=SUBMIT_BOUND, note=note)
    )
    name = "submit cost on a quiet machine"
    found.append(Criterion(name=name, value=after / before, bound=SUBMIT_BOUND_QUIET, noisy=True))
    return found


def heartbeat(serving: Histogram, control: Histogram) -> Criterion:
    """How much later the loop wakes when it serves the load than when it only runs beside it."""
    ratio = serving.percentile(0.99) / control.percentile(0.99) if serving.total and control.total else math.nan
    note = f"p99 {serving.percentile(0.99) * 1e3:.2f} ms against {control.percentile(0.99) * 1e3:.2f} ms"
    if min(serving.total, control.total) < ENOUGH_BEATS:
        note += f"; too few beats: {serving.total} and {control.total}"
    return Criterion(
        name="heartbeat p99, serving over control", value=ratio, bound=HEARTBEAT_BOUND, noisy=True, note=note
    )


def conservation(stats: Sequence[Mapping[str, Any]]) -> list[Criterion]:
    """At rest everything accepted has ended, exactly once, and nothing is in flight."""
    lost = sum(abs(each["accepted"] - sum(each["ended"].values())) for each in stats)
    flying = sum(each["in_flight"] for each in stats)
    return [
        Criterion(name="accepted and not ended", value=lost, bound=0),
        Criterion(name="in flight at rest", value=flying, bound=0),
    ]


def exit_status(criteria: Sequence[Criterion], *, enforce: bool) -> int:
    """1 when something that must hold does not; what is noisy counts only when enforced."""
    return int(any(not each.holds and (enforce or not each.noisy) for each in criteria))
