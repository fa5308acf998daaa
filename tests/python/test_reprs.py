# SPDX-License-Identifier: Apache-2.0
"""What print() shows of what the engine hands out: one short line with what one looks for first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models.awkward import POISON_ROWS, poison
from python.support import HUNG, ONE, busy, floats, slow_inputs, stats_of, until

import anya_engine as anya


def test_counters_print_what_has_happened(engine: anya.Engine, load: Any) -> None:
    """Accepted, ended by error where there was one, refused at the door; a histogram's count and mean; no address."""
    load("slow", config=ONE)
    engine.infer("slow", slow_inputs())
    with pytest.raises(anya.InvalidInput):
        engine.infer("slow", {"x": floats(1, 4)[:, :3], "spins": np.zeros(1, np.int64)})
    with busy(engine):
        assert engine.submit("slow", slow_inputs()).cancel()
    until(lambda: "queue_depth=0/1024 instances_busy=0/1" in repr(stats_of(engine, "slow")), "rest")
    said = repr(stats_of(engine, "slow"))
    assert said.startswith(
        "<ModelStats slow:1 accepted=3 ok=2 errors={CANCELLED: 1} refused={INVALID_INPUT: 1} in_flight=0 "
        "queue_depth=0/1024 instances_busy=0/1 batches=2 mean_seconds="
    )
    assert said in repr(engine.stats())
    assert repr(stats_of(engine, "slow").batch_size) == "<HistogramSnapshot count=2 mean=1>"
    assert "0x" not in repr(engine.stats().models[0].run_times)


def test_a_cache_and_a_breaker_print_what_they_are_at(engine: anya.Engine) -> None:
    """Hits and misses; calls and failures, and once it is open the seconds until it is not."""
    breaker = anya.BreakerPolicy(minimum_calls=3, window=4, open_duration=1000.0, max_open_duration=1000.0)
    config = anya.ModelConfig(cache=anya.CacheConfig(capacity_bytes=1 << 20), breaker=breaker)
    engine.load("p", poison(), config=config)
    for _ in range(2):
        engine.infer("p", np.array([1]))
    assert repr(engine.cache_stats("p")).startswith("<CacheStats hits=1 misses=1 coalesced=0 entries=1 bytes=")
    assert repr(engine.status("p").circuits) == "{'1': <CircuitStats closed calls=1 failed=0 slow=0>}"
    for row in range(POISON_ROWS, POISON_ROWS + 2):
        with pytest.raises(anya.ExecutionError):
            engine.infer("p", np.array([row]))
    (circuit,) = engine.status("p").circuits.values()
    assert repr(circuit).startswith("<CircuitStats open calls=0 failed=0 slow=0 opens_in=")
    assert repr(circuit.events[-1]) == "<CircuitEvent to=open calls=3 failed=2 slow=0>"


def test_a_future_prints_its_state_and_is_not_moved_by_it(engine: anya.Engine, load: Any) -> None:
    """Pending, done, cancelled or failed with the error's class; what is being recovered from is pending."""
    load("slow", config=ONE)
    engine.load("p", poison())
    with busy(engine):
        future = engine.submit("slow", slow_inputs())
        assert repr(future) == "<Future slow:1 pending>"
        gone = engine.submit("slow", slow_inputs())
        assert gone.cancel()
        assert repr(gone) == "<Future slow:1 cancelled>"
    future.result(HUNG)
    assert repr(future) == "<Future slow:1 done>"
    failed = engine.submit("p", np.array([POISON_ROWS]))
    until(lambda: repr(failed) != "<Future p:1 pending>")
    assert repr(failed) == "<Future p:1 failed: ExecutionError>"
    engine.load("again", poison(), config=anya.ModelConfig(retry=anya.RetryPolicy(max_attempts=2, initial_backoff=0)))
    retried = engine.submit("again", np.array([POISON_ROWS]))
    until(lambda: repr(retried) != "<Future again:1 pending>")
    assert repr(retried) == "<Future again:1 failed: ExecutionError>"
    assert stats_of(engine, "again").accepted == 2


def test_an_endpoint_prints_where_it_is(engine: anya.Engine) -> None:
    """The address to scrape; "closed" once it is."""
    with anya.start_metrics_server(0, engine) as server:
        assert repr(server) == f"<anya_engine.MetricsServer {server.url}>"
    assert repr(server) == "<anya_engine.MetricsServer closed>"


def test_a_long_value_shows_both_ends() -> None:
    """A message keeps the end of a long value, where a path has its name; the error has all of it."""
    path = "/models/" + "deep/" * 40 + "model.onnx"
    with pytest.raises(
        anya.ConfigError, match=r"'/models/deep/.{20,40}\.\.\..{20,40}/model\.onnx' \(str\)$"
    ) as refused:
        anya.ModelConfig(instances=path)  # type: ignore[arg-type]
    assert refused.value.value == path
