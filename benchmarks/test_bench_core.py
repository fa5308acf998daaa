# SPDX-License-Identifier: Apache-2.0
"""The core without Python: 64 in flight on one instance, against a scheduler-thread batcher and against plain runs.

The programs are benchmarks/cpp; they check every answer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from interleave import Bar
from models import make_models
from programs import batcher_round
from versus import Versus

from anya_engine._runtime import find_runtime


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """The file of the medium model."""
    path = tmp_path / "medium.onnx"
    path.write_bytes(make_models.MODELS["medium"]())
    return path


def test_64_in_flight_without_python(versus: Versus, programs: Path, medium: Path) -> None:
    """The engine gives most of what one thread can do on ready-made batches of 64, in at most two batch times.

    And more than a batcher under a mutex with a scheduler thread, with and without a delay.
    """
    library = find_runtime(None).path
    seconds = 0.02 if versus.quick else 0.3

    def one_repeat() -> Mapping[str, Mapping[str, float]]:
        return batcher_round(programs, library, medium, seconds)

    took = versus.measure(one_repeat)
    ours, plain = took["ours"], "plain runs of 64 rows, 1 thread"
    schedulers = {
        "scheduler thread, no delay": took["scheduler"],
        "scheduler thread, delay 0.2 ms": took["scheduler_delay"],
    }
    versus.compare(
        "64 in flight, C++ alone, over plain batches of 64: medium",
        ours["items_per_second"],
        {plain: took["plain"]["items_per_second"]},
        unit="items/s",
        bar=Bar(limit=0.85, better="higher", goal=0.92),
    )
    versus.compare(
        "64 in flight, C++ alone, p99 over one batch's time: medium",
        ours["p99_us"],
        {f"one of the {plain}": took["plain"]["p50_us"]},
        unit="µs",
        bar=Bar(limit=2.0, better="lower"),
    )
    versus.compare(
        "64 in flight, C++ alone, over a scheduler-thread batcher: medium",
        ours["items_per_second"],
        {name: each["items_per_second"] for name, each in schedulers.items()},
        unit="items/s",
        bar=Bar(limit=1.0, better="higher"),
    )
    versus.compare(
        "64 in flight, C++ alone, p99 over a scheduler-thread batcher's: medium",
        ours["p99_us"],
        {name: each["p99_us"] for name, each in schedulers.items()},
        unit="µs",
        better="lower",
        headline=False,
    )


def test_a_wrong_answer_is_noticed(programs: Path, medium: Path) -> None:
    """With the expected answers moved by one row, every answer of every side is counted as wrong."""
    command = [str(programs / "batcher_bench"), find_runtime(None).path, str(medium), "0.01", "--spoil"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    for side in json.loads(done.stdout).values():
        assert side["wrong"] == side["answers"] > 0
