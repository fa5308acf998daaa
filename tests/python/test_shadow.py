# SPDX-License-Identifier: Apache-2.0
"""Shadows on the engine: copies that answer nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from python.rollouts import LOST, X, ask_poison, asked, load_versions
from python.support import HUNG, until

import anya_engine as anya


def test_a_shadow_answers_nobody_and_is_compared(engine: anya.Engine) -> None:
    """Every way to ask gets the old version's answer; the shadow's differences are counted."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Shadow(share=1.0))

    async def detailed() -> int:
        await engine.infer_async("m", X)
        return int((await engine.infer_detailed_async("m", X)).outputs["version"][0])

    for _ in range(5):
        assert asked(engine) == 1
        assert int(engine.submit("m", X).result(HUNG)["version"][0]) == 1
        assert engine.infer_detailed("m", X).version == "1"
        assert asyncio.run(detailed()) == 1

    def compared() -> int:
        report = engine.status("m").shadow
        assert report is not None
        return report.compared + report.dropped

    until(lambda: compared() >= 25)
    report = engine.status("m").shadow
    assert report is not None
    assert report.compared > 0 and report.agreed == 0 and report.max_abs_difference == 1.0
    assert engine.status("m").weights == {"1": 100.0}
    engine.promote("m")
    assert asked(engine) == 2


def test_a_callers_array_is_its_own_while_the_shadow_looks(engine: anya.Engine, load: Any) -> None:
    """Inputs and answers that a caller overwrites at once do not change what is compared."""
    load("tiny", name="m", version="1")
    load("tiny", name="m", version="2")
    engine.deploy("m", "2", anya.Shadow(share=1.0))
    (spec,) = engine.models()[0].inputs
    x = np.ones((1, *(size for size in spec.shape[1:] if isinstance(size, int))), np.float32)
    for _ in range(50):
        answer = engine.infer("m", x)
        for array in (*answer.values(), x):
            array += 1.0

    def done() -> bool:
        report = engine.status("m").shadow
        return report is not None and report.compared + report.dropped >= 50

    until(done)
    report = engine.status("m").shadow
    assert report is not None and report.compared > 0
    assert report.agreed == report.compared == report.top1_agreed


def test_a_shadow_that_fails_is_counted_and_hurts_nobody(poisoned: anya.Engine) -> None:
    """The old version's answers go out; the shadow's errors are in the report with their code."""
    poisoned.deploy("p", "2", anya.Shadow(share=1.0))
    assert all(ask_poison(poisoned, LOST, number) for number in range(20))

    def done() -> bool:
        report = poisoned.status("p").shadow
        return report is not None and report.failed + report.dropped >= 20

    until(done)
    report = poisoned.status("p").shadow
    assert report is not None and report.failed > 0 and report.last_error == "EXECUTION_ERROR"
