# SPDX-License-Identifier: Apache-2.0
"""Ours against named rivals in one run: A B A B …, medians, and the ratio of the two with its spread.

A machine drifts, so a number alone means little. Every repeat measures all rivals and then ours, a few hundred
milliseconds apart; the ratio of the medians is the result, the least and greatest ratio of one repeat its spread.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeVar

Better = Literal["lower", "higher"]
Feed = TypeVar("Feed")

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a ratio ours / rival must reach: at most `limit` where lower is better, at least where higher is."""

    limit: float
    better: Better

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is on the right side; exactly the limit is."""
        return ratio <= self.limit if self.better == "lower" else ratio >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.better == 'lower' else '≥'} {self.limit:.2f}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One benchmark's result: ours, the best of its rivals, and the ratio."""

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
    medians: Mapping[str, float] = field(default_factory=dict)
    context: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        bar = "" if self.bar is None else f", bar {Bar(limit=self.bar, better=self.better)}: {_verdict(self.holds)}"
        others = "".join(f"\n    {name}: {number(value)} {self.unit}" for name, value in self.medians.items())
        context = "".join(f"\n    ({name}: {number(value)})" for name, value in self.context.items())
        return (
            f"{self.name}: {self.ratio:.2f} x {self.rival_name} ({self.ratio_min:.2f} to {self.ratio_max:.2f}{bar})"
            f"\n    ours: {number(self.ours)} {self.unit}{others}{context}"
        )


def _verdict(holds: bool | None) -> str:
    return "holds" if holds else "MISSED"


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
    context: Mapping[str, float] | None = None,
) -> Comparison:
    """The comparison of ours with the best rival: the one with the best median. Pure."""
    if better is None:
        if bar is None:
            raise ValueError("say which is better: give a bar or better=")
        better = bar.better
    if not ours or any(len(series) != len(ours) for series in rivals.values()):
        raise ValueError("every side needs one value per repeat, ours as many as each rival")
    medians = {rival: median(series) for rival, series in rivals.items()}
    best = (min if better == "lower" else max)(medians, key=medians.__getitem__)
    ratios = [mine / theirs for mine, theirs in zip(ours, rivals[best], strict=True)]
    ratio = median(ours) / medians[best]
    return Comparison(
        name=name,
        unit=unit,
        better=better,
        repeats=len(ours),
        ours=median(ours),
        rival=medians[best],
        rival_name=best,
        ratio=ratio,
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        bar=None if bar is None else bar.limit,
        holds=None if bar is None else bar.holds(ratio),
        medians=medians,
        context=dict(context or {}),
    )


# --- clocks ----------------------------------------------------------------------------------------------------------


def microseconds_per_call(call: Callable[[], Any], calls: int) -> tuple[float, Any]:
    """The mean time of one call in a bare loop, and the last call's answer."""
    answer: Any = None
    times = repeat(None, calls)
    begin = time.perf_counter()
    for _ in times:
        answer = call()
    return (time.perf_counter() - begin) / calls * 1e6, answer


def calls_for(seconds: float, call: Callable[[], Any], *, quick: bool) -> int:
    """How many calls take about so long, at least one; a handful when it must be quick."""
    if quick:
        return 3
    once = min(microseconds_per_call(call, 3)[0] for _ in range(3)) / 1e6
    return max(1, round(seconds / once))


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One closed-loop round: its throughput, its latencies, and one answer of each client with what was asked."""

    items_per_second: float
    p50_ms: float
    p99_ms: float
    answers: Sequence[tuple[int, Any]]


async def closed_loop(
    infer: Callable[[Feed], Awaitable[Any]], feeds: Sequence[Feed], *, clients: int, per_client: int
) -> Loop:
    """`clients` tasks, each awaiting one request after another; timed from the first to the last answer."""
    clock = time.perf_counter
    latencies: list[float] = []
    answers: list[tuple[int, Any]] = []

    async def client(start: int) -> None:
        index, answer = start, None
        for turn in range(per_client):
            index = (start + turn * clients) % len(feeds)
            begin = clock()
            answer = await infer(feeds[index])
            latencies.append(clock() - begin)
        answers.append((index, answer))

    begin = clock()
    await asyncio.gather(*(client(start) for start in range(clients)))
    elapsed = clock() - begin
    latencies.sort()
    return Loop(
        items_per_second=clients * per_client / elapsed,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)] * 1e3,
        answers=answers,
    )


async def lone_requests(infer: Callable[[], Awaitable[Any]], *, count: int, pause: float) -> tuple[float, Any]:
    """The median latency, in microseconds, of single requests on a loop idle for `pause` seconds; the last answer."""
    latencies = []
    answer: Any = None
    for _ in range(count):
        await asyncio.sleep(pause)
        begin = time.perf_counter()
        answer = await infer()
        latencies.append(time.perf_counter() - begin)
    return median(latencies) * 1e6, answer


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
