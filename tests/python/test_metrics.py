# SPDX-License-Identifier: Apache-2.0
"""The metrics: one table behind every scrape, roles, why batches left, faults that must not reach serving."""

from __future__ import annotations

import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from python.conftest import Load
from python.support import HUNG, ONE, busy, floats, slow_inputs, stats_of, until

import anya_engine as anya
from anya_engine import _core

#: A name that has every character with a meaning of its own in the text format.
ODD = 'a "quoted" \\ name, {le="1"} #'

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(families: Iterable[Any]) -> Samples:
    """(name, labels) -> value."""
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def registry_of(engine: anya.Engine) -> CollectorRegistry:
    """A registry with the engine's collector alone."""
    registry = CollectorRegistry()
    registry.register(engine.collector())
    return registry


def scrape(engine: anya.Engine) -> Samples:
    """What the core's text says."""
    return samples(parse_text(engine.metrics_text().decode()))


def value(found: Samples, name: str, **labels: str) -> float:
    """One sample."""
    return found[name, frozenset(labels.items())]


def requests(engine: anya.Engine, version: str, role: str, outcome: str = "ok") -> float | None:
    """Requests of the model `m` in a role; None: there is no such series."""
    labels = {"model": "m", "version": version, "outcome": outcome, "role": role}
    return scrape(engine).get(("anya_requests_total", frozenset(labels.items())))


@pytest.fixture
def used(engine: anya.Engine, load: Load) -> anya.Engine:
    """An engine at rest that has answered, failed and refused."""
    load("unnamed_batch", name=ODD)
    load("poison")
    for _ in range(3):
        engine.infer(ODD, floats(2, 3))
    with pytest.raises(anya.ExecutionError):
        engine.infer("poison", np.array([50]))
    with pytest.raises(anya.InvalidInput):
        engine.infer(ODD, floats(2, 5))
    return engine


@pytest.mark.parametrize(
    ("openmetrics", "write", "parse"),
    [(False, generate_latest, parse_text), (True, generate_openmetrics, parse_openmetrics)],
)
def test_text_and_collector_say_the_same(
    used: anya.Engine, openmetrics: bool, write: Callable[..., bytes], parse: Callable[[str], Iterable[Any]]
) -> None:
    """The core's text and prometheus_client's, parsed by prometheus_client, hold the same families, series, values."""
    our = list(parse(used.metrics_text(openmetrics=openmetrics).decode()))
    their = list(parse(write(registry_of(used)).decode()))
    assert [(f.name, f.type, f.documentation) for f in our] == [(f.name, f.type, f.documentation) for f in their]
    ours, theirs = samples(our), samples(their)
    assert ours.keys() == theirs.keys()
    assert {key for key in ours if ours[key] != theirs[key] and not key[0].startswith("anya_host_")} == set()
    assert value(ours, "anya_batch_size_sum", model=ODD, version="1") == 6


def test_no_series_twice(used: anya.Engine) -> None:
    """A scrape holds every series once: Prometheus drops the whole scrape otherwise."""
    lines = [line.rsplit(" ", 1)[0] for line in used.metrics_text().decode().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) > 100


def test_the_core_writes_its_text_without_the_gil(used: anya.Engine) -> None:
    """Another thread runs Python meanwhile, though nobody is made to hand the GIL on."""
    turns, over, interval = [0], threading.Event(), sys.getswitchinterval()
    used_meanwhile = False

    def count() -> None:
        while not over.is_set():
            turns[0] += 1
            time.sleep(0)  # hands the GIL back

    thread = threading.Thread(target=count)
    sys.setswitchinterval(100)
    try:
        thread.start()
        for _ in range(10_000):
            before = turns[0]
            _core.metrics_text([used._core], [], openmetrics=False)
            if used_meanwhile := turns[0] > before:
                break
    finally:
        sys.setswitchinterval(interval)
        over.set()
        thread.join()
    assert used_meanwhile


def test_requests_count_in_their_role(engine: anya.Engine, load: Load) -> None:
    """A canary's answers count as canary, its control slice's as control, the rest as stable, by version."""
    load("version_1", name="m", version="1")
    load("version_2", name="m", version="2")
    engine.infer("m", floats(1, 1))
    assert requests(engine, "1", "stable") == 1
    assert requests(engine, "1", "canary") is None
    engine.deploy("m", "2", anya.Canary(steps=(25,), interval=60.0, control=True))
    for key in range(200):
        engine.infer("m", floats(1, 1), key=key)
    found = [requests(engine, "2", "canary"), requests(engine, "1", "control"), requests(engine, "1", "stable")]
    assert all(count is not None and count > 20 for count in found)
    assert sum(count for count in found if count is not None) == 201
    assert requests(engine, "2", "stable") == 0
    engine.infer("m", floats(1, 1), version="2")
    assert requests(engine, "2", "stable") == 1
    by_role = stats_of(engine, "m", "2").ended_by_role
    assert (by_role["canary"]["OK"], by_role["stable"]["OK"]) == (found[0], 1)
    engine.promote("m")
    engine.infer("m", floats(1, 1))
    assert requests(engine, "2", "stable") == 2


def test_copies_count_as_shadow(engine: anya.Engine, load: Load) -> None:
    """What a shadow answers counts in that role alone."""
    load("version_1", name="m", version="1")
    load("version_2", name="m", version="2")
    engine.deploy("m", "2", anya.Shadow(share=1.0))
    for _ in range(5):
        engine.infer("m", floats(1, 1))
        until(lambda: stats_of(engine, "m", "2").in_flight == 0)
    assert requests(engine, "1", "stable") == 5
    copies = requests(engine, "2", "shadow")
    assert copies is not None and copies > 0
    assert requests(engine, "2", "stable") == 0


def test_a_rollout_is_in_the_metrics(engine: anya.Engine, load: Load) -> None:
    """Weights, state, evidence and moves of a rollout are what `status` says."""
    load("version_1", name="m", version="1")
    load("version_2", name="m", version="2")
    idle = scrape(engine)
    assert value(idle, "anya_canary_state", model="m", version="1") == 0
    assert value(idle, "anya_canary_weight_ratio", model="m", version="1") == 1
    engine.deploy("m", "2", anya.Canary(steps=(25,), interval=60.0))
    found = scrape(engine)
    assert value(found, "anya_canary_state", model="m", version="2") == 1
    assert value(found, "anya_canary_weight_ratio", model="m", version="2") == 0.25
    assert value(found, "anya_canary_log_evalue", model="m", version="2", metric="errors") == 0
    engine.rollback("m")
    found = scrape(engine)
    assert value(found, "anya_canary_state", model="m", version="2") == 4
    for to, reason in (("progressing", "start"), ("rolled_back", "rollback")):
        labels = {"model": "m", "version": "2", "to": to, "reason": reason}
        assert value(found, "anya_rollout_transitions_total", **labels) == 1


def test_batches_say_why_they_left(engine: anya.Engine, load: Load) -> None:
    """Each formed batch counts once by its reason: a lone one is idle, one that leaves others behind is full."""
    batching = anya.BatchingConfig(max_in_place_microseconds=0, max_batch_size=2)
    load("slow", config=anya.ModelConfig(instances=1, batching=batching))
    engine.infer("slow", slow_inputs())
    assert stats_of(engine, "slow").dispatches == {"idle": 1, "full": 0, "deadline": 0, "delay": 0}
    with busy(engine):
        waiting = [engine.submit("slow", slow_inputs()) for _ in range(5)]
    for future in waiting:
        future.result(HUNG)
    stats = stats_of(engine, "slow")
    assert sum(stats.dispatches.values()) == stats.batches
    assert stats.dispatches["full"] >= 2
    labels = {"model": "slow", "version": "1", "reason": "full"}
    assert value(scrape(engine), "anya_batches_total", **labels) == stats.dispatches["full"]


# ---- the endpoint


def get(url: str, accept: str = "") -> tuple[str, str]:
    """Body and content type."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=HUNG) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def test_the_endpoint_serves_both_formats(used: anya.Engine) -> None:
    """A scraper gets the format that it accepts; anything but /metrics is not found."""
    with anya.start_metrics_server(0, used) as server:
        text, kind = get(server.url)
        assert kind.startswith("text/plain; version=0.0.4") and "# EOF" not in text
        assert value(samples(parse_text(text)), "anya_queue_depth", model=ODD, version="1") == 0
        text, kind = get(server.url, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(server.url.replace("/metrics", "/other"))


def test_engines_of_one_process_are_summed(engine: anya.Engine, load: Load) -> None:
    """Without an engine the endpoint serves all of them, and a version that two of them have once."""
    load("unnamed_batch", name="both")
    with anya.Engine() as other, anya.start_metrics_server(0) as server:
        other.load("both", MODELS["unnamed_batch"]())
        engine.infer("both", floats(2, 3))
        other.infer("both", floats(2, 3))
        text, _ = get(server.url)
    assert text.count('anya_queue_depth{model="both",version="1"}') == 1
    labels = {"model": "both", "version": "1", "outcome": "ok", "role": "stable"}
    assert value(samples(parse_text(text)), "anya_requests_total", **labels) == 2
    assert text.count("\nanya_build_info{") == 1


def test_a_port_in_use_is_refused(used: anya.Engine) -> None:
    """It is a ConfigError that names the port; the engine and the endpoint before go on."""
    with anya.start_metrics_server(0, used) as server:
        with pytest.raises(anya.ConfigError, match=rf"{server.port}.*another port") as refused:
            anya.start_metrics_server(server.port, used)
        assert (refused.value.field, refused.value.value) == ("port", server.port)
        assert get(server.url)[0]
    for wrong in (-1, 65536, "9464"):
        with pytest.raises(anya.ConfigError, match="port"):
            anya.start_metrics_server(wrong)  # type: ignore[arg-type]


def test_an_engine_that_is_gone_leaves_an_empty_endpoint() -> None:
    """The endpoint keeps no engine alive; it answers still, with nothing to say of models."""
    engine = anya.Engine()
    engine.load("gone", MODELS["unnamed_batch"]())
    with anya.start_metrics_server(0, engine) as server:
        assert 'model="gone"' in get(server.url)[0]
        engine.close()
        del engine
        assert 'model="gone"' not in get(server.url)[0]


# ---- bad input and faults


def test_scrapes_while_versions_come_and_go(engine: anya.Engine, load: Load) -> None:
    """Scrapes during loads and unloads parse, hold no series twice, and always have the version that stays."""
    load("version_1", name="stays")
    done = threading.Event()

    def churn() -> None:
        for _ in range(30):
            engine.load("goes", MODELS["version_2"]())
            engine.infer("goes", floats(1, 1))
            engine.unload("goes")
        done.set()

    thread = threading.Thread(target=churn)
    thread.start()
    registry, scrapes = registry_of(engine), 0
    while not done.is_set() or scrapes < 3:
        found = scrape(engine)
        assert value(found, "anya_queue_depth", model="stays", version="1") == 0
        assert b'model="stays"' in generate_latest(registry)
        scrapes += 1
    thread.join(HUNG)
    assert "goes" not in {dict(labels).get("model") for _, labels in scrape(engine)}


def test_a_collector_registered_twice_shows_nothing_twice(used: anya.Engine) -> None:
    """An engine has one collector, and a registry asks each collector once, however often it was given it."""
    registry = registry_of(used)
    registry.register(used.collector())
    registry.register(used.collector())
    assert generate_latest(registry).count(b"# HELP anya_queue_depth") == 1
    registry.unregister(used.collector())
    registry.register(used.collector())
    assert generate_latest(registry).count(b"# HELP anya_queue_depth") == 1
    used.infer(ODD, floats(2, 3))


def test_a_cleared_registry_costs_nothing(used: anya.Engine) -> None:
    """What a registry forgets is still counted and can be registered again."""
    registry = CollectorRegistry()
    collector = used.collector()
    registry.register(collector)
    registry.unregister(collector)
    assert generate_latest(registry) == b""
    used.infer(ODD, floats(2, 3))
    registry.register(collector)
    labels = {"model": ODD, "version": "1", "outcome": "ok", "role": "stable"}
    assert registry.get_sample_value("anya_requests_total", labels) == 4


def test_a_source_that_fails_is_visible(used: anya.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Its families are missing, `anya_metrics_source_up` says 0, one log record says why; the others are there."""

    def broken() -> Iterable[_core.MetricFamily]:
        raise RuntimeError("the driver is gone")

    used._metrics._sources["broken"] = broken
    for _ in range(2):
        found = scrape(used)
        assert value(found, "anya_metrics_source_up", source="broken") == 0
        assert value(found, "anya_metrics_source_up", source="versions") == 1
        assert value(found, "anya_queue_depth", model=ODD, version="1") == 0
    until(lambda: "the driver is gone" in caplog.text, "the log record")
    assert caplog.text.count("metrics source=broken is missing: RuntimeError: the driver is gone") == 1


def test_a_scrape_does_not_wait_for_a_rollout(engine: anya.Engine, load: Load) -> None:
    """While one is being changed for long, a scrape says that rollouts are missing and has everything else."""
    load("version_1", name="m", version="1")
    begun, end = threading.Event(), threading.Event()

    def change() -> None:
        with engine._deployments._changed:
            begun.set()
            assert end.wait(HUNG)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert begun.wait(HUNG)
        found = scrape(engine)
        assert value(found, "anya_metrics_source_up", source="rollouts") == 0
        assert value(found, "anya_queue_depth", model="m", version="1") == 0
    finally:
        end.set()
        thread.join(HUNG)
    assert value(scrape(engine), "anya_metrics_source_up", source="rollouts") == 1


def test_gauges_of_a_model_at_work(engine: anya.Engine, load: Load) -> None:
    """Busy workers, the bound of the queue, and memory are there as `stats` has them."""
    info = load("slow", config=ONE)
    with busy(engine):
        found = scrape(engine)
        labels = {"model": "slow", "version": "1"}
        assert value(found, "anya_workers_busy", **labels) == 1
        assert value(found, "anya_admission_limit", **labels) == 1024
        assert value(found, "anya_model_memory_bytes", **labels) == info.memory > 0
        assert value(found, "anya_model_loaded_timestamp_seconds", **labels) > 1.6e9
