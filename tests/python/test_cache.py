# SPDX-License-Identifier: Apache-2.0
"""The response cache of an engine: what it tells, who shares it, what passes it by."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from prometheus_client import CollectorRegistry
from python.conftest import Load
from python.rollouts import X, load_versions
from python.support import (
    HUNG,
    ONE,
    Ask,
    ask_async,
    ask_infer,
    ask_submit,
    assert_same,
    every_way,
    expected,
    floats,
    on_every_loop,
    refused,
    said,
    slow_inputs,
    stats_of,
    until,
    until_in_loop,
)

import anya_engine as anya

#: A time to live that is over before the next line runs.
AT_ONCE = 1e-6
KEPT = 3600.0


def cached(**fields: Any) -> anya.ModelConfig:
    """A configuration with a cache, of which something is said; nothing runs on an event loop's thread."""
    return dataclasses.replace(ONE, cache=anya.CacheConfig(**fields))


@every_way
def test_the_second_answer_is_the_first_ones(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """However it is asked, an equal question gets the same bytes without a run."""
    load("several_outputs", config=cached())
    (spec,) = engine.models()[0].inputs
    feeds = {spec.name: floats(2, *(size for size in spec.shape[1:] if isinstance(size, int)))}
    first = ask(engine, "several_outputs", feeds)
    for way in (ask_infer, ask_submit, ask_async):
        assert_same(way(engine, "several_outputs", feeds), first)
    assert_same(first, expected("several_outputs", feeds), rtol=1e-6)
    stats = stats_of(engine, "several_outputs")
    assert (stats.batches, stats.cache.hits, stats.cache.misses) == (1, 3, 1)
    assert stats.accepted == stats.ended["OK"] == 4


def test_a_response_says_where_it_comes_from(engine: anya.Engine, load: Load) -> None:
    """from_cache, no batch, no time in a run; the first one is the model's own."""
    load("unnamed_batch", config=cached())
    x = floats(2, 3)
    own, again = (engine.infer_detailed("unnamed_batch", x) for _ in range(2))
    waited = asyncio.run(engine.infer_detailed_async("unnamed_batch", x))
    assert (own.from_cache, own.stale_age, own.degraded, own.batch_size) == (False, None, False, 2)
    for answer in (again, waited):
        assert (answer.from_cache, answer.stale_age, answer.degraded) == (True, None, False)
        assert (answer.batch_size, answer.compute_time) == (0, 0.0)
        assert answer.request_id != own.request_id


def test_text_is_cached(engine: anya.Engine, load: Load) -> None:
    """Strings in and out, told apart by where one ends."""
    load("strings", config=cached())
    for texts in (["ab", "c"], ["a", "bc"], ["ab", "c"]):
        feeds = {"text": np.array(texts, object)}
        assert_same(engine.infer("strings", feeds), expected("strings", feeds))
    assert engine.cache_stats("strings").hits == 1


@pytest.mark.parametrize("scope", ["tenant", "shared"])
def test_tenants_share_answers_only_where_that_is_said(engine: anya.Engine, load: Load, scope: Any) -> None:
    """By default each tenant, and those without one, have their own; "shared" is for all."""
    load("unnamed_batch", config=cached(scope=scope))
    for tenant in (None, "a", "b", "a"):
        engine.infer("unnamed_batch", floats(1, 3), tenant=tenant)
    assert engine.cache_stats("unnamed_batch").hits == (1 if scope == "tenant" else 3)


def test_a_random_model_is_refused_unless_forced(engine: anya.Engine) -> None:
    """Its first answer would be its only one: ConfigError names the operator and the way out."""
    with pytest.raises(anya.ConfigError, match=r"RandomNormalLike.*cache\.force") as caught:
        engine.load("noise", MODELS["noise"](), config=cached())
    assert caught.value.field == "cache"
    assert not engine.models()
    engine.load("noise", MODELS["noise"](), config=cached(force=True))
    first, second = (engine.infer("noise", floats(1, 4)) for _ in range(2))
    assert_same(first, second)


@every_way
def test_what_is_refused_is_refused_though_its_bytes_are_known(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """Rules, terms and names are held before the cache is asked."""
    config = anya.ModelConfig(cache=anya.CacheConfig(), max_timeout=10.0, inputs={"x": anya.InputRule(finite="reject")})
    load("unnamed_batch", config=config)
    x = floats(1, 3)
    engine.infer("unnamed_batch", x)
    with refused(engine, "unnamed_batch", anya.InvalidInput):
        ask(engine, "unnamed_batch", x.astype(np.float64))
    with refused(engine, "unnamed_batch", anya.InvalidInput):
        ask(engine, "unnamed_batch", x * np.float32(np.nan))
    with refused(engine, "unnamed_batch", anya.InvalidInput):
        ask(engine, "unnamed_batch", x, timeout=11.0)
    with refused(engine, "unnamed_batch", anya.DeadlineExceeded):
        ask(engine, "unnamed_batch", x, timeout=0.0)
    assert_same(ask(engine, "unnamed_batch", x), {"y": x + x})


def test_what_was_changed_is_told_of_each_request(engine: anya.Engine, load: Load) -> None:
    """Two questions that rules make one have one answer and each its own report."""
    load(
        "unnamed_batch",
        config=anya.ModelConfig(
            cache=anya.CacheConfig(), inputs={"x": anya.InputRule(min=0.0, max=1.0, on_range="clip")}
        ),
    )
    wild = engine.infer_detailed("unnamed_batch", np.array([[0.5, 2.0, -1.0]], np.float32))
    tame = engine.infer_detailed("unnamed_batch", np.array([[0.5, 1.0, 0.0]], np.float32))
    again = engine.infer_detailed("unnamed_batch", np.array([[0.5, 9.0, 0.0]], np.float32))
    assert [answer.from_cache for answer in (wild, tame, again)] == [False, True, True]
    assert [dict(answer.sanitized) for answer in (wild, tame, again)] == [{"x": 2}, {}, {"x": 1}]


def test_cache_clear_forgets(engine: anya.Engine, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """Of one model, of all, and ModelNotFound for none."""
    load("unnamed_batch", config=cached())
    load("tiny", name="other", config=cached())
    load("fixed_batch")
    ask: list[Callable[[], object]] = [
        lambda: engine.infer("unnamed_batch", floats(1, 3)),
        lambda: engine.infer("other", floats(1, 64)),
    ]
    for each in ask:
        each()
    engine.cache_clear("unnamed_batch")
    assert [engine.cache_stats(name).entries for name in ("unnamed_batch", "other")] == [0, 1]
    engine.cache_clear()
    assert engine.cache_stats("other").entries == 0
    assert engine.cache_stats("other").evicted_invalidate == 1
    assert engine.cache_stats("fixed_batch").capacity_bytes == 0
    assert repr(engine.cache_stats("fixed_batch")) == "<CacheStats no cache, ModelConfig.cache gives one>"
    with caplog.at_level("WARNING", "anya_engine"):
        engine.cache_clear("other")
        assert not said(caplog)
        engine.cache_clear("fixed_batch")
    assert "model=fixed_batch has none to clear" in caplog.text
    for call in (engine.cache_clear, engine.cache_stats):
        with pytest.raises(anya.ModelNotFound):
            call("nobody")


def test_each_version_has_its_own(engine: anya.Engine) -> None:
    """A version never answers from another one's cache, by whatever way it came to serve."""
    for number in (1, 2):
        engine.load("m", MODELS[f"version_{number}"](), version=str(number), config=cached())
    assert int(engine.infer("m", X)["version"][0]) == 1
    engine.deploy("m", "2", anya.BlueGreen())
    assert int(engine.infer("m", X)["version"][0]) == 2
    engine.rollback("m")
    answer = engine.infer_detailed("m", X)
    assert int(answer.outputs["version"][0]) == 1
    assert answer.from_cache
    assert engine.cache_stats("m").hits == 1
    assert engine.cache_stats("m", "2").misses == 1


def test_copies_and_comparisons_pass_the_cache_by(engine: anya.Engine) -> None:
    """A shadow's copies and the comparison before a switch neither use the new version's cache nor fill it."""
    for number in (1, 2):
        engine.load("m", MODELS["version_1"](), version=str(number), config=cached())
    engine.deploy("m", "2", anya.Shadow(share=1.0))
    for _ in range(20):
        engine.infer("m", X)

    def looked_at() -> bool:
        shadow = engine.status("m").shadow
        return shadow is not None and shadow.compared + shadow.dropped >= 20

    until(looked_at)
    stats = engine.cache_stats("m", "2")
    assert (stats.hits, stats.misses, stats.insertions) == (0, 0, 0)
    assert engine.cache_stats("m").hits == 19


def test_hits_are_no_evidence_of_a_canary(engine: anya.Engine) -> None:
    """What a version answers from its cache says nothing of it: its judge counts the one run."""
    load_versions(engine, 1)
    engine.load("m", MODELS["version_2"](), version="2", config=cached())
    engine.deploy("m", "2", anya.Canary(steps=(50,), interval=0.3, min_duration=600.0))
    answered = [int(engine.infer("m", X)["version"][0]) for _ in range(200)]
    by_old, by_new = answered.count(1), answered.count(2)
    assert engine.cache_stats("m", "2").hits == by_new - 1

    def counted() -> tuple[int, int]:
        evidence = engine.status("m").evidence.get("errors")
        return (evidence.old, evidence.new) if evidence else (0, 0)

    until(lambda: counted()[0] == by_old)
    assert counted() == (by_old, 1)


@pytest.mark.parametrize("ask", [ask_infer, ask_submit, ask_async])
def test_a_stale_answer_in_place_of_an_error(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """Within stale_if_error a run that is stopped at its deadline is answered with what is known, and says so."""
    load("slow", config=cached(ttl=AT_ONCE, stale_if_error=KEPT))
    feeds = slow_inputs(spins=2)
    first = ask(engine, "slow", feeds)
    busy = engine.submit("slow", slow_inputs(rows=2, spins=1 << 40))
    until(lambda: stats_of(engine, "slow").queue_depth == 0)
    assert_same(ask(engine, "slow", feeds, timeout=0.05), first)
    answer = engine.infer_detailed("slow", feeds, timeout=0.05)
    assert answer.from_cache and answer.degraded
    assert answer.stale_age is not None and 0 < answer.stale_age < HUNG
    with pytest.raises(anya.DeadlineExceeded):
        ask(engine, "slow", slow_inputs(spins=3), timeout=0.05)
    busy.cancel()
    assert engine.cache_stats("slow").stale_on_error == 2


def test_a_stale_answer_while_a_new_one_is_made(engine: anya.Engine, load: Load) -> None:
    """Within stale_while_revalidate the answer is there at once, and the model is asked once more."""
    load("unnamed_batch", config=cached(ttl=AT_ONCE, stale_while_revalidate=KEPT))
    x = floats(1, 3)
    engine.infer("unnamed_batch", x)
    answer = engine.infer_detailed("unnamed_batch", x)
    assert answer.from_cache and answer.degraded and answer.stale_age is not None
    until(lambda: engine.cache_stats("unnamed_batch").insertions == 2)
    assert stats_of(engine, "unnamed_batch").batches == 2


def test_equal_requests_of_threads_and_loops_run_once(engine: anya.Engine, load: Load) -> None:
    """Whatever way they came, requests that are equal and in flight together share a run, and all are answered."""
    load("slow", config=cached())
    feeds = slow_inputs(spins=3000)

    async def crowd() -> list[Any]:
        futures = [engine.submit("slow", feeds) for _ in range(5)]
        answers = await asyncio.gather(*(engine.infer_async("slow", feeds) for _ in range(20)))
        return [*answers, *(future.result(HUNG) for future in futures)]

    for answer in asyncio.run(crowd()):
        np.testing.assert_array_equal(answer["y"], 2 * feeds["x"])
    stats = stats_of(engine, "slow")
    assert stats.batches == 1
    assert stats.cache.coalesced + stats.cache.hits == 24
    assert stats.accepted == stats.ended["OK"] == 25


def test_a_cancelled_task_takes_nobody_with_it(engine: anya.Engine, load: Load) -> None:
    """The task whose request runs is cancelled: those that wait for that run are answered."""
    load("slow", config=cached())
    feeds = slow_inputs(spins=3000)

    async def main() -> list[Any]:
        leader = asyncio.ensure_future(engine.infer_async("slow", feeds))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(engine.infer_async("slow", feeds)) for _ in range(5)]
        await until_in_loop(lambda: engine.cache_stats("slow").misses == 6)
        leader.cancel()
        answers = await asyncio.gather(*others)
        assert leader.cancelled()
        return answers

    for answer in asyncio.run(main()):
        np.testing.assert_array_equal(answer["y"], 2 * feeds["x"])
    assert stats_of(engine, "slow").ended["CANCELLED"] == 1


def test_a_leader_cancelled_within_its_turn_takes_nobody_with_it(engine: anya.Engine, load: Load) -> None:
    """A request that never left its loop's turn is followed by the next one all the same."""
    load("unnamed_batch", config=cached())
    x = floats(1, 3)

    async def main() -> Any:
        tasks = [asyncio.ensure_future(engine.infer_async("unnamed_batch", x)) for _ in range(3)]
        asyncio.get_running_loop().call_soon(tasks[0].cancel)
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError) or np.array_equal(first["y"], x + x)
    for answer in others:
        np.testing.assert_array_equal(answer["y"], x + x)


@on_every_loop
def test_hits_let_the_loop_go_on(engine: anya.Engine, load: Load, run: Any) -> None:
    """A task that is answered at once, again and again, gives the other tasks of its loop their turns."""
    load("unnamed_batch", config=cached())
    x = floats(1, 3)

    async def main() -> int:
        turns = 0
        over = False

        async def other() -> None:
            nonlocal turns
            while not over:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(other())
        for _ in range(1000):
            await engine.infer_async("unnamed_batch", x)
        over = True
        await beside
        return turns

    assert run(main()) > 10


def test_counters_reach_prometheus(engine: anya.Engine, load: Load) -> None:
    """Each request has one result; a model without a cache has no metrics of one."""
    load("unnamed_batch", config=cached())
    load("fixed_batch")
    for _ in range(3):
        engine.infer("unnamed_batch", floats(1, 3))
    registry = CollectorRegistry()
    registry.register(engine.collector())

    def at(metric: str, name: str, **labels: str) -> float | None:
        return registry.get_sample_value(metric, {"model": name, "version": "1", **labels})

    results = {
        r: at("anya_cache_requests_total", "unnamed_batch", result=r) for r in ("hit", "miss", "stale", "coalesced")
    }
    assert results == {"hit": 2, "miss": 1, "stale": 0, "coalesced": 0}
    engine.cache_clear()
    causes = {c: at("anya_cache_evictions_total", "unnamed_batch", cause=c) for c in ("capacity", "ttl", "invalidate")}
    assert causes == {"capacity": 0, "ttl": 0, "invalidate": 1}
    assert at("anya_cache_bytes", "unnamed_batch") == engine.cache_stats("unnamed_batch").bytes
    assert at("anya_cache_bytes", "fixed_batch") is None
    assert at("anya_cache_requests_total", "fixed_batch", result="hit") is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"capacity_bytes": 0}, "capacity_bytes"),
        ({"capacity_bytes": -1}, "capacity_bytes"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1.0}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"ttl_jitter": 0.6}, "ttl_jitter"),
        ({"policy": "fifo"}, "policy"),
        ({"stale_if_error": 1.0}, "stale_if_error"),
        ({"stale_while_revalidate": -1.0, "ttl": 1.0}, "stale_while_revalidate"),
        ({"single_flight": 1}, "single_flight"),
        ({"on_leader_error": "retry"}, "on_leader_error"),
        ({"scope": "user"}, "scope"),
        ({"cache_errors": True}, "cache_errors"),
        ({"force": "yes"}, "force"),
        ({"size": 1}, "size"),
    ],
)
def test_refusals_of_the_configuration(values: dict[str, Any], field: str) -> None:
    """Each field has its limits; a refusal names the field."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.CacheConfig.from_dict(values)
    assert caught.value.field == field


def test_the_configuration_as_toml(tmp_path: Any) -> None:
    """What is written down is read back."""
    config = anya.EngineConfig(models={"m": cached(ttl=60, policy="lru", scope="shared")})
    (tmp_path / "engine.toml").write_text(config.to_toml())
    assert anya.EngineConfig.from_toml(tmp_path / "engine.toml") == config
    assert "[models.m.cache]" in config.to_toml()
