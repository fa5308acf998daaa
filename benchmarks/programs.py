# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the C++ programs of benchmarks/cpp."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_programs() -> Path:
    """Builds the programs and returns their folder. ANYA_BENCH_BUILD names the build folder, default build/bench.

    A folder that is configured already keeps its options, so that tests can use the build they have.
    """
    build = Path(os.environ.get("ANYA_BENCH_BUILD") or ROOT / "build" / "bench")
    options = ["-DANYA_BUILD_BENCHMARKS=ON"]
    if not (build / "CMakeCache.txt").is_file():
        options += ["-G", "Ninja", "-DANYA_BUILD_BINDINGS=OFF", "-DANYA_LTO=ON"]  # as the wheel is built
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(len(os.sched_getaffinity(0)))
    _run("cmake", "-S", str(ROOT), "-B", str(build), *options)
    programs = ("batcher_bench", "cache_bench", "drift_bench", "hop_bench")
    _run("cmake", "--build", str(build), "--parallel", jobs, "--target", *programs)
    return build / "benchmarks" / "cpp"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def batcher_round(programs: Path, library: str, model: Path, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """One round of every side of batcher_bench. Raises when an answer was wrong."""
    answer: Mapping[str, Mapping[str, float]] = json.loads(
        _run(str(programs / "batcher_bench"), library, str(model), str(seconds))
    )
    return answer


def cache_round(programs: Path, seconds: float) -> Mapping[str, Mapping[str, float]]:
    """One round of cache_bench. Raises when an answer was wrong."""
    answer: Mapping[str, Mapping[str, float]] = json.loads(_run(str(programs / "cache_bench"), str(seconds)))
    return answer


def hop_microseconds(programs: Path, *, count: int, pause: float) -> float:
    """The median of bare round trips to another thread, each after a pause."""
    return float(_run(str(programs / "hop_bench"), str(count), str(pause)))


def drift_round(programs: Path) -> Mapping[str, float]:
    """One round of drift_bench, in nanoseconds by what is looked at. Raises when something was not counted."""
    answer: Mapping[str, float] = json.loads(_run(str(programs / "drift_bench")), parse_constant=_not_counted)
    return answer


def _not_counted(constant: str) -> float:
    raise RuntimeError(f"drift_bench lost count: {constant}")
