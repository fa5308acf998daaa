# SPDX-License-Identifier: Apache-2.0
"""What the fixture `versus` is: a pytest-benchmark run that interleaves rivals, checks a bar, keeps the numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from interleave import Bar, Better, Comparison, compare


class Versus:
    """Measures ours against rivals, all in one run. `quick` is true when benchmarks run as plain tests."""

    def __init__(self, benchmark: Any, kept: list[Comparison], *, enforce: bool) -> None:
        self._benchmark = benchmark
        self._kept = kept
        self._enforce = enforce
        self.quick: bool = not benchmark.enabled

    def __call__(
        self,
        name: str,
        ours: Callable[[], float],
        rivals: Mapping[str, Callable[[], float]],
        *,
        unit: str,
        bar: Bar | None = None,
        better: Better | None = None,
        context: Mapping[str, Callable[[], float]] | None = None,
        repeats: int = 9,
    ) -> Comparison:
        """Each side returns one measured value per repeat; `context` is measured once and compared with nothing."""
        mine: list[float] = []
        theirs: dict[str, list[float]] = {rival: [] for rival in rivals}

        def rivals_first() -> None:
            for rival, measure in rivals.items():
                theirs[rival].append(measure())

        def then_ours() -> None:
            mine.append(ours())

        warm_up = 0 if self.quick else 1
        self._benchmark.pedantic(then_ours, setup=rivals_first, rounds=repeats, warmup_rounds=warm_up)
        result = compare(
            name,
            mine[warm_up:],
            {rival: series[warm_up:] for rival, series in theirs.items()},
            unit=unit,
            bar=bar,
            better=better,
            context={label: measure() for label, measure in (context or {}).items()},
        )
        if self.quick:
            result = replace(result, holds=None, bar=None)  # a handful of calls proves nothing about speed
        self._benchmark.extra_info.update(asdict(result))
        self._kept.append(result)
        if self._enforce:
            assert result.holds is not False, str(result)
        return result
