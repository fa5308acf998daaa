# SPDX-License-Identifier: Apache-2.0
"""Failures of a model that has a response cache: last good answers, stale ones refused, breakers and hits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.failures import QUICK, X
from python.rollouts import X as ONE_ROW
from python.rollouts import asked, load_versions
from python.support import HUNG, Ask, assert_at_rest, every_way, stats_of, until

import anya_engine as anya
from anya_engine import testing

#: A time to live that is over before the next line runs.
AT_ONCE = 1e-6
KEPT = 3600.0
OLD = anya.CacheConfig(ttl=AT_ONCE)
OTHER = X + 1


@every_way
def test_the_last_good_answer_stands_in(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """What was answered once is answered again while the model fails; what was not ends with the model's error."""
    engine = guarded(cache=OLD, retry=QUICK, fallback=(anya.LastGood(max_age=KEPT),))
    ask(engine, "m", X)
    with testing.inject(engine, "m", error=anya.ExecutionError):
        np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
        with pytest.raises(anya.ExecutionError) as caught:
            ask(engine, "m", OTHER)
        for refused in ({"allow_degraded": False}, {"tenant": "another"}):
            with pytest.raises(anya.ExecutionError):
                ask(engine, "m", X, **refused)
    attempts = [(attempt.model, type(attempt.error)) for attempt in caught.value.attempts]
    assert attempts == [("m", anya.ExecutionError)] * 3 + [("last_good", anya.Unavailable)]
    stats = stats_of(engine, "m")
    assert (stats.ended["OK"], stats.cache.stale_on_error) == (1, 1)
    (resilience,) = engine.stats().resilience
    assert resilience.fallbacks[("last_good", "EXECUTION_ERROR")] == 3
    assert_at_rest(engine)


def test_a_last_good_answer_says_what_it_is(guarded: Callable[..., anya.Engine]) -> None:
    """From the cache, how stale, of the model itself, degraded; the request is the one that failed."""
    engine = guarded(cache=OLD, fallback=(anya.LastGood(max_age=KEPT), "simple"))
    engine.infer("m", X)
    with testing.inject(engine, "m", error=anya.Overloaded):
        response = engine.infer_detailed("m", X)
        other = engine.infer_detailed("m", OTHER)
    assert (response.served_by, response.version, response.degraded, response.from_cache) == ("m", "1", True, True)
    assert response.stale_age is not None and 0 < response.stale_age < HUNG
    failed, last = response.attempts
    assert isinstance(failed.error, anya.Overloaded) and (last.model, last.error) == ("m", None)
    assert response.request_id == failed.error.request_id
    assert (response.batch_size, response.compute_time, response.queue_time) == (0, 0.0, 0.0)
    assert (other.served_by, other.from_cache) == ("simple", False)


def test_a_last_good_answer_may_be_too_old(guarded: Callable[..., anya.Engine]) -> None:
    """max_age=0: what is stale is too old, however good."""
    engine = guarded(cache=OLD, fallback=(anya.LastGood(max_age=0.0), anya.Default({"y": 7})))
    engine.infer("m", X)
    with testing.inject(engine, "m", error=anya.ExecutionError):
        np.testing.assert_array_equal(engine.infer("m", X)["y"], np.full((2, 3), 7))


@every_way
def test_a_last_good_answer_needs_no_time(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """A request whose time is over gets it, though nothing could run any more."""
    engine = guarded(cache=OLD, fallback=("simple", anya.LastGood(max_age=KEPT)))
    ask(engine, "m", X)
    with testing.inject(engine, "m", delay=0.05):
        np.testing.assert_array_equal(ask(engine, "m", X, timeout=0.005)["y"], X + X)
    assert stats_of(engine, "simple").accepted == 0


def test_a_canary_falls_back_on_what_the_version_that_serves_answered(engine: anya.Engine) -> None:
    """Neither version answers, and the canary's cache is empty: the other one's is not."""
    config = anya.ModelConfig(cache=OLD, fallback=(anya.LastGood(max_age=KEPT),))
    engine.load("m", MODELS["version_1"](), config=config)
    load_versions(engine, 2)
    asked(engine)
    engine.deploy("m", "2", anya.Canary(steps=(99.99,)))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        response = engine.infer_detailed("m", ONE_ROW, key=1)
    assert [attempt.version for attempt in response.attempts] == ["2", "1", "1"]
    assert (response.version, response.outputs["version"][0], response.from_cache) == ("1", 1, True)
    engine.rollback("m")


@pytest.mark.parametrize("watched", ["alone", "recorded", "canary", "guarded", "named"])
@every_way
def test_stale_answers_may_be_refused(engine: anya.Engine, tmp_path: Any, ask: Ask, watched: str) -> None:
    """allow_degraded=False: a run instead of a stale answer, whatever stands before the version; its error, if any."""
    path = tmp_path / "m.onnx"
    path.write_bytes(MODELS["version_1"]())
    cache = anya.CacheConfig(ttl=AT_ONCE, stale_while_revalidate=KEPT, stale_if_error=KEPT, single_flight=False)
    engine.load("m", path, config=anya.ModelConfig(cache=cache, retry=QUICK if watched == "guarded" else None))
    if watched == "recorded":
        engine.record("m", 1000)
    if watched == "canary":
        load_versions(engine, 2)
        engine.deploy("m", "2", anya.Canary(steps=(0.01, 50), control=True))
    more: dict[str, Any] = {"version": "1"} if watched == "named" else {"key": 1}
    ask(engine, "m", ONE_ROW, **more)
    with testing.inject(engine, "m", error=anya.ExecutionError):
        assert ask(engine, "m", ONE_ROW, **more)["version"][0] == 1
        with pytest.raises(anya.ExecutionError):
            ask(engine, "m", ONE_ROW, allow_degraded=False, **more)
    until(lambda: stats_of(engine, "m").in_flight == 0)
    batches = stats_of(engine, "m").batches
    assert ask(engine, "m", ONE_ROW, allow_degraded=False, **more)["version"][0] == 1
    assert stats_of(engine, "m").batches == batches + 1


@every_way
def test_an_open_breaker_leaves_hits_alone(guarded: Callable[..., anya.Engine], ask: Ask) -> None:
    """While it is open the cache answers as ever and nothing stands in; other questions go to the fallback."""
    breaker = anya.BreakerPolicy(window=4, minimum_calls=2, open_duration=3600.0, max_open_duration=3600.0)
    engine = guarded(cache=anya.CacheConfig(), breaker=breaker, fallback=("simple",))
    ask(engine, "m", X)
    with testing.inject(engine, "m", error=anya.ExecutionError):
        for number in range(2):
            ask(engine, "m", OTHER + number)
    assert engine.status("m").circuits["1"].state == "open"
    before = stats_of(engine, "simple").accepted
    np.testing.assert_array_equal(ask(engine, "m", X)["y"], X + X)
    response = engine.infer_detailed("m", X)
    assert (response.served_by, response.degraded, response.from_cache) == ("m", False, True)
    assert stats_of(engine, "simple").accepted == before
    np.testing.assert_array_equal(ask(engine, "m", OTHER)["y"], OTHER + OTHER)
    assert stats_of(engine, "simple").accepted == before + 1


def test_futures_that_shared_a_failed_run_all_recover(guarded: Callable[..., anya.Engine]) -> None:
    """Equal requests whose one run fails are handed on each, though nobody looks at their futures."""
    engine = guarded(cache=anya.CacheConfig(), fallback=("simple",))
    with testing.inject(engine, "m", error=anya.ExecutionError, delay=0.05):
        futures = [engine.submit("m", X) for _ in range(8)]
        until(lambda: stats_of(engine, "simple").ended["OK"] == 8, "eight fallbacks")
    for future in futures:
        np.testing.assert_array_equal(future.result(HUNG)["y"], X + X)
    stats = stats_of(engine, "m")
    assert stats.ended["EXECUTION_ERROR"] == 8 and stats.batches < 8
    assert_at_rest(engine)
