# SPDX-License-Identifier: Apache-2.0
"""Is the new version worse than the old one? Evidence from counts, valid however often one looks. Pure.

The rule is a sequential test by betting (an e-process). Time is cut into blocks; in block j of one stratum, `s` is the
share of the units that the new version answered, `m` the bad ones of both versions, `c` those of the new one. If
versions are alike, c is at most as spread as Binomial(m, s) (Hoeffding 1963, sampling without replacement), so

    E_r  <-  E_r * r^c / (1 + s (r - 1))^m

has a mean of at most its old value for each r > 1: a supermartingale, and so is any average of such. By Ville's
inequality the chance that it ever reaches 1 / alpha is at most alpha: at any number of looks, on any ramp, whatever
happens to both versions at once. Compare Lindon, Sanden, Shirikian: Rapid Regression Detection in Software Deployments
through Sequential Testing (KDD 2022).
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from . import _checks as check

__all__ = ["Block", "Cell", "Evidence", "Judge", "LatencyCell"]

#: What the new version's share of bad answers may be in multiples of the old one's: the bets, of one weight each.
RATIOS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
#: "Slow" is slower than this share of the old version's runs of late.
QUANTILES = (0.75, 0.95, 0.99)
#: Blocks that "of late" means, and runs of the old version below which nobody knows what is slow.
REMEMBERED_BLOCKS = 10
LEAST_RUNS = 10
# No count that is read back from elsewhere is larger.
_MOST = 1 << 62


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """Counts of one block and stratum: units and the bad ones among them, of the new and of the old version."""

    new: int = 0
    new_bad: int = 0
    old: int = 0
    old_bad: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class LatencyCell:
    """Runs of like size in one block, counted by duration: bucket i of `new` and of `old` covers the same durations."""

    stratum: int
    new: Sequence[int]
    old: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """What was counted in one interval.

    Attributes:
        answers: Units are keys seen in the interval; bad is a key with an error in it.
        errors: The same of keys that had never had an error before: a user whom everything fails for speaks once.
        latency: Durations of runs by stratum, one per key.
        own: By metric of the service's own, like `errors`.
    """

    answers: Cell = Cell()
    errors: Cell = Cell()
    latency: Sequence[LatencyCell] = ()
    own: Mapping[str, Cell] = dataclasses.field(default_factory=dict)


class Evidence:
    """What is known of one kind of badness. Owned by the judge."""

    def __init__(self, max_ratio: float, slo: float | None) -> None:
        self._max_ratio = max_ratio
        self._slo = slo
        self._against = [0.0] * len(RATIOS)  # log E_r since the beginning
        self.new = self.new_bad = self.old = self.old_bad = 0
        self.start_step()

    def start_step(self) -> None:
        """Evidence for the new version is asked for anew at each step."""
        self._for_ratio = 0.0
        self._for_slo = 0.0

    def add(self, cell: Cell) -> None:
        """Take one block of one stratum."""
        units = cell.new + cell.old
        if units == 0:
            return
        share = cell.new / units
        bad = cell.new_bad + cell.old_bad
        self.new += cell.new
        self.new_bad += cell.new_bad
        self.old += cell.old
        self.old_bad += cell.old_bad
        if bad:
            for i, ratio in enumerate(RATIOS):
                self._against[i] += log_factor(cell.new_bad, bad, share, ratio)
            self._for_ratio -= log_factor(cell.new_bad, bad, share, self._max_ratio)

    def add_to_slo(self, units: int, bad: int) -> None:
        """Wald's test of a share of `slo` against a quarter of it."""
        if self._slo is not None:
            good = math.log1p(-self._slo / 4) - math.log1p(-self._slo)
            self._for_slo += bad * math.log(0.25) + (units - bad) * good

    def saved(self) -> list[float]:
        """All of it, for `restore`."""
        return [*self._against, self._for_ratio, self._for_slo, self.new, self.new_bad, self.old, self.old_bad]

    def restore(self, saved: object) -> None:
        """Become what was saved elsewhere. Raises ConfigError where that is no such thing."""
        numbers = check.sequence("evidence", saved)
        if len(numbers) != len(RATIOS) + 6:
            check.refuse("evidence", f"must be {len(RATIOS) + 6} numbers", saved)
        logs = [check.number("evidence", each, -1e18, 1e18) for each in numbers[:-4]]
        counts = [check.integer("evidence", each, 0, _MOST) for each in numbers[-4:]]
        *self._against, self._for_ratio, self._for_slo = logs
        self.new, self.new_bad, self.old, self.old_bad = counts

    @property
    def log_e(self) -> float:
        """Log of the evidence against the new version; 0 is none."""
        return log_mean_exp(self._against)

    @property
    def log_for(self) -> float:
        """Log of this step's evidence that it is well enough: less than `max_ratio` times as bad, or below `slo`."""
        return max(self._for_ratio, self._for_slo)

    @property
    def ratio(self) -> float | None:
        """Share of bad ones in the new version over that in the old one; None while there is none in the old."""
        if self.new == 0 or self.old_bad == 0:
            return None
        return (self.new_bad / self.new) / (self.old_bad / self.old)


class Judge:
    """Collects evidence block by block. Owned by one thread."""

    def __init__(
        self,
        metrics: Sequence[str],
        *,
        max_ratio: float,
        slo: float,
        edges: Sequence[float] = (),
        tolerance: float = 0.0,
        slack: float = 0.0,
    ) -> None:
        """`edges`: where buckets of durations end, in seconds; `tolerance` and `slack`: see `Canary`."""
        self._allowed = [_first_above(edges, edge * (1 + tolerance) + slack) for edge in edges]
        self._answers = 0  # units of the new version at this step
        self.kinds: dict[str, dict[str, Evidence]] = {}
        for metric in metrics:
            if metric == "latency":
                names = [f"slower than {quantile:.0%} of the old" for quantile in QUANTILES]
                self.kinds[metric] = {name: Evidence(max_ratio, None) for name in names}
            else:
                self.kinds[metric] = {metric: Evidence(max_ratio, slo)}
        self._past: dict[int, deque[list[int]]] = {}
        self.compared_runs = 0
        self.runs = 0

    def start_step(self) -> None:
        """Begin with the next share."""
        self._answers = 0
        self.runs = self.compared_runs = 0
        for evidence in self._all():
            evidence.start_step()

    @property
    def requests(self) -> int:
        """Units that the new version answered at this step."""
        return self._answers

    def observe(self, block: Block) -> None:
        """Take the counts of one interval."""
        self._answers += block.answers.new
        for metric, kinds in self.kinds.items():
            if metric == "latency":
                self._observe_latency(block.latency, list(kinds.values()))
            elif metric == "errors":
                kinds[metric].add(block.errors)
                kinds[metric].add_to_slo(block.answers.new, block.answers.new_bad)
            elif (cell := block.own.get(metric)) is not None:
                kinds[metric].add(cell)
                kinds[metric].add_to_slo(cell.new, cell.new_bad)

    def saved(self) -> dict[str, Any]:
        """All that it knows as plain values, for `restore` in a judge of the same policy."""
        return {
            "answers": self._answers,
            "runs": self.runs,
            "compared_runs": self.compared_runs,
            "kinds": {metric: [each.saved() for each in kinds.values()] for metric, kinds in self.kinds.items()},
            "past": [[stratum, [_sparse(block) for block in past]] for stratum, past in self._past.items()],
        }

    def restore(self, saved: object) -> None:
        """Become what was saved elsewhere. Raises ConfigError where that is no such thing, and is then of no use."""
        self._answers = check.integer("answers", check.member(saved, "answers"), 0, _MOST)
        self.runs = check.integer("runs", check.member(saved, "runs"), 0, _MOST)
        self.compared_runs = check.integer("compared_runs", check.member(saved, "compared_runs"), 0, _MOST)
        for metric, kinds in self.kinds.items():
            evidence = check.sequence(metric, check.member(check.member(saved, "kinds"), metric))
            if len(evidence) != len(kinds):
                check.refuse(metric, f"must be {len(kinds)} pieces of evidence", evidence)
            for kind, each in zip(kinds.values(), evidence, strict=True):
                kind.restore(each)
        buckets = len(self._allowed) + 1
        self._past.clear()
        for stratum, blocks in check.pairs("past", check.member(saved, "past")):
            number = check.integer("past", stratum, 0, 1 << 32)
            counts = [_dense(block, buckets) for block in check.items("past", blocks)]
            self._past[number] = deque(counts, maxlen=REMEMBERED_BLOCKS)

    @property
    def log_e(self) -> float:
        """Log of the evidence against the new version, all metrics together, each of one weight."""
        return log_mean_exp([self.log_e_of(metric) for metric in self.kinds])

    def log_e_of(self, metric: str) -> float:
        """Log of one metric's evidence against the new version."""
        return log_mean_exp([evidence.log_e for evidence in self.kinds[metric].values()])

    def log_for_of(self, metric: str) -> float:
        """Log of one metric's evidence of this step for the new version."""
        return max(evidence.log_for for evidence in self.kinds[metric].values())

    def _all(self) -> list[Evidence]:
        return [evidence for kinds in self.kinds.values() for evidence in kinds.values()]

    def _observe_latency(self, cells: Sequence[LatencyCell], kinds: list[Evidence]) -> None:
        for cell in cells:
            past = self._past.setdefault(cell.stratum, deque(maxlen=REMEMBERED_BLOCKS))
            before = [sum(column) for column in zip(*past, strict=True)]
            runs = sum(cell.new)
            self.runs += runs
            if sum(before) >= LEAST_RUNS:
                old_runs = sum(cell.old)
                self.compared_runs += runs if old_runs else 0
                for evidence, quantile in zip(kinds, QUANTILES, strict=True):
                    # Known before the block began, so that the block cannot choose its own yardstick.
                    slow = quantile_bucket(before, quantile)
                    allowed = self._allowed[slow] if slow < len(self._allowed) else slow
                    evidence.add(Cell(runs, sum(cell.new[allowed + 1 :]), old_runs, sum(cell.old[slow + 1 :])))
            if any(cell.old):
                past.append(list(cell.old))


def log_factor(new_bad: int, bad: int, share: float, ratio: float) -> float:
    """Log of what one block multiplies E_ratio by."""
    return new_bad * math.log(ratio) - bad * math.log1p(share * (ratio - 1))


def log_mean_exp(logs: Sequence[float]) -> float:
    """Log of the mean of exp(logs), without overflow."""
    most = max(logs)
    return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))


def quantile_bucket(counts: Sequence[int], quantile: float) -> int:
    """Return the first bucket at whose upper edge at least this share lies below."""
    wanted = quantile * sum(counts)
    reached = 0
    for index, count in enumerate(counts):
        reached += count
        if reached >= wanted:
            return index
    return len(counts) - 1


def _first_above(edges: Sequence[float], value: float) -> int:
    """Return the bucket that ends at this value or above it."""
    return bisect.bisect_left(edges, value * (1 - 1e-9))


def _sparse(counts: Sequence[int]) -> list[list[int]]:
    return [[bucket, count] for bucket, count in enumerate(counts) if count]


def _dense(pairs: object, buckets: int) -> list[int]:
    counts = [0] * buckets
    for bucket, count in check.pairs("past", pairs):
        counts[check.integer("past", bucket, 0, buckets - 1)] = check.integer("past", count, 1, _MOST)
    return counts
