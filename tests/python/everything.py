# SPDX-License-Identifier: Apache-2.0
"""An engine with everything on that shows in metrics, each at least once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from models.make_models import MODELS
from python.drift_support import ALL, load_watched
from python.support import floats
from python.test_system import FakeNvml

import anya_engine as anya
from anya_engine import testing
from anya_engine._system import Gpus


def exercise(engine: anya.Engine, folder: Path) -> None:
    """Load, ask, fail, deploy, drift; `folder` is for a reference's file."""
    config = anya.ModelConfig(
        predictions=anya.PredictionConfig(values="logits"),
        inputs={"x": anya.InputRule(finite="replace")},
        cache=anya.CacheConfig(),
        retry=anya.RetryPolicy(max_attempts=2, initial_backoff=0.001),
        breaker=anya.BreakerPolicy(),
        fallback=("spare",),
    )
    load_watched(engine, folder, labels=np.zeros(4000, np.int64), config=dataclasses.replace(ALL, window_rows=400))
    engine.load("spare", MODELS["tiny"]())
    for version in "12":
        engine.load("tiny", MODELS["tiny"](), version=version, config=config)
    engine._metrics._local["nvml"] = Gpus(FakeNvml).families
    engine.deploy("tiny", "2", anya.Canary(steps=(25,), interval=60.0))
    engine.infer("tiny", np.full((1, 64), np.nan, np.float32), key="a user")
    with testing.inject(engine, "tiny", error=anya.ExecutionError):
        engine.infer("tiny", floats(1, 64), key="a user")
    engine.infer("m", floats(400, 5, seed=3))
    engine._models.drift.poll(0.0)
