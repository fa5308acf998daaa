# SPDX-License-Identifier: Apache-2.0
"""What the engine tells: counters, the Prometheus collector, health."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from python.conftest import Load
from python.support import HUNG, ONE, SPINS, assert_at_rest, busy, floats, slow_inputs, stats_of, until

import anya_engine as anya


def scrape(engine: anya.Engine) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """One scrape through prometheus_client's own writer and parser: (name, labels) -> value."""
    registry = CollectorRegistry()
    registry.register(engine.collector())
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(samples: dict[Any, float], name: str, **labels: str) -> float:
    """One sample."""
    return samples[name, frozenset(labels.items())]


def mixed_outcomes(engine: anya.Engine) -> None:
    """One model's worth of every outcome that can be had on purpose, and refusals beside them."""
    for _ in range(3):
        engine.infer("slow", slow_inputs())
    with busy(engine):
        cancelled = engine.submit("slow", slow_inputs())
        late = engine.submit("slow", slow_inputs(), timeout=0.002)
        kept = [engine.submit("slow", slow_inputs(2)) for _ in range(2)]
        with pytest.raises(anya.Overloaded):
            for _ in range(3):
                kept.append(engine.submit("slow", slow_inputs()))
        cancelled.cancel()
        assert isinstance(late.exception(HUNG), anya.DeadlineExceeded)
    for future in kept:
        future.result(HUNG)
    for bad in (floats(1, 5), None):
        with pytest.raises(anya.InvalidInput):
            engine.infer("slow", {"x": bad, "spins": np.zeros(1, np.int64)})


@pytest.fixture
def mixed(engine: anya.Engine, load: Load) -> anya.Engine:
    """An engine after mixed outcomes of `slow` and `poison`, at rest."""
    batching = anya.BatchingConfig(max_queue_size=5, max_in_place_microseconds=0)
    load("slow", config=anya.ModelConfig(instances=1, batching=batching))
    load("poison")
    mixed_outcomes(engine)
    with pytest.raises(anya.ExecutionError):
        engine.infer("poison", np.array([50]))
    assert_at_rest(engine)
    return engine


def test_the_sums_agree_after_mixed_outcomes(mixed: anya.Engine) -> None:
    """Rule 1 with every kind of outcome: accepted is exactly ok + errors + cancelled; refusals are counted apart."""
    slow, poison = stats_of(mixed, "slow"), stats_of(mixed, "poison")
    ended = {code: count for code, count in slow.ended.items() if count}
    assert ended["CANCELLED"] == 1 and ended["DEADLINE_EXCEEDED"] == 1
    assert sum(ended.values()) == slow.accepted == 9 + ended["OK"] - 7
    assert {code: count for code, count in slow.refused.items() if count} == {"OVERLOADED": 1, "INVALID_INPUT": 2}
    assert {code: count for code, count in poison.ended.items() if count} == {"EXECUTION_ERROR": 1}
    assert slow.in_flight == slow.queue_depth == slow.instances_busy == 0


def test_never_more_ended_than_accepted(engine: anya.Engine, load: Load) -> None:
    """At any instant what has ended does not exceed what was accepted, whoever reads while others ask."""
    load("unnamed_batch")
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            engine.infer("unnamed_batch", floats(1, 3))
            engine.submit("unnamed_batch", floats(1, 3)).cancel()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        stats = stats_of(engine, "unnamed_batch")
        assert sum(stats.ended.values()) <= stats.accepted
        assert 0 <= stats.in_flight <= stats.accepted
    stop.set()
    for thread in threads:
        thread.join(HUNG)


OUTCOMES = ("ok", "error", "timeout", "shed", "cancelled")
HISTOGRAMS = (
    "anya_request_duration_seconds",
    "anya_queue_duration_seconds",
    "anya_compute_duration_seconds",
    "anya_batch_size",
)


def test_every_family_exists_from_the_load_on(engine: anya.Engine, load: Load) -> None:
    """Before the first request every series of a version is there and says 0; warm-up does not count."""
    load("unnamed_batch", version="7")
    samples = scrape(engine)
    labels = {"model": "unnamed_batch", "version": "7"}
    for outcome in OUTCOMES:
        assert at(samples, "anya_requests_total", **labels, outcome=outcome, role="stable") == 0
    for code in ("INVALID_INPUT", "OVERLOADED", "DEADLINE_EXCEEDED", "EXECUTION_ERROR", "UNAVAILABLE"):
        assert at(samples, "anya_request_errors_total", **labels, type=code) == 0
    for gauge in ("anya_queue_depth", "anya_inflight_requests"):
        assert at(samples, gauge, **labels) == 0
    assert at(samples, "anya_workers", **labels) == engine.models()[0].instances
    for name in HISTOGRAMS:
        assert at(samples, f"{name}_count", **labels) == at(samples, f"{name}_bucket", **labels, le="+Inf") == 0


def test_the_collector_says_what_stats_says(mixed: anya.Engine) -> None:
    """Counters of a scrape are those of stats(), by outcome and by code; refusals count as errors by their code."""
    samples, slow = scrape(mixed), stats_of(mixed, "slow")
    labels = {"model": "slow", "version": "1"}
    outcomes = {o: at(samples, "anya_requests_total", **labels, outcome=o, role="stable") for o in OUTCOMES}
    assert outcomes == {"ok": slow.ended["OK"], "error": 0, "timeout": 1, "shed": 0, "cancelled": 1}
    assert sum(outcomes.values()) == slow.accepted
    errors = {"INVALID_INPUT": 2, "OVERLOADED": 1, "DEADLINE_EXCEEDED": 1, "CANCELLED": 1, "EXECUTION_ERROR": 0}
    for code, count in errors.items():
        assert at(samples, "anya_request_errors_total", **labels, type=code) == count
    assert at(samples, "anya_request_errors_total", model="poison", version="1", type="EXECUTION_ERROR") == 1


def test_histograms_are_whole(mixed: anya.Engine) -> None:
    """Buckets never go down, le="+Inf" is the count, counts are those of requests and runs, sums are plausible."""
    samples = scrape(mixed)
    for model in mixed.stats().models:
        labels = {"model": model.name, "version": model.version}
        for name in HISTOGRAMS:
            buckets = [
                (float(dict(key)["le"]), value)
                for (sample, key), value in samples.items()
                if sample == f"{name}_bucket" and labels.items() <= dict(key).items()
            ]
            values = [value for _, value in sorted(buckets)]
            assert len(values) > 5 and values == sorted(values)
            assert max(buckets) == (float("inf"), at(samples, f"{name}_count", **labels))
            assert (at(samples, f"{name}_sum", **labels) > 0) == (values[-1] > 0)
        assert at(samples, "anya_request_duration_seconds_count", **labels) == model.accepted
        assert at(samples, "anya_batch_size_count", **labels) == model.batches
        assert at(samples, "anya_batch_size_sum", **labels) == model.rows


def test_a_batch_of_one_is_observed(engine: anya.Engine, load: Load) -> None:
    """A lone request is a batch of one row."""
    load("unnamed_batch")
    engine.infer("unnamed_batch", floats(1, 3))
    samples = scrape(engine)
    labels = {"model": "unnamed_batch", "version": "1"}
    assert at(samples, "anya_batch_size_bucket", **labels, le="1.0") == 1
    assert at(samples, "anya_batch_size_sum", **labels) == 1


def test_gauges_while_it_works(engine: anya.Engine, load: Load) -> None:
    """While an instance works and requests wait, the gauges say how many."""
    load("slow", config=ONE)
    with busy(engine, spins=3 * SPINS):
        waiting = [engine.submit("slow", slow_inputs()) for _ in range(3)]
        samples = scrape(engine)
        labels = {"model": "slow", "version": "1"}
        assert at(samples, "anya_queue_depth", **labels) == 3
        assert at(samples, "anya_inflight_requests", **labels) == 4
        assert stats_of(engine, "slow").instances_busy == 1
    for future in waiting:
        future.result(HUNG)


def test_a_version_leaves_the_metrics_with_its_unload(engine: anya.Engine, load: Load) -> None:
    """Series of an unloaded version are gone, those of others stay."""
    load("version_1", name="m")
    load("version_2", name="m")
    engine.unload("m", "2")
    labels = [dict(key) for _, key in scrape(engine)]
    assert {each["version"] for each in labels if "model" in each} == {"1"}


def test_two_engines_register_side_by_side(load: Load, engine: anya.Engine) -> None:
    """Registering costs nothing and collectors of two engines do not collide."""
    load("unnamed_batch")
    with anya.Engine() as other:
        registry = CollectorRegistry()
        registry.register(engine.collector())
        registry.register(other.collector())
        assert b"unnamed_batch" in generate_latest(registry)


def test_health(engine: anya.Engine, load: Load) -> None:
    """Live and ready from the start, with each model's serving version; neither after close(), and it says why."""
    empty = engine.health()
    assert (empty.live, empty.ready, empty.reason, dict(empty.models)) == (True, True, "", {})
    load("version_1", name="m", version="blue")
    load("version_2", name="m", version="green")
    health = engine.health()
    assert health.live and health.ready
    assert (health.models["m"].ready, health.models["m"].version) == (True, "blue")
    engine.close()
    closed = engine.health()
    assert (closed.live, closed.ready) == (False, False)
    assert "closed" in closed.reason and "closed" in closed.models["m"].reason


def test_the_response_measures(engine: anya.Engine, load: Load) -> None:
    """A request that waited says how long, and in how large a batch it ran."""
    load("slow", config=ONE)

    async def both() -> list[anya.Response]:
        return await asyncio.gather(*(engine.infer_detailed_async("slow", slow_inputs(n)) for n in (1, 2)))

    with busy(engine):
        thread_answers: list[list[anya.Response]] = []
        thread = threading.Thread(target=lambda: thread_answers.append(asyncio.run(both())))
        thread.start()
        until(lambda: stats_of(engine, "slow").queue_depth == 2, "two in the queue")
    thread.join(HUNG)
    for response in thread_answers[0]:
        assert response.batch_size == 3
        assert response.queue_time > 0 and response.compute_time > 0


def test_run_times_are_measured_learned_and_forgotten(engine: anya.Engine, load: Load) -> None:
    """stats() shows what runs take by rows: measured at load for one shape, learned per size of row for free ones."""
    load("tiny")
    measured = stats_of(engine, "tiny").run_times
    assert [time.rows for time in measured] == [1, 2, 4, 8, 16, 32, 64]
    assert all(time.row_bytes == 0 and 0 < time.seconds_per_row <= time.seconds < 1 for time in measured)
    for _ in range(3):
        engine.infer("tiny", floats(3, 64))
    assert stats_of(engine, "tiny").run_times[2].observations == measured[2].observations + 3
    engine.reset_run_times("tiny")
    assert [time.observations for time in stats_of(engine, "tiny").run_times] == [t.observations for t in measured]

    load("sequence")
    assert stats_of(engine, "sequence").run_times == []
    for width in (8, 64):
        engine.infer("sequence", floats(1, width))
    assert [time.row_bytes for time in stats_of(engine, "sequence").run_times] == [32, 256]
    engine.reset_run_times()
    assert stats_of(engine, "sequence").run_times == []
    with pytest.raises(anya.ModelNotFound):
        engine.reset_run_times("nowhere")
