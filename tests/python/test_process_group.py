# SPDX-License-Identifier: Apache-2.0
"""Rollouts of several processes: real workers that go through them together, whoever of them is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from python.group_workers import Refused, Worker, Workers, all_say, ended, work_until
from python.rollouts import LOST
from python.support import HUNG

#: A canary that judges errors as soon as it can.
QUICK = "metrics=('errors',), interval=0.1, min_duration=0.2, min_requests=150, slo=0.2"
#: One that nothing moves.
STILL = "steps=(30,), min_duration=900.0"


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Workers that the tests of this file share; each test's are in a group of its own."""
    with ended(Workers(tmp_path_factory.mktemp("models"))) as made:
        yield made


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "group"


def wait_for(condition: Callable[[], bool]) -> None:
    """Until something is so."""
    end = time.monotonic() + HUNG
    while not condition():
        assert time.monotonic() < end


def wait(workers: list[Worker], **wanted: object) -> None:
    """Until every worker's status has these values."""
    end = time.monotonic() + HUNG
    while not all_say(workers, **wanted):
        assert time.monotonic() < end, [worker.do("status()") for worker in workers]


def test_all_roll_back_on_errors_that_one_has_seen(workers: Workers, group: Path) -> None:
    """One worker's requests fail with the new version; all of them go back, with the same reason."""
    team = workers.open(group)
    team[0].do(f"deploy(steps=(50,), {QUICK})")
    wait(team, state="progressing", weights={"1": 50.0, "2": 50.0})
    work_until(team, lambda: team[1].do("status()")["state"] == "rolled_back", LOST, only=[team[2]])
    wait(team, state="rolled_back", stable="1", moves=["start", "rollback"])
    whys = {worker.do("status()")["why"] for worker in team}
    assert len(whys) == 1 and "errors" in whys.pop()
    assert [worker.do(f"work({LOST}, 0, 100)") for worker in team] == [0, 0, 0]


def test_all_advance_on_the_sum_of_their_counts(workers: Workers, group: Path) -> None:
    """No worker has seen enough by itself, together they have; each step is taken by all."""
    team = workers.open(group)
    team[1].do("deploy(steps=(20, 50), metrics=('errors',), interval=0.1, min_duration=0.2, min_requests=30, slo=0.2)")
    asked = dict.fromkeys(range(3), 0)
    steps = set()
    end = time.monotonic() + HUNG
    while not all_say(team, state="promoted", stable="2", moves=["start", "advance", "promote"]):
        assert time.monotonic() < end
        for index, worker in enumerate(team):
            worker.do(f"work(1, {1000 * index + asked[index]}, 10)")
            asked[index] += 10
            steps.add(tuple(worker.do("status()")["moves"]))
    assert ("start",) in steps
    assert max(asked.values()) < team[0].do("status()")["counted"] <= sum(asked.values())


def test_a_key_meets_the_same_version_in_every_worker(workers: Workers, group: Path) -> None:
    """Salt and share are the group's: it does not matter which worker a user's request comes to."""
    team = workers.open(group)
    team[0].do(f"deploy('m', {STILL})")
    wait_for(lambda: all(worker.do("status('m')")["weights"] == {"1": 70.0, "2": 30.0} for worker in team))
    answers = [worker.do("versions_of(200)") for worker in team]
    assert answers[0] == answers[1] == answers[2]
    assert 30 < answers[0].count(2) < 90


def test_what_is_done_by_hand_in_one_worker_happens_in_all(workers: Workers, group: Path) -> None:
    """pause, resume, promote and rollback reach every worker, and so does the version that is unloaded in the end."""
    team = workers.open(group)
    one, two, three = team
    one.do(f"deploy({STILL}, keep_warm=0.3)")
    with pytest.raises(Refused, match="ConfigError.*is in a canary rollout"):
        two.do(f"deploy({STILL})")
    two.do("engine.pause('p') and None")
    wait(team, state="paused")
    three.do("engine.resume('p') and None")
    wait(team, state="progressing")
    one.do("engine.promote('p') and None")
    wait(team, state="promoted", stable="2", weights={"2": 100.0})
    wait(team, versions=["2"], rollback_to=None)
    for worker in team:
        with pytest.raises(Refused, match="nothing to go back to"):
            worker.do("engine.rollback('p')")


def test_the_others_follow_with_nobody_asking(workers: Workers, group: Path) -> None:
    """A switch and its rollback reach workers that only answer requests: nobody asks them for a status."""
    team = workers.open(group)
    team[0].do("deploy(strategy='BlueGreen')")
    wait_for(lambda: [worker.do(f"work({LOST}, 0, 1)") for worker in team] == [1, 1, 1])
    team[1].do("engine.rollback('p') and None")
    wait_for(lambda: [worker.do(f"work({LOST}, 0, 1)") for worker in team] == [0, 0, 0])


def test_blue_green_and_shadow_are_shared_too(workers: Workers, group: Path) -> None:
    """A switch switches all, its rollback all back; a shadow is told of by all, and promoted by all."""
    team = workers.open(group)
    team[0].do("deploy(strategy='BlueGreen')")
    wait(team, state="promoted", stable="2", rollback_to="1")
    team[1].do("engine.rollback('p') and None")
    wait(team, state="rolled_back", stable="1")
    team[2].do("deploy(strategy='Shadow', share=1.0)")
    wait(team, state="progressing", stable="1")
    team[0].do("engine.promote('p') and None")
    wait(team, state="promoted", stable="2", moves=["start", "promote"])


def test_whoever_is_killed_the_rest_go_on(workers: Workers, group: Path) -> None:
    """Two of three workers are killed in the middle of a rollout, and the last one finishes it with their evidence."""
    team = workers.open(group)
    team[0].do("deploy(steps=(20, 50), metrics=('errors',), interval=0.1, min_duration=0.2, min_requests=100, slo=0.2)")
    work_until(team, lambda: team[2].do("status()")["new"] >= 20)
    before = team[2].do("status()")
    team[0].kill()
    work_until(team, lambda: team[2].do("status()")["step"] >= 1)
    team[1].kill()
    work_until(team, lambda: team[2].do("status()")["state"] == "promoted")
    after = team[2].do("status()")
    assert after["new"] > before["new"] >= 20
    assert after["moves"] == ["start", "advance", "promote"]


@pytest.mark.parametrize("how", ["die_while_writing", "die_after_writing"])
def test_killed_while_judging(workers: Workers, group: Path, how: str) -> None:
    """A worker dies with the lock in hand, before or after its verdict is in place: the other goes on."""
    team = workers.open(group, 2)
    team[0].do("deploy(steps=(50,), metrics=('errors',), interval=1.0, min_requests=900, slo=0.2)")
    wait(team, state="progressing")
    (lock,) = group.glob("p-*.lock")
    team[1].stop(lock)
    team[0].do("work(1, 0, 100)")
    before = team[0].do("status()")["new"]
    team[0].do(f"{how}(1)")
    wait_for(lambda: not team[0].alive)
    team[1].go_on()
    wait_for(lambda: team[1].do("status()")["new"] > before)
    counted = team[1].do("status()")
    assert counted["new"] + before <= 100
    assert counted["state"] == "progressing"


@pytest.mark.parametrize(("how", "then"), [("die_while_writing", "progressing"), ("die_after_writing", "paused")])
def test_killed_while_telling_the_others(workers: Workers, group: Path, how: str, then: str) -> None:
    """What a killed worker was doing by hand has happened or it has not; the others are in one of both states."""
    team = workers.open(group, 2)
    team[0].do(f"deploy({STILL})")
    wait(team, state="progressing")
    team[0].do(f"{how}(1)")
    team[0].begin("engine.pause('p')")
    wait_for(lambda: not team[0].alive)
    wait(team[1:], state=then)
    team[1].do("engine.promote('p') and None")
    assert team[1].do("status()")["state"] == "promoted"


def test_who_comes_later_goes_where_the_others_are(workers: Workers, group: Path) -> None:
    """A worker that starts in the middle has the rollout before its first answer, evidence and reasons included."""
    team = workers.open(group)
    late = team.pop()
    late.do("close()")
    team[0].do(f"deploy('m', {STILL})")
    team[0].do(f"deploy(steps=(40,), {QUICK.replace('150', '100000')})")
    work_until(team, lambda: team[1].do("status()")["new"] >= 20)
    late.do(f"open_group({str(group)!r})")
    assert late.do("versions_of(100)") == team[0].do("versions_of(100)")
    status = late.do("status()")
    assert (status["weights"], status["state"], status["moves"]) == ({"1": 60.0, "2": 40.0}, "progressing", ["start"])
    assert status["new"] >= 20


def test_who_lacks_a_version_says_so_and_answers_with_what_it_has(workers: Workers, group: Path) -> None:
    """Without the new version a worker answers as before, may still roll the others back, and joins once it has it."""
    team = workers.open(group)
    lacking = team[2]
    lacking.do(f"open_group({str(group)!r}, (1,))")
    team[0].do(f"deploy({STILL})")
    wait([lacking], state="progressing")
    status = lacking.do("status()")
    assert "answers as before" in status["out_of_step"] and "no version '2'" in status["out_of_step"]
    assert lacking.do(f"work({LOST}, 0, 100)") == 0
    lacking.do("engine.rollback('p') and None")
    wait(team, state="rolled_back", out_of_step="")
    team[1].do(f"deploy({STILL})")
    wait([lacking], state="progressing")
    lacking.do("load('p', 2)")
    assert lacking.do("status()")["out_of_step"] == ""
    assert lacking.do(f"work({LOST}, 0, 100)") > 0


def test_other_bytes_under_a_versions_name_are_refused(workers: Workers, group: Path) -> None:
    """A worker whose version 2 is another model takes no part in answering, and says which digest is which."""
    team = workers.open(group)
    odd = team[2]
    odd.do(f"open_group({str(group)!r}, (1,))")
    odd.do("load('p', 2, like=1)")
    team[0].do("deploy(strategy='BlueGreen', keep_warm=900.0)")
    wait(team[:2], state="promoted", out_of_step="")
    wait([odd], state="promoted")
    assert "another model here" in odd.do("status()")["out_of_step"]
    assert odd.do(f"work({LOST}, 0)") == 0
    with pytest.raises(Refused, match="ConfigError.*another model here"):
        odd.do(f"deploy(version='1', {STILL})")


def test_a_state_that_somebody_has_spoilt(workers: Workers, group: Path) -> None:
    """Changes are refused with the path and the way out, requests are answered, and taking the file away mends it."""
    team = workers.open(group, 2)
    team[0].do(f"deploy({STILL})")
    wait(team, state="progressing")
    (state,) = group.glob("p-*.state")
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    for worker in team:
        with pytest.raises(Refused, match=f"ConfigError.*{state}.*cut short.*Remove the file"):
            worker.do("engine.rollback('p')")
        assert "cut short" in worker.do("status()")["out_of_step"]
        assert worker.do("work(1, 0)") == 0
    state.unlink()
    wait(team, out_of_step="", state="progressing")
    team[1].do("engine.rollback('p') and None")
    wait(team, state="rolled_back")


def test_what_a_dead_group_left_is_forgotten(workers: Workers, group: Path) -> None:
    """When all workers have been killed, the first of the next ones begins without their rollout."""
    team = workers.open(group, 2)
    team[0].do(f"deploy({STILL})")
    for worker in team:
        worker.kill()
    assert list(group.glob("p-*.state"))
    team = workers.open(group, 2)
    assert all_say(team, state="idle", weights={"1": 100.0})
    team[1].do(f"deploy({STILL})")
    wait(team, state="progressing")
