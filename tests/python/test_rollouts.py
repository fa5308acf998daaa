# SPDX-License-Identifier: Apache-2.0
"""Blue-green and canary on the engine: what answers whom, and how rollouts end."""

from __future__ import annotations

import asyncio
import logging
import threading

import numpy as np
import pytest
from python.rollouts import LOST, QUICK, X, ask_poison, asked, load_versions, work_until
from python.support import HUNG, said, until

import anya_engine as anya

# ---- blue-green


def test_blue_green_moves_everything_and_back(engine: anya.Engine) -> None:
    """After deploy every request is answered by the new version, after rollback by the old one."""
    load_versions(engine, 1, 2)
    assert asked(engine) == 1
    status = engine.deploy("m", "2", anya.BlueGreen())
    assert (status.state, status.stable, status.rollback_to, status.weights) == ("promoted", "2", "1", {"2": 100.0})
    assert [asked(engine, key) for key in (None, "a", 7)] == [2, 2, 2]
    status = engine.rollback("m")
    assert (status.state, status.stable, status.rollback_to) == ("rolled_back", "1", None)
    assert asked(engine) == 1
    assert [event.move for event in status.events] == ["switch", "rollback"]


def test_a_version_that_was_rolled_back_may_be_deployed_again(engine: anya.Engine) -> None:
    """There and back and there again."""
    load_versions(engine, 1, 2)
    for _ in range(3):
        engine.deploy("m", "2", anya.BlueGreen())
        assert asked(engine) == 2
        engine.rollback("m")
        assert asked(engine) == 1


def test_the_loser_is_unloaded_when_its_time_is_over(engine: anya.Engine) -> None:
    """With keep_warm=0 the old version goes by itself, and rollback says that there is nothing to go back to."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.BlueGreen(keep_warm=0))
    work_until(lambda: len(engine.models()) == 1, lambda _: asked(engine))
    with pytest.raises(anya.ConfigError, match="no longer loaded"):
        engine.rollback("m")
    assert asked(engine) == 2


def test_a_rollout_that_begins_while_a_loser_is_unloaded(engine: anya.Engine) -> None:
    """The thread of rollouts may take its time to unload a version: what is deployed meanwhile is looked after too."""
    load_versions(engine, 1, 2, 3)
    unload = engine._deployments._unload
    unloading, go_on = threading.Event(), threading.Event()

    def slowly(name: str, version: str) -> None:
        unloading.set()
        assert go_on.wait(HUNG)
        unload(name, version)

    engine._deployments._unload = slowly  # type: ignore[method-assign]
    engine.deploy("m", "2", anya.BlueGreen(keep_warm=0))
    assert unloading.wait(HUNG)
    engine.deploy("m", "3", anya.BlueGreen(keep_warm=0))
    go_on.set()
    work_until(lambda: [info.version for info in engine.models()] == ["3"], lambda _: asked(engine))


def test_a_switch_under_load_fails_nobody(engine: anya.Engine) -> None:
    """While versions switch back and forth, every request is answered, by a version that was in force."""
    load_versions(engine, 1, 2)
    answers: set[int] = set()
    errors: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        try:
            while not stop.is_set():
                answers.add(asked(engine))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        engine.deploy("m", "2", anya.BlueGreen())
        engine.rollback("m")
    stop.set()
    for thread in threads:
        thread.join(HUNG)
    assert errors == []
    assert answers <= {1, 2}


# ---- canary


def test_a_good_canary_is_promoted_with_nobody_polling(engine: anya.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The engine moves a canary on by itself while requests come; every step is an event and a log line."""
    load_versions(engine, 1, 2)
    caplog.set_level(logging.INFO, "anya_engine")
    engine.deploy("m", "2", anya.Canary(steps=(20, 50), slo=0.2, **QUICK))
    work_until(lambda: any("move=promote" in line for line in caplog.messages), lambda number: asked(engine, number))
    status = engine.status("m")
    assert (status.state, status.stable, status.weights) == ("promoted", "2", {"2": 100.0})
    assert [event.move for event in status.events] == ["start", "advance", "promote"]
    assert sum("rollout model=m" in record.getMessage() for record in said(caplog)) == 3
    assert asked(engine) == 2
    assert engine.rollback("m").stable == "1"


def test_a_bad_canary_goes_back_by_itself(poisoned: anya.Engine) -> None:
    """A version that fails where the old one answers is rolled back, and the reason names metric and counts."""
    poisoned.deploy("p", "2", anya.Canary(steps=(20, 50), **QUICK))
    failed = 0

    def ask(number: int) -> None:
        nonlocal failed
        failed += not ask_poison(poisoned, LOST if number % 2 else 1, number)

    work_until(lambda: poisoned.status("p").state != "progressing", ask)
    status = poisoned.status("p")
    assert (status.state, status.verdict, status.stable) == ("rolled_back", "failed", "1")
    assert "errors" in status.why and "against" in status.why
    assert status.evidence["errors"].against >= 100
    assert failed > 0
    assert all(ask_poison(poisoned, LOST, number) for number in range(50))


def test_keys_stick_and_stay_as_the_share_grows(engine: anya.Engine) -> None:
    """A key has one version throughout a step, and who is with the new one stays there at the next step."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(10, 60), slo=0.2, **QUICK))
    keys = [f"user-{number}" for number in range(300)]
    before = {key: asked(engine, key) for key in keys}
    assert before == {key: asked(engine, key) for key in keys} or engine.status("m").step > 0
    work_until(lambda: engine.status("m").step == 1, lambda number: asked(engine, number))
    after = {key: asked(engine, key) for key in keys}
    if engine.status("m").step == 1:
        assert all(after[key] == 2 for key in keys if before[key] == 2)


def test_the_share_is_the_steps(engine: anya.Engine) -> None:
    """Of many keys the step's share meets the new version; so do requests without a key; another rollout, others."""
    load_versions(engine, 1, 2)
    slow = anya.Canary(steps=(25,), min_duration=600.0)
    chosen = []
    for _ in range(2):
        engine.deploy("m", "2", slow)
        chosen.append({key for key in range(4000) if asked(engine, key) == 2})
        assert 850 < len(chosen[-1]) < 1150
        engine.rollback("m")
    assert 150 < len(chosen[0] & chosen[1]) < 350  # a quarter of a quarter: chosen independently
    engine.deploy("m", "2", slow)
    assert 850 < sum(asked(engine) == 2 for _ in range(4000)) < 1150


def test_a_named_version_answers_whatever_is_deployed_and_is_not_judged(poisoned: anya.Engine) -> None:
    """Requests that name the canary's version get it; their failures are no evidence."""
    poisoned.deploy("p", "2", anya.Canary(steps=(20,), **QUICK))
    for _ in range(200):
        with pytest.raises(anya.ExecutionError):
            poisoned.infer("p", {"i": np.array([LOST], np.int64)}, version="2")
    work_until(lambda: poisoned.status("p").evidence["errors"].new > 20, lambda number: ask_poison(poisoned, 1, number))
    status = poisoned.status("p")
    assert status.state != "rolled_back"
    assert status.evidence["errors"].new_bad == 0


def test_without_evidence_a_canary_waits_for_somebody(engine: anya.Engine) -> None:
    """Silence promotes nothing: after max_step_duration the canary pauses, and says what it lacks."""
    load_versions(engine, 1, 2)
    policy = anya.Canary(steps=(5,), interval=0.01, min_duration=0.01, max_step_duration=0.05)
    engine.deploy("m", "2", policy)
    until(lambda: engine.status("m").state == "paused")
    status = engine.status("m")
    assert status.verdict == "inconclusive" and "0 of 300 requests" in status.why
    assert engine.resume("m").state == "progressing"
    until(lambda: engine.status("m").state == "paused")
    assert engine.promote("m").stable == "2"
    assert asked(engine) == 2


def test_a_failing_canary_may_wait_instead(poisoned: anya.Engine) -> None:
    """on_failure="pause": the share stays, nothing goes further, until somebody rolls back."""
    poisoned.deploy("p", "2", anya.Canary(steps=(30,), on_failure="pause", **QUICK))
    work_until(lambda: poisoned.status("p").state == "paused", lambda number: ask_poison(poisoned, LOST, number))
    status = poisoned.status("p")
    assert status.verdict == "failed" and status.weights == {"1": 70.0, "2": 30.0}
    assert poisoned.rollback("p").state == "rolled_back"


def test_a_services_own_metric_is_judged(engine: anya.Engine) -> None:
    """What the service reports by key counts for the version of that key, and can roll a canary back."""
    load_versions(engine, 1, 2)
    policy = anya.Canary(steps=(30,), metrics=("complaints",), **QUICK)
    engine.deploy("m", "2", policy)

    def work(number: int) -> None:
        version = asked(engine, number)
        engine.report("m", "complaints", bad=version == 2 and number % 2 == 0, key=number)

    work_until(lambda: engine.status("m").state != "progressing", work)
    status = engine.status("m")
    assert status.state == "rolled_back" and "complaints" in status.why
    engine.report("m", "complaints", bad=True, key=1)  # nobody listens any more


@pytest.mark.parametrize("way", ["infer", "submit", "async"])
def test_every_way_to_ask_is_routed(engine: anya.Engine, way: str) -> None:
    """submit, infer_async and their detailed kin meet the same version for a key as infer does."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(50,), min_duration=600.0))

    async def both(key: int) -> tuple[int, str]:
        outputs = await engine.infer_async("m", X, key=key)
        return int(outputs["version"][0]), (await engine.infer_detailed_async("m", X, key=key)).version

    for key in range(40):
        wanted = asked(engine, key)
        if way == "infer":
            assert engine.infer_detailed("m", X, key=key).version == str(wanted)
        elif way == "submit":
            assert int(engine.submit("m", X, key=key).result(HUNG)["version"][0]) == wanted
        else:
            assert asyncio.run(both(key)) == (wanted, str(wanted))
