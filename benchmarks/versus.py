# SPDX-License-Identifier: Apache-2.0
"""What the fixture `versus` is: a pytest-benchmark run that interleaves sides, checks bars, keeps the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from interleave import Bar, Better, Comparison, compare

#: What one side came to in one repeat, by what was measured.
Figures = Mapping[str, float]
#: Per side and per figure: one value of each repeat.
Series = Mapping[str, Mapping[str, Sequence[float]]]


def in_turn(sides: Mapping[str, Callable[[], Figures]]) -> Callable[[], Mapping[str, Figures]]:
    """One repeat of all sides, in the order given."""
    return lambda: {side: measure() for side, measure in sides.items()}


class Versus:
    """Measures ours against rivals, all in one run. `quick` is true when benchmarks run as plain tests."""

    def __init__(self, benchmark: Any, kept: list[Comparison]) -> None:
        self._benchmark = benchmark
        self._kept = kept
        self.quick: bool = not benchmark.enabled
        self.missed: list[Comparison] = []

    def measure(self, one_repeat: Callable[[], Mapping[str, Figures]], *, repeats: int = 9) -> Series:
        """Every side once per repeat; a first repeat warms up and is thrown away. Once per test."""
        rounds: list[Mapping[str, Figures]] = []
        warm_up = 0 if self.quick else 1
        self._benchmark.pedantic(lambda: rounds.append(one_repeat()), rounds=repeats, warmup_rounds=warm_up)
        kept = rounds[warm_up:]
        return {
            side: {figure: [each[side][figure] for each in kept] for figure in figures}
            for side, figures in kept[0].items()
        }

    def compare(
        self,
        name: str,
        ours: Sequence[float],
        rivals: Mapping[str, Sequence[float]],
        *,
        unit: str,
        bar: Bar | None = None,
        better: Better | None = None,
        against: str | None = None,
        headline: bool = True,
        context: Mapping[str, float] | None = None,
    ) -> Comparison:
        """Keeps the comparison of what was measured; see `interleave.compare`."""
        result = compare(
            name, ours, rivals, unit=unit, bar=bar, better=better, against=against, headline=headline, context=context
        )
        if self.quick:  # a handful of calls proves nothing about speed
            result = replace(result, holds=None, bar=None, goal=None, reached=None)
        self._benchmark.extra_info[name] = asdict(result)
        self._kept.append(result)
        if result.holds is False:
            self.missed.append(result)
        return result
