# SPDX-License-Identifier: Apache-2.0
"""What the tests of failures share."""

from __future__ import annotations

import pytest
from python.support import floats

import anya_engine as anya
from anya_engine import testing

X = floats(2, 3, seed=4)
QUICK = anya.RetryPolicy(initial_backoff=0.001, max_backoff=0.002)


def failing_once(engine: anya.Engine, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The next request to `m` fails, and no other one; returns the waits as they come."""
    waits: list[float] = []
    held = testing.inject(engine, "m", error=anya.ExecutionError)
    held.__enter__()
    recoveries = engine._models.recoveries

    def draw() -> float:
        if not waits:
            held.__exit__(None, None, None)
        waits.append(0.5)
        return 0.5

    monkeypatch.setattr(recoveries, "draw", draw)
    return waits
