# SPDX-License-Identifier: Apache-2.0
"""Rollouts against a made-up service: counts by the second, drawn at random, no clock and no engine.

The rules that people use instead are here too, as rivals: they must fail the tests that ours passes.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from anya_engine._judge import Block, Cell, LatencyCell
from anya_engine._rollout import CanaryRollout
from anya_engine.strategies import Canary

#: Share of bad answers by second.
Rate = Callable[[int], float]
#: Durations fall into buckets a tenth apart: 60 cover a factor of 300.
BUCKETS = np.exp(np.arange(61) * 0.1)  # in ms
EDGES = (BUCKETS[1:-1] / 1000).tolist()


class Rule(Protocol):
    """What decides about a canary: `CanaryRollout` or a rival."""

    state: str
    weight: float

    def tick(self, now: float, block: Block) -> Any:
        """Take the counts of one second."""


def constant(rate: float) -> Rate:
    """Return the same share all the time."""
    return lambda second: rate


def incident(rate: float, *, begin: int, end: int, times: float) -> Rate:
    """Return a share that is `times` as high for a while: something broke for both versions."""
    return lambda second: min(0.9, rate * times) if begin <= second < end else rate


def diurnal(rate: float, *, swing: float = 0.8, period: int = 1200) -> Rate:
    """Return a share that goes up and down."""
    return lambda second: rate * (1 + swing * math.sin(2 * math.pi * second / period))


@dataclasses.dataclass
class Service:
    """Requests of independent keys, errors by rate, and durations by a lognormal law where a stretch is given."""

    old: Rate
    new: Rate
    per_second: float = 200.0
    stretch: float | None = None  # of the new version's durations
    control: bool = False  # what the new version is held against is as much as it has itself

    def second(self, rng: np.random.Generator, at: int, weight: float) -> Block:
        """Draw one second's counts."""
        new = int(rng.poisson(self.per_second * weight / 100))
        old = int(rng.poisson(self.per_second * (weight if self.control else 100 - weight) / 100))
        cell = Cell(new, int(rng.binomial(new, self.new(at))), old, int(rng.binomial(old, self.old(at))))
        return Block(answers=cell, errors=cell, latency=self._latency(rng, at, new, old))

    def _latency(self, rng: np.random.Generator, at: int, new: int, old: int) -> tuple[LatencyCell, ...]:
        if self.stretch is None:
            return ()
        shared = 4.0 * (1 + 0.3 * math.sin(at / 60))  # the machine is slower for both at times
        cells = []
        for stratum, share in enumerate((0.7, 0.3)):
            drawn = []
            for count, stretch in ((new, self.stretch), (old, 1.0)):
                runs = rng.lognormal(0.0, 0.25, int(rng.binomial(count, share))) * shared * (1 + stratum) * stretch
                drawn.append(np.histogram(runs, BUCKETS)[0].tolist())
            cells.append(LatencyCell(stratum, drawn[0], drawn[1]))
        return tuple(cells)


@dataclasses.dataclass
class ClusteredService:
    """Errors come in bursts by key: whoever has one has several, and all of a key's requests go to one version.

    `once` counts a key's errors as the engine does (the first one); without it every error counts.
    """

    rate: float
    burst: int
    once: bool = True
    per_second: float = 200.0
    _due: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def second(self, rng: np.random.Generator, at: int, weight: float) -> Block:
        """Draw one second's counts."""
        new, old = (int(rng.poisson(self.per_second * share)) for share in (weight / 100, 1 - weight / 100))
        first = [int(rng.binomial(count, self.rate / self.burst)) for count in (new, old)]
        again = self._due.pop(at, (0, 0))
        for later in range(1, self.burst):  # the same keys fail again, a second apart each
            before = self._due.get(at + later, (0, 0))
            self._due[at + later] = (before[0] + first[0], before[1] + first[1])
        bad = first if self.once else [first[0] + again[0], first[1] + again[1]]
        units = [new, old] if self.once else [new + again[0], old + again[1]]
        errors = Cell(units[0], min(bad[0], units[0]), units[1], min(bad[1], units[1]))
        every = Cell(new, min(new, first[0] + again[0]), old, min(old, first[1] + again[1]))
        return Block(answers=every, errors=errors)


def play(rule: Rule, service: Any, rng: np.random.Generator, seconds: int) -> tuple[str, int]:
    """Play one rollout: how it ended and after how many seconds. One that is still on at the end is inconclusive."""
    for at in range(seconds):
        rule.tick(float(at + 1), service.second(rng, at, rule.weight))
        if rule.state != "progressing":
            return rule.state, at + 1
    return "inconclusive", seconds


def play_many(
    rule: Callable[[], Rule], service: Callable[[], Any], *, rollouts: int, seconds: int = 3000, seed: int = 1
) -> tuple[Counter[str], list[int]]:
    """Play many: how they ended, and the seconds of each."""
    ends: Counter[str] = Counter()
    lasted = []
    for number in range(rollouts):
        end, seconds_taken = play(rule(), service(), np.random.default_rng([seed, number]), seconds)
        ends[end] += 1
        lasted.append(seconds_taken)
    return ends, lasted


def ours(**policy: Any) -> Callable[[], CanaryRollout]:
    """Make rollouts under the engine's own rule; errors alone unless said otherwise."""
    canary = Canary(**{"metrics": ("errors",), **policy})
    return lambda: CanaryRollout(canary, 0.0, EDGES)


class _Ramp:
    """What the rivals share: a step every two minutes, promoted at the end."""

    steps = (1, 5, 25, 50)

    def __init__(self) -> None:
        self.state = "progressing"
        self.weight: float = self.steps[0]
        self._seconds = 0

    def tick(self, now: float, block: Block) -> None:
        """Take a second; look once a minute."""
        self._seconds += 1
        self.count(block.answers)
        if self._seconds % 60 == 0:
            if self.fails():
                self.state = "rolled_back"
                return
            self.minute_is_over()
        if self._seconds % 600 == 0:
            at = self._seconds // 600
            if at == len(self.steps) + 1:
                self.state = "promoted"
            else:
                self.weight = self.steps[min(at, len(self.steps) - 1)]

    def count(self, cell: Cell) -> None:
        """Add up."""

    def fails(self) -> bool:
        """Judge."""
        raise NotImplementedError

    def minute_is_over(self) -> None:
        """Forget, if the rule does."""


class PooledTest(_Ramp):
    """Two-proportion z-test at 1 % over everything counted so far, looked at every minute."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = [0, 0, 0, 0]

    def count(self, cell: Cell) -> None:
        """Add up since the beginning."""
        for i, value in enumerate((cell.new, cell.new_bad, cell.old, cell.old_bad)):
            self._sums[i] += value

    def fails(self) -> bool:
        """Whether z is above the 99th percentile."""
        new, new_bad, old, old_bad = self._sums
        if not new or not old or new_bad + old_bad == 0:
            return False
        pooled = (new_bad + old_bad) / (new + old)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / new + 1 / old))
        return spread > 0 and (new_bad / new - old_bad / old) / spread > 2.326


class FixedRatio(_Ramp):
    """More than 1.5 times the old version's share of errors in a minute, for the third time."""

    def __init__(self) -> None:
        super().__init__()
        self._sums = [0, 0, 0, 0]
        self._failed = 0

    def count(self, cell: Cell) -> None:
        """Add up for a minute."""
        for i, value in enumerate((cell.new, cell.new_bad, cell.old, cell.old_bad)):
            self._sums[i] += value

    def fails(self) -> bool:
        """Whether this was the third bad minute."""
        new, new_bad, old, old_bad = self._sums
        if new and old:
            self._failed += new_bad / new > 1.5 * (old_bad / old)
        return self._failed >= 3

    def minute_is_over(self) -> None:
        """Begin the next minute."""
        self._sums = [0, 0, 0, 0]
