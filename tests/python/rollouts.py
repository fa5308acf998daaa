# SPDX-License-Identifier: Apache-2.0
"""What the tests of rollouts share: versions that say who they are, one that fails, waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from models.awkward import POISON_ROWS
from models.make_models import MODELS
from python.support import HUNG

import anya_engine as anya

X = {"x": np.zeros((1, 1), np.float32)}
LOST = POISON_ROWS - 1  # a row that version 2 of the poisoned model does not have
#: A canary that a test has time for.
QUICK: dict[str, Any] = {"interval": 0.02, "min_duration": 0.02, "min_requests": 50}


def load_versions(engine: anya.Engine, *numbers: int) -> None:
    """Load versions whose answers say which they are."""
    for number in numbers:
        engine.load("m", MODELS[f"version_{number}"](), version=str(number))


def asked(engine: anya.Engine, key: Any = None) -> int:
    """Which version answers."""
    return int(engine.infer("m", X, key=key)["version"][0])


def work_until(condition: Callable[[], bool], work: Callable[[int], object]) -> None:
    """Work until something is so."""
    end = time.monotonic() + HUNG
    number = 0
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        work(number)
        number += 1


def ask_poison(engine: anya.Engine, row: int, number: int) -> bool:
    """Ask for one row of the table with a key of its own; whether there was an answer."""
    try:
        engine.infer("p", {"i": np.array([row], np.int64)}, key=f"user-{number}")
    except anya.ExecutionError:
        return False
    return True
