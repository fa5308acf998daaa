# SPDX-License-Identifier: Apache-2.0
"""Ours against named rivals in one run: A B A B …, medians, and the ratio of the two with its spread.

A machine drifts, so a number alone means little. Every repeat measures all rivals and then ours, a few hundred
milliseconds apart; the ratio of the medians is the result, the least and greatest ratio of one repeat its spread. Where
a promise is about what is added to something, the difference of the medians takes the place of the ratio; where it is
about a few hundredths, the median of the ratios within the repeats does, which a machine's moods do not reach.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from operator import sub
from pathlib import Path
from statistics import median
from typing import Any, Literal

Better = Literal["lower", "higher"]
Of = Literal["ratio", "difference", "pairs"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What ours against the rival must reach, and what it wants to: at most that where lower is better.

    Attributes:
        limit: The promise; None: there is none.
        goal: Where it is to get; a missed goal is told, and fails nothing.
        of: Whether both are of ours / rival, of ours - rival in the comparison's unit, or of the median of what each
            repeat's ours / rival was.
    """

    limit: float | None = None
    better: Better
    goal: float | None = None
    of: Of = "ratio"

    def holds(self, value: float) -> bool | None:
        """Whether the value is on the right side of the limit; exactly the limit is."""
        return None if self.limit is None else _reaches(value, self.limit, self.better)

    def reached(self, value: float) -> bool | None:
        """The same of the goal."""
        return None if self.goal is None else _reaches(value, self.goal, self.better)


def _reaches(value: float, limit: float, better: Better) -> bool:
    return value <= limit if better == "lower" else value >= limit


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One benchmark's result: ours, the rival it is held against, and the ratio.

    Attributes:
        medians: Of every rival.
        ratios: Ours to every rival: of the medians (or the median within repeats), the least and the greatest of one.
        difference: The same of ours - rival, where that is what the bar is about.
        headline: Whether RESULTS.md shows it even when no bar is missed.
    """

    name: str
    unit: str
    better: Better
    repeats: int
    ours: float
    rival: float
    rival_name: str
    ratio: float
    ratio_min: float
    ratio_max: float
    bar: float | None
    holds: bool | None
    goal: float | None = None
    reached: bool | None = None
    of: Of = "ratio"
    difference: Sequence[float] = ()
    headline: bool = True
    medians: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)
    context: Mapping[str, float] = field(default_factory=dict)

    def value(self) -> str:
        """The number that counts, with its spread: "0.61 (0.57 to 0.68)", or "+0.40 (+0.31 to +0.52) µs"."""
        if self.of == "difference":
            middle, least, greatest = (f"{each:+.2f}" for each in self.difference)
            return f"{middle} ({least} to {greatest}) {self.unit}"
        return spread((self.ratio, self.ratio_min, self.ratio_max))

    def verdict(self) -> str:
        """The bar and the goal, each with what became of it: "≤ 0.70 holds; goal ≤ 0.62 missed"."""
        sign = "≤" if self.better == "lower" else "≥"
        parts = []
        if self.bar is not None:
            parts.append(f"{sign} {self.bar:.2f} {'holds' if self.holds else 'MISSED'}")
        if self.goal is not None:
            parts.append(f"goal {sign} {self.goal:.2f} {'reached' if self.reached else 'not reached'}")
        return "; ".join(parts) or "none"

    def __str__(self) -> str:
        return f"{self.name}: {self.value()} against {self.rival_name}, bar {self.verdict()}"


def spread(ratio: Sequence[float]) -> str:
    """A value with the least and the greatest of one repeat."""
    return "{:.2f} ({:.2f} to {:.2f})".format(*ratio)


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def compare(
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
    """The comparison of ours with one rival: `against`, else the one with the best median. Pure."""
    if bar is None:
        if better is None:
            raise ValueError("say which is better: give a bar or better=")
        bar = Bar(better=better)
    if not ours or any(len(series) != len(ours) for series in rivals.values()):
        raise ValueError("every side needs one value per repeat, ours as many as each rival")
    medians = {rival: median(series) for rival, series in rivals.items()}
    rival = against or (min if bar.better == "lower" else max)(medians, key=medians.__getitem__)
    of_pairs = bar.of == "pairs"
    ratios = {
        each: _over(ours, series, lambda mine, theirs: mine / theirs, of_pairs) for each, series in rivals.items()
    }
    difference = _over(ours, rivals[rival], sub) if bar.of == "difference" else ()
    value = (difference or ratios[rival])[0]
    return Comparison(
        name=name,
        unit=unit,
        better=bar.better,
        repeats=len(ours),
        ours=median(ours),
        rival=medians[rival],
        rival_name=rival,
        ratio=ratios[rival][0],
        ratio_min=ratios[rival][1],
        ratio_max=ratios[rival][2],
        bar=bar.limit,
        holds=bar.holds(value),
        goal=bar.goal,
        reached=bar.reached(value),
        of=bar.of,
        difference=difference,
        headline=headline,
        medians=medians,
        ratios=ratios,
        context=dict(context or {}),
    )


def _over(
    ours: Sequence[float], theirs: Sequence[float], measure: Callable[[float, float], float], of_pairs: bool = False
) -> tuple[float, float, float]:
    within = [measure(*pair) for pair in zip(ours, theirs, strict=True)]
    middle = median(within) if of_pairs else measure(median(ours), median(theirs))
    return middle, min(within), max(within)


# --- where and what --------------------------------------------------------------------------------------------------


def _first_match(path: str, pattern: str) -> str | None:
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return found.group(1).strip() if found else None


def machine() -> dict[str, str | int]:
    """What the numbers depend on: processor, usable cores, memory, kernel, versions."""
    kilobytes = int(_first_match("/proc/meminfo", r"^MemTotal:\s+(\d+)") or 0)
    return {
        "cpu": _first_match("/proc/cpuinfo", r"^model name\s*:\s*(.+)$") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kilobytes / 2**20),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "numpy": version("numpy"),
    }


def machine_line(facts: Mapping[str, Any]) -> str:
    """The machine in one line."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, "
        f"Python {facts['python']}, onnxruntime {facts['onnxruntime']}, numpy {facts['numpy']}"
    )


def commit() -> str:
    """The short hash of the checked-out commit, with `-dirty` when the measured tree differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    short = git("rev-parse", "--short=10", "HEAD")
    if not short:
        return "uncommitted"
    changed = git("status", "--porcelain", ":/", ":(top,exclude)benchmarks/results")
    return f"{short}-dirty" if changed else short


def record(results: Sequence[Comparison], folder: Path = RESULTS) -> Path:
    """Writes (or, for the same day, machine and commit, completes) a result file and returns its path."""
    facts = machine()
    now = datetime.now(UTC)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{facts['cpu']} {facts['cores']}c".lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-{slug}-{commit()}.json"
    old = json.loads(path.read_text())["results"] if path.exists() else []
    fresh = {result.name for result in results}
    document = {
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "command": "pytest benchmarks --record",
        "machine": facts,
        "results": [entry for entry in old if entry["name"] not in fresh] + [asdict(result) for result in results],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path
