# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad inputs and faults, by number: the response cache (79 to 87).

What another test proves already is named in PROVED_BY, which is checked to exist.
"""

from __future__ import annotations

import dataclasses
import gc
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.conftest import Load
from python.support import HUNG, ONE, Ask, assert_same, every_way, expected, floats, slow_inputs, stats_of, until

import anya_engine as anya

TESTS = Path(__file__).resolve().parents[1]

PROVED_BY: dict[str, list[tuple[str, str]]] = {
    "79 a tensor type of its own": [("cpp/cache/response_cache_test.cc", "TypeShapeOutputsAndTenantAreOtherQuestions")],
    "80 constructed collisions": [("cpp/cache/response_cache_test.cc", "AConstructedCollisionIsAMissAndCounted")],
    "82 sizes and times that are none": [
        ("python/test_cache.py", "test_refusals_of_the_configuration"),
        ("cpp/cache/response_cache_test.cc", "WhatIsLargerThanAllOfItIsNotKept"),
    ],
    "83 time to live": [("cpp/cache/response_cache_test.cc", "TellsFreshFromStaleFromGone")],
    "85 a leader fails": [
        ("cpp/model/single_flight_test.cc", "AFailedLeaderFailsThoseWhoWait"),
        ("cpp/model/single_flight_test.cc", "OrLetsTheNextOneRun"),
        ("cpp/model/single_flight_test.cc", "NoneIsLostInTheCrowd"),
    ],
    "86 eviction under a reader": [
        ("cpp/cache/response_cache_test.cc", "AnAnswerOutlivesItsEviction"),
        ("cpp/cache/response_cache_test.cc", "ReadersAndWritersDoNotMeet"),
    ],
    "87 not finite": [("cpp/model/answer_cache_test.cc", "NothingNotFiniteIsKept")],
}


@pytest.mark.parametrize("case", list(PROVED_BY))
def test_the_proof_is_where_it_is_said_to_be(case: str) -> None:
    """Each test that a case rests on exists under its name."""
    for file, name in PROVED_BY[case]:
        text = (TESTS / file).read_text(encoding="utf-8")
        wanted = rf"^def {name}\(" if file.endswith(".py") else rf"^TEST\(\w+, {name}\)"
        assert re.search(wanted, text, flags=re.MULTILINE), (file, name)


def cached(**fields: Any) -> anya.ModelConfig:
    """A configuration with a cache; nothing runs on an event loop's thread."""
    return dataclasses.replace(ONE, cache=anya.CacheConfig(**fields))


@every_way
def test_79_the_same_bytes_in_another_shape(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """79: the same bytes in another shape, for other outputs or of another tenant are another question."""
    load("sequence", config=cached())
    x = floats(12)
    for _ in range(2):
        for shape in ((2, 6), (3, 4), (4, 3)):
            feeds = {"x": x.reshape(shape)}
            wanted = expected("sequence", feeds)
            assert_same(ask(engine, "sequence", feeds), wanted, rtol=1e-6)
            for name in wanted:
                assert_same(ask(engine, "sequence", feeds, outputs=[name]), {name: wanted[name]}, rtol=1e-6)
            ask(engine, "sequence", feeds, tenant="another")
    stats = engine.cache_stats("sequence")
    assert stats.hits == stats.misses == stats.entries == 3 * (2 + len(wanted))


@every_way
def test_81_a_caller_writes_into_its_answer(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """81: arrays that were handed out, and those that were handed in, are the caller's; the cache has its own."""
    load("unnamed_batch", config=cached())
    x = floats(2, 3)
    for _ in range(3):
        given = x.copy()
        answer = ask(engine, "unnamed_batch", given)
        np.testing.assert_array_equal(answer["y"], x + x)
        answer["y"] += 1.0  # writable, every time
        given += 1.0
    assert engine.cache_stats("unnamed_batch").hits == 2


def test_82_what_does_not_fit(engine: anya.Engine, load: Load) -> None:
    """82: an answer larger than the whole cache is given, counted and not kept; the least cache works."""
    load("unnamed_batch", config=cached(capacity_bytes=1 << 16))
    for rows in (10_000, 1):
        x = floats(rows, 3)
        for _ in range(2):
            np.testing.assert_array_equal(engine.infer("unnamed_batch", x)["y"], x + x)
    stats = engine.cache_stats("unnamed_batch")
    assert (stats.oversized, stats.hits, stats.entries) == (2, 1, 1)
    assert stats.bytes <= stats.capacity_bytes


def test_84_a_version_loaded_anew(engine: anya.Engine) -> None:
    """84: neither a swap of versions, nor a load under the same name, nor a changed configuration meets old answers."""
    x = {"x": np.zeros((1, 1), np.float32)}
    for number in (1, 2, 3):
        engine.load("m", MODELS[f"version_{number}"](), version="1", config=cached())
        for _ in range(2):
            assert int(engine.infer("m", x)["version"][0]) == number
        engine.unload("m")


def test_84_unloading_gives_the_memory_back(engine: anya.Engine) -> None:
    """84: the entries of a version that is unloaded are freed with it."""

    def resident() -> int:
        gc.collect()
        (line,) = re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(line) << 10

    engine.load("m", MODELS["unnamed_batch"](), config=cached(capacity_bytes=1 << 28))
    for number in range(60):
        engine.infer("m", np.full((80_000, 3), number, np.float32))
    held = engine.cache_stats("m").bytes
    assert held > 60 * 2 * 960_000  # question and answer
    before = resident()
    engine.unload("m")
    assert before - resident() > held // 2


def test_85_a_herd(engine: anya.Engine, load: Load) -> None:
    """85: many threads ask the same at once: one run, everybody is answered."""
    load("slow", config=cached())
    feeds = slow_inputs(spins=3000)
    answers: list[Any] = []
    start = threading.Barrier(24)

    def ask() -> None:
        start.wait()
        answers.append(engine.infer("slow", feeds)["y"])

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    assert len(answers) == 24
    for answer in answers:
        np.testing.assert_array_equal(answer, 2 * feeds["x"])
    assert stats_of(engine, "slow").batches == 1


@pytest.mark.parametrize("on_leader_error", ["fail", "rerun"])
def test_85_the_leader_fails(engine: anya.Engine, load: Load, on_leader_error: Any) -> None:
    """85: the run that others wait for fails: by policy they fail with it or run themselves; none is lost."""
    load("poison", config=cached(on_leader_error=on_leader_error))
    bad = {"i": np.array([1000], np.int64)}
    for _ in range(20):
        futures = [engine.submit("poison", bad) for _ in range(8)]
        for future in futures:
            assert isinstance(future.exception(HUNG), anya.ExecutionError)
    stats = stats_of(engine, "poison")
    assert stats.ended["EXECUTION_ERROR"] == 160
    assert stats.cache.entries == 0
    until(lambda: stats_of(engine, "poison").in_flight == 0)
    assert stats.batches == 160 if on_leader_error == "rerun" else stats.batches < 160


def test_87_errors_and_odd_numbers_are_not_kept(engine: anya.Engine, load: Load) -> None:
    """87: an answer with NaN in it is given and not kept; neither is an error."""
    load("unnamed_batch", config=cached())
    load("poison", config=cached())
    odd = np.array([[np.nan, np.inf, 1.0]], np.float32)
    for _ in range(2):
        assert np.isnan(engine.infer("unnamed_batch", odd)["y"][0, 0])
        with pytest.raises(anya.ExecutionError):
            engine.infer("poison", {"i": np.array([1000], np.int64)})
    for name in ("unnamed_batch", "poison"):
        stats = engine.cache_stats(name)
        assert (stats.entries, stats.misses, stats.hits) == (0, 2, 0)
