# SPDX-License-Identifier: Apache-2.0
"""Devices that are lost, and memory that runs out on them: the catalogue of bad inputs and faults, case 90.

No machine has to have a GPU: what CUDA's words mean is held by tests/cpp/ort/error_test.cc, what the queue makes of it
by tests/cpp/batching/batcher_failures_test.cc. Here stands what an engine does then.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.support import HUNG, Ask, assert_at_rest, every_way, floats, stats_of, until

import anya_engine as anya
from anya_engine import testing

X = floats(2, 3, seed=4)


def saved(folder: Path) -> Path:
    """A model in a file."""
    path = folder / "m.onnx"
    path.write_bytes(MODELS["unnamed_batch"]())
    return path


@every_way
def test_a_version_whose_device_is_lost_is_opened_again(engine: anya.Engine, ask: Ask, tmp_path: Path) -> None:
    """The run that meets it fails, what comes then is refused, soon a new session answers; health follows."""
    engine.load("m", saved(tmp_path))
    with testing.inject(engine, "m", device_lost=True), pytest.raises(anya.ExecutionError, match="device has failed"):
        ask(engine, "m", X)
    engine._repairs.look(0.0)
    np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
    assert stats_of(engine, "m").accepted == 1  # by a session that has seen nothing yet
    assert engine.health().ready
    assert_at_rest(engine)


def test_who_asks_meanwhile_is_refused_and_others_stand_in(engine: anya.Engine) -> None:
    """Unavailable, at once; the chain answers; health is not ready, and says why."""
    engine.load("simple", MODELS["unnamed_batch"]())
    engine.load("m", MODELS["unnamed_batch"](), config=anya.ModelConfig(fallback=("simple",)))
    with testing.inject(engine, "m", device_lost=True):
        np.testing.assert_array_equal(engine.infer("m", X)["y"], X + X)
    with pytest.raises(anya.Unavailable, match="device has failed"):
        engine.infer("m", X, allow_degraded=False)
    np.testing.assert_array_equal(engine.infer("m", X)["y"], X + X)
    health = engine.health()
    assert not health.ready and "device" in health.models["m"].reason
    # Loaded from bytes that nobody has kept: only a process that starts anew has it again.
    until(lambda: ("m", "1") in engine._repairs.refused, "the first attempt")
    health = engine.health()
    assert not health.live and not health.models["m"].live and "bytes" in health.models["m"].reason
    assert health.models["simple"].ready


def test_a_device_is_left_for_the_cpu_where_the_providers_say_so(
    engine: anya.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening as configured fails, as it does in a process whose context is broken: then the CPU alone."""
    engine.load("m", saved(tmp_path))
    table = engine._models
    entry = table.entries["m", "1"]
    both = dataclasses.replace(entry.config, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    table.entries = {("m", "1"): dataclasses.replace(entry, config=both)}
    opened = table.open
    asked = []

    def broken(key: Any, source: Any, config: anya.ModelConfig) -> Any:
        asked.append(config.providers)
        if len(config.providers) > 1:
            raise anya.ModelLoadError("CUDA failure 700: an illegal memory access was encountered")
        return opened(key, source, config)

    monkeypatch.setattr(table, "open", broken)
    with testing.inject(engine, "m", device_lost=True), pytest.raises(anya.ExecutionError):
        engine.infer("m", X)
    engine._repairs.look(0.0)
    np.testing.assert_array_equal(engine.infer("m", X)["y"], X + X)
    assert ("CPUExecutionProvider",) in asked


def test_other_files_do_not_take_a_versions_place(engine: anya.Engine, tmp_path: Path) -> None:
    """Where the files have changed since, the version stays lost and health says why."""
    path = saved(tmp_path)
    engine.load("m", path)
    with testing.inject(engine, "m", device_lost=True), pytest.raises(anya.ExecutionError):
        engine.infer("m", X)
    path.write_bytes(MODELS["tiny"]())
    until(lambda: ("m", "1") in engine._repairs.refused, "the first attempt")
    assert "are others now" in engine.health().models["m"].reason
    with pytest.raises(anya.Unavailable):
        engine.infer("m", X)


def test_a_canary_whose_device_is_lost_goes_on(engine: anya.Engine, tmp_path: Path) -> None:
    """The rollout's share is routed to the session that was opened again."""
    engine.load("m", saved(tmp_path))
    engine.load("m", saved(tmp_path))
    engine.deploy("m", "2", anya.Canary(steps=(99.99,)))
    with testing.inject(engine, "m", device_lost=True, version="2"), pytest.raises(anya.ExecutionError):
        engine.infer("m", X, key=1)
    engine._repairs.look(0.0)
    until(lambda: not engine._models.loaded["m", "2"].failed, "the repair")
    np.testing.assert_array_equal(engine.infer("m", X, key=1)["y"], X + X)
    assert stats_of(engine, "m", "2").ended["OK"] == 1
    engine.rollback("m")


def test_a_control_slice_whose_device_is_lost_goes_on(engine: anya.Engine, tmp_path: Path) -> None:
    """The slice's own queue is on the session that is lost: it gets one on the session that was opened again."""
    for _ in range(2):
        engine.load("m", saved(tmp_path))
    engine.deploy("m", "2", anya.Canary(steps=(49.99,), control=True))
    with testing.inject(engine, "m", device_lost=True, version="1"):
        refused = 0
        for key in range(40):
            try:
                engine.infer("m", X, key=key)
            except (anya.ExecutionError, anya.Unavailable):
                refused += 1
        assert refused > 0
    engine._repairs.look(0.0)
    for key in range(40):
        np.testing.assert_array_equal(engine.infer("m", X, key=key)["y"], X + X)
    engine.rollback("m")
    assert_at_rest(engine)


def test_a_shadow_whose_device_is_lost_goes_on(engine: anya.Engine, tmp_path: Path) -> None:
    """Its failure is counted, and later copies go to the session that was opened again; the score goes on."""
    for _ in range(2):
        engine.load("m", saved(tmp_path))
    engine.deploy("m", "2", anya.Shadow(share=1.0))

    def score() -> Any:
        return engine.status("m").shadow

    with testing.inject(engine, "m", device_lost=True, version="2"):
        engine.infer("m", X)
        until(lambda: score().failed == 1, "the failure")
    engine._repairs.look(0.0)
    until(lambda: not engine._models.loaded["m", "2"].failed, "the repair")
    engine.infer("m", X)
    until(lambda: score().agreed == 1, "a comparison")
    assert score().failed == 1
    engine.rollback("m")


def test_90_a_device_is_lost(engine: anya.Engine, tmp_path: Path) -> None:
    """90: the version is marked as failed, refuses, is red in health, is opened again on the CPU, and answers."""
    # Fifty do not fit into the one run that meets it.
    engine.load("m", saved(tmp_path), config=anya.ModelConfig(batching=anya.BatchingConfig(max_batch_size=8)))
    table = engine._models
    old, key = table.loaded["m", "1"], ("m", "1")
    both = dataclasses.replace(
        table.entries[key].config, providers=("CUDAExecutionProvider", "CPUExecutionProvider"), instances=1
    )
    table.entries = {key: dataclasses.replace(table.entries[key], config=both)}
    with testing.inject(engine, "m", device_lost=True, delay=0.02):
        futures = [engine.submit("m", X) for _ in range(50)]
        errors = [future.exception(HUNG) for future in futures]
    kinds = [type(error) for error in errors]
    assert set(kinds) == {anya.ExecutionError, anya.Unavailable}
    assert sorted(kinds, key=lambda kind: kind is anya.Unavailable) == kinds  # one run met it, none after it ran
    assert old.failed and stats_of(engine, "m").failed
    # The thread that repairs may have been quicker than this line; before it, health is red.
    assert table.loaded[key] is not old or not engine.health().ready
    until(lambda: table.loaded[key] is not old, "the CPU, where CUDA cannot be had")
    assert engine.models()[0].providers == ("CPUExecutionProvider",)
    assert engine.health().ready and engine.health().live
    np.testing.assert_array_equal(engine.infer("m", X)["y"], X + X)
    assert_at_rest(engine)


def test_90_memory_of_a_device_runs_out(engine: anya.Engine) -> None:
    """90: a batch that does not fit is tried in smaller ones, the next ones are smaller; then the chain answers."""
    batching = anya.BatchingConfig(max_batch_size=32, max_in_place_microseconds=0)
    engine.load("simple", MODELS["unnamed_batch"]())
    config = anya.ModelConfig(instances=1, batching=batching, fallback=("simple",))
    engine.load("m", MODELS["unnamed_batch"](), config=config)
    with testing.inject(engine, "m", error=anya.OutOfMemory, delay=0.005):
        futures = [engine.submit("m", X) for _ in range(64)]
        for future in futures:
            np.testing.assert_array_equal(future.result(HUNG)["y"], X + X)
        until(lambda: stats_of(engine, "m").in_flight == 0)
        stats = stats_of(engine, "m")
        assert stats.splits > 0 and stats.row_limit < 32
        assert stats.ended["OUT_OF_MEMORY"] == stats_of(engine, "simple").ended["OK"] == 64
    assert not stats.failed and engine.health().ready
