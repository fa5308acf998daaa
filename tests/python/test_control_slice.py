# SPDX-License-Identifier: Apache-2.0
"""`Canary(control=True)`: a slice of the old version's keys that the new one is judged against."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python.rollouts import LOST, QUICK, X, ask_poison, asked, load_versions, work_until
from python.support import slow_inputs, until

import anya_engine as anya
from anya_engine import _core
from anya_engine._routing import Split

SLOW: dict[str, Any] = {"min_duration": 600.0}


def split(share: float) -> Split[str]:
    """A split with a control slice, over names."""
    return Split(
        canary="canary",
        control="control",
        stable="stable",
        share=share,
        salt=3,
        position=_core.key_position,
        draw=lambda: 0.0,
    )


@settings(max_examples=50)
@given(st.integers(), st.lists(st.floats(0.0001, 0.5), min_size=2, max_size=6))
def test_a_key_in_a_slice_stays_in_it(key: int, shares: list[float]) -> None:
    """While the steps grow a key only ever goes from the rest into one of the two slices, and never out of it."""
    arms = [split(share).pick(key) for share in sorted(shares)]
    first = next((index for index, arm in enumerate(arms) if arm != "stable"), len(arms))
    assert set(arms[:first]) <= {"stable"}
    assert len(set(arms[first:])) <= 1


def test_the_slices_are_of_one_size() -> None:
    """At 20 % a fifth of the keys is with the new version and another fifth is the control slice; at 50 % all are."""
    arms = [split(0.2).pick(key) for key in range(10_000)]
    assert 1850 < arms.count("canary") < 2150
    assert 1850 < arms.count("control") < 2150
    assert {split(0.5).pick(key) for key in range(1000)} == {"canary", "control"}


def test_a_canary_beyond_half_has_no_room_for_control() -> None:
    """Steps above 50 % are refused with control, and nothing else is."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.Canary(steps=(10, 51), control=True)
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("steps", 50, 51.0)
    assert anya.Canary(steps=(10, 50), control=True).control
    assert anya.Canary(steps=(10, 99)).steps == (10, 99)


def test_the_slice_answers_like_the_version_and_counts_as_it(engine: anya.Engine) -> None:
    """Every key of the old version gets its answer; the version's counters show each request once, also afterwards."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(25,), control=True, **SLOW))
    answers = [asked(engine, key) for key in range(2000)]
    assert set(answers) == {1, 2}
    old = answers.count(1)
    during = {model.version: model for model in engine.stats().models}
    assert (during["1"].accepted, during["1"].ended["OK"]) == (old, old)
    assert during["1"].instances == 2 * during["2"].instances
    assert sum(during["1"].batch_size.counts) == during["1"].batches == old
    engine.rollback("m")
    until(lambda: engine.stats().models[0].instances == during["2"].instances)
    after = engine.stats().models[0]
    assert (after.accepted, after.ended["OK"], after.in_flight) == (old, old, 0)
    assert sum(after.request_duration.counts) == old


def test_the_judge_counts_the_slice_alone(engine: anya.Engine) -> None:
    """Of the old version's requests the evidence has those of the control slice: as many as the new version's."""
    load_versions(engine, 1, 2)
    policy = anya.Canary(steps=(10,), control=True, max_step_duration=600.0, interval=0.05, min_duration=600.0)
    engine.deploy("m", "2", policy)
    work_until(lambda: engine.status("m").evidence["errors"].new > 300, lambda number: asked(engine, number))
    evidence = engine.status("m").evidence["errors"]
    assert 0.6 < evidence.old / evidence.new < 1.6


def test_errors_of_the_rest_are_no_evidence(poisoned: anya.Engine) -> None:
    """A canary that fails is rolled back against its control slice, and the reason has the slice's counts."""
    poisoned.deploy("p", "2", anya.Canary(steps=(20, 50), control=True, **QUICK))
    work_until(lambda: poisoned.status("p").state != "progressing", lambda number: ask_poison(poisoned, LOST, number))
    status = poisoned.status("p")
    assert status.state == "rolled_back"
    evidence = status.evidence["errors"]
    assert evidence.new_bad == evidence.new > 0
    assert evidence.old < 4 * evidence.new  # all the rest would be four times as many, and more
    assert all(ask_poison(poisoned, LOST, number) for number in range(50))


def test_reports_of_the_rest_are_nobodys(engine: anya.Engine) -> None:
    """What the service reports of a key counts for the canary or the control slice, of another key for neither."""
    load_versions(engine, 1, 2)
    policy = anya.Canary(steps=(20,), control=True, metrics=("clicks",), interval=0.3, min_duration=600.0)
    engine.deploy("m", "2", policy)
    for key in range(1000):
        engine.report("m", "clicks", bad=False, key=key)
    until(lambda: engine.status("m").evidence["clicks"].new > 0 and engine.status("m").evidence["clicks"].old > 0)
    engine.rollback("m")
    evidence = engine.status("m").evidence["clicks"]
    assert evidence.new + evidence.old < 600


def test_the_slice_has_a_queue_of_its_own(engine: anya.Engine, load: Any) -> None:
    """While the old version's only instance is busy, a request of the control slice is answered."""
    one = anya.ModelConfig(instances=1)
    load("slow", name="m", version="1", config=one)
    load("slow", name="m", version="2", config=one)
    engine.deploy("m", "2", anya.Canary(steps=(30,), control=True, **SLOW))
    arms = engine._models.serving["m"]
    assert isinstance(arms, Split)
    keys: dict[object, int] = {arms.pick(key): key for key in range(100)}
    busy = engine.submit("m", slow_inputs(spins=1 << 40), key=keys[arms.stable])
    until(lambda: engine.stats().models[0].instances_busy == 1)
    try:
        engine.infer("m", slow_inputs(), key=keys[arms.control], timeout=20.0)
        assert not busy.done()
    finally:
        busy.cancel()


@pytest.mark.parametrize("end", ["promote", "rollback", "unload", "unload all"])
def test_the_slice_ends_with_the_rollout(engine: anya.Engine, end: str) -> None:
    """However a rollout ends, threads and instances of the slice are gone soon after, and another may begin."""
    load_versions(engine, 1, 2)
    threads = model_threads()
    for _ in range(3):
        engine.deploy("m", "2", anya.Canary(steps=(50,), control=True, **SLOW))
        assert model_threads() > threads
        assert {asked(engine, key) for key in range(50)} == {1, 2}
        if end == "unload all":
            engine.unload("m")
            load_versions(engine, 1, 2)
        elif end == "unload":
            engine.unload("m", "2")
            load_versions(engine, 2)
        elif end == "promote":
            engine.promote("m")
            engine.rollback("m")
        else:
            engine.rollback("m")
        until(lambda: model_threads() == threads)
        assert asked(engine, 1) == 1


def test_nobody_is_refused_when_the_slice_ends(engine: anya.Engine) -> None:
    """Requests on their way to the control slice while it ends are answered."""
    load_versions(engine, 1, 2)
    errors: list[BaseException] = []
    over = threading.Event()

    def ask(first: int) -> None:
        try:
            while not over.is_set():
                first += 1
                assert asked(engine, first) in {1, 2}
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number << 32,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for round_ in range(15):
        engine.deploy("m", "2", anya.Canary(steps=(50,), control=True, **SLOW))
        waiting = engine._models.serving["m"].pick(round_)  # as a request that has read the table and not asked yet
        engine.rollback("m")
        assert int(waiting.infer(X, None, None, None, None, None)["version"][0]) in {1, 2}
        del waiting
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_slice_that_cannot_be_made_changes_nothing(engine: anya.Engine) -> None:
    """When the second queue cannot be had, deploy raises what is wrong, and what answers is what answered."""
    load_versions(engine, 1, 2)
    engine._models.model("m", "1").unload()  # as by another thread that is on the way to taking it out
    before = engine._models.serving
    with pytest.raises(anya.Unavailable, match="model 'm:1' is being unloaded"):
        engine.deploy("m", "2", anya.Canary(steps=(50,), control=True, **SLOW))
    assert engine._models.serving is before
    assert engine.status("m").state == "idle"
    assert engine.deploy("m", "2", anya.BlueGreen()).stable == "2"
    assert asked(engine) == 2


def test_closing_with_a_slice_drains_it() -> None:
    """An engine that closes in mid-rollout answers what the slice had accepted, and leaves no thread."""
    threads = model_threads()
    with anya.Engine() as engine:
        load_versions(engine, 1, 2)
        engine.deploy("m", "2", anya.Canary(steps=(50,), control=True, **SLOW))
        futures = [engine.submit("m", X, key=key) for key in range(200)]
    assert {int(np.asarray(future.result(0)["version"])[0]) for future in futures} == {1, 2}
    assert model_threads() == threads


def model_threads() -> int:
    """How many threads models have in this process."""
    from pathlib import Path

    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:  # ended this moment
            continue
    return sum(name == "anya-m" for name in names)
