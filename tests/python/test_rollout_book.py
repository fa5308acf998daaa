# SPDX-License-Identifier: Apache-2.0
"""Two processes' halves of a group in one process, with a clock of the test: who judges what, and how often."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from python.rollouts import asked, load_versions
from python.support import run_python

import anya_engine as anya
from anya_engine._deployments import Deployments
from anya_engine._process_group import ProcessGroup

POLICY = anya.Canary(steps=(50,), metrics=("clicks",), interval=10.0, min_duration=900.0, slo=0.2)


class Process:
    """What a process of a group has: an engine, and a half of the group that only looks when it is told to."""

    def __init__(self, group: Path, versions: tuple[int, ...] = (1, 2)) -> None:
        self.now = 1000.0
        self.engine = anya.Engine()
        load_versions(self.engine, *versions)
        self.half = Deployments(
            self.engine._models, self.engine._callbacks.queue, group=ProcessGroup(str(group)), clock=lambda: self.now
        )
        self.half._stopped = True  # no thread of its own

    def end(self) -> None:
        """Close all."""
        self.half.stop()
        self.engine.close()

    def tick(self, now: float) -> None:
        """Look at this time; not for the rest of a look that it was told to die in."""
        self.now = now
        self.half.tick()

    def report(self, keys: range, bad: bool = False) -> None:
        """The service has heard of these users."""
        for key in keys:
            self.half.report("m", "clicks", bad, key)

    def counted(self) -> int:
        """Users that the judge knows of."""
        evidence = self.half.status("m").evidence["clicks"]
        return evidence.new + evidence.old


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    """Two of them."""
    made = [Process(tmp_path / "group") for _ in range(2)]
    yield made
    for process in made:
        process.end()


class Killed(BaseException):
    """Where a process would be gone."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_count_is_judged_once_whoever_dies_when(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """A judge gone before its verdict was in place has judged nothing, one gone after it has judged all, for ever."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    for process, keys in ((first, range(100)), (second, range(50, 150))):
        process.report(keys)
    replace = os.replace

    def die(*arguments: object, **more: object) -> None:
        if when == "after":
            replace(*arguments, **more)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die)
        with pytest.raises(Killed):
            first.tick(1010.5)
    first.half.stop()
    for window in range(1, 20):  # as many as come to lie in the same place, and more
        second.tick(1000.5 + 10 * window)
        assert second.counted() == 150


def test_one_of_them_judges_the_other_knows(processes: list[Process]) -> None:
    """A window is judged by whoever looks first; the other has the same evidence."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    for window, judge in ((1, first), (2, second), (3, first)):
        for process in processes:
            process.report(range(100 * window, 100 * window + 100))
        judge.tick(1000.5 + 10 * window)
        assert [process.counted() for process in processes] == [100 * window] * 2


def test_evidence_of_both_rolls_back_both(processes: list[Process]) -> None:
    """Bad events reported half here and half there are enough together; each alone has seen too few."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    new = [key for key in range(400) if int(first.engine._models.serving["m"].pick(key).version) == 2]  # type: ignore[union-attr]
    for process, keys in ((first, new[::2]), (second, new[1::2])):
        for key in keys[:8]:
            process.report(range(key, key + 1), bad=True)
    for process in processes:
        process.report(range(1000, 1200))
    second.tick(1010.5)
    assert second.half.status("m").state == "rolled_back"
    assert first.half.status("m").state == "rolled_back"


def test_alone_the_same_evidence_is_not_enough(tmp_path: Path) -> None:
    """The half of it that one process sees stops nothing: the test before this one is about the sum."""
    alone = Process(tmp_path / "group")
    alone.half.deploy("m", "2", POLICY)
    new = [key for key in range(400) if int(alone.engine._models.serving["m"].pick(key).version) == 2]  # type: ignore[union-attr]
    for key in new[::2][:8]:
        alone.report(range(key, key + 1), bad=True)
    alone.report(range(1000, 1200))
    alone.tick(1010.5)
    assert alone.half.status("m").state == "progressing"
    alone.end()


def test_nobody_looked_for_long(processes: list[Process]) -> None:
    """Windows that have run into each other are thrown away by whoever finds them, once, for both."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    first.report(range(100))
    first.tick(1500.0)
    second.tick(1500.0)
    assert [process.counted() for process in processes] == [0, 0]
    second.now = 1500.0
    second.report(range(100))
    first.tick(1510.5)  # a look judges one window, and there is an empty one before it
    first.tick(1510.5)
    assert second.counted() == 100


def test_a_group_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    """A folder that others may write in, or that is none, is refused before anything is mapped."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    with pytest.raises(anya.ConfigError, match="writable by nobody else") as caught:
        anya.Engine(anya.EngineConfig(process_group=shared))
    assert caught.value.field == "process_group" and caught.value.value == str(shared)
    file = tmp_path / "file"
    file.touch()
    for folder in (file, file / "below", "/proc/nothing"):
        with pytest.raises(anya.ConfigError, match="process_group: "):
            anya.Engine(anya.EngineConfig(process_group=folder))


@pytest.mark.parametrize("what", ["link", "folder", "pipe", "short counts"])
def test_what_is_no_file_of_ours_is_not_followed(processes: list[Process], tmp_path: Path, what: str) -> None:
    """A link, a folder or a pipe in a file's place, or counts that were cut, are errors in words; requests go on."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    (state,) = (tmp_path / "group").glob("*.state")
    if what == "short counts":
        (counts,) = (tmp_path / "group").glob("*.counts")
        whole = counts.read_bytes()
        counts.unlink()
        counts.write_bytes(whole[:4096])
        second.tick(1000.0)
        assert "4096 bytes instead of" in second.half.status("m").out_of_step
        assert second.half.rollback("m").state == "rolled_back"
        return
    content = state.read_bytes()
    state.unlink()
    if what == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        state.symlink_to(tmp_path / "elsewhere")
    elif what == "folder":
        state.mkdir()
    else:
        os.mkfifo(state)
    with pytest.raises((anya.ConfigError, anya.Unavailable), match="process_group: .*m-.*state"):
        second.half.rollback("m")
    assert str(state) in second.half.status("m").out_of_step
    second.tick(1000.0)
    assert asked(second.engine) in (1, 2)


def test_a_full_disk_stops_the_rollout_and_says_so(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be told the others has not happened: both are where they were, and status says why."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    first.report(range(50))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(anya.Unavailable, match="cannot be written: No space left"):
            first.half.pause("m")
        assert first.half.status("m").state == "progressing"
        second.tick(1010.5)
        assert "No space left" in second.half.status("m").out_of_step
    second.tick(1010.6)
    status = second.half.status("m")
    assert (status.out_of_step, second.counted()) == ("", 50)


def test_the_lock_is_waited_for_but_not_for_ever(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the lock a change is refused in words after a while, and a look does not wait."""
    first, second = processes
    first.half.deploy("m", "2", POLICY)
    second.tick(1000.0)
    monkeypatch.setattr("anya_engine._rollout_book.RolloutBook.changing.__wrapped__.__defaults__", (0.01,))
    with first.half._book.changing("m"):
        with pytest.raises(anya.Unavailable, match="has been changing"):
            second.half.pause("m")
        second.tick(1010.5)
        assert second.half.status("m").out_of_step == ""
    second.half.pause("m")


def test_a_configuration_cannot_change_the_group(tmp_path: Path) -> None:
    """The group is what the engine was made with; a file's relative path is relative to the file."""
    file = tmp_path / "engine.toml"
    file.write_text('process_group = "group"\n')
    with anya.Engine.from_file(file) as engine:
        assert (tmp_path / "group" / "members").exists()
        assert not engine.apply(file)
        for config in (anya.EngineConfig(), anya.EngineConfig(process_group=tmp_path / "other")):
            for do in (engine.plan, engine.apply):
                with pytest.raises(anya.ConfigError, match="process_group: must be what"):
                    do(config)
    assert anya.EngineConfig.from_toml(file).to_toml() == f'process_group = "{tmp_path / "group"}"\n'


def test_a_forked_child_holds_nothing() -> None:
    """A child lets go of what its parent holds: once the parent has left, the group is dead, and status is refused."""
    done = run_python(
        """
        import tempfile
        folder = tempfile.mkdtemp()
        config = anya.EngineConfig(process_group=folder)
        def engine_with_versions():
            engine = anya.Engine(config)
            for version in ("1", "2"):
                engine.load("m", MODELS["version_" + version](), version=version)
            return engine
        engine = engine_with_versions()
        engine.deploy("m", "2", anya.Shadow())
        hold, release = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os.close(release)
            try:
                engine.status("m")
            except anya.Unavailable as error:
                assert "fork" in str(error)
            os.read(hold, 1)
            sys.exit(0)
        engine.close()
        again = engine_with_versions()
        print(again.status("m").state)
        os.close(release)
        assert os.waitpid(child, 0)[1] == 0
        again.close()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "idle\n", "")
