# SPDX-License-Identifier: Apache-2.0
"""_watch.py: what changes on disk is applied once it is whole, failures are told once, nobody's work is undone."""

from __future__ import annotations

import gc
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.make_models import MODELS
from python.plan_support import config, held, put, repository, who, write
from python.support import assert_clean, run_python, said, until

import anya_engine as anya
from anya_engine._watch import Watch

Log = pytest.LogCaptureFixture


def watch_of(engine: anya.Engine, file: Path | None = None) -> Watch:
    """A watch without a thread: it looks when `step` is called."""
    applier = engine._applier
    read = (lambda: applier.config) if file is None else (lambda: anya.EngineConfig.from_toml(file))
    return Watch(engine._models, applier, read, 1.0)


def warnings(caplog: Log) -> list[str]:
    """What was logged as a warning."""
    return [record.getMessage() for record in said(caplog) if record.levelno >= logging.WARNING]


@pytest.fixture
def served(engine: anya.Engine, tmp_path: Path) -> tuple[anya.Engine, Path, Watch]:
    """An engine over a repository of one version, the repository, and a watch that has seen it."""
    put(tmp_path, 1)
    engine.apply(repository(tmp_path))
    watch = watch_of(engine)
    assert watch.step() is None and watch.step() is None
    return engine, tmp_path, watch


Served = tuple[anya.Engine, Path, Watch]


def test_a_new_version_is_applied_once_it_has_settled(served: Served) -> None:
    """The first look that sees a version does nothing, the second one applies it, the third has nothing to do."""
    engine, root, watch = served
    put(root, 2)
    assert watch.step() is None
    assert held(engine) == {"m:1": "serving"}
    done = watch.step()
    assert done is not None and str(done).startswith("load    m 2")
    assert held(engine) == {"m:1": "warm", "m:2": "serving"}
    assert watch.step() is None
    assert who(engine) == 2


def test_a_copy_in_progress_is_not_loaded(served: Served, caplog: Log) -> None:
    """A version that grows from look to look is not touched; what has settled beside it is applied meanwhile."""
    engine, root, watch = served
    whole = MODELS["version_3"]()
    for part in (10, 20, 40):
        put(root, 3, data=whole[:part])
        watch.step()
    put(root, 1, name="other")
    put(root, 3, data=whole[:50])
    watch.step()
    put(root, 3, data=whole[:60])
    assert watch.step() is not None
    assert held(engine) == {"m:1": "serving", "other:1": "serving"}
    put(root, 3)
    watch.step()
    watch.step()
    assert who(engine) == 3
    assert warnings(caplog) == []


def test_a_version_that_does_not_load_is_told_once(served: Served, caplog: Log) -> None:
    """A failure is logged once, everything is as it was, and a repaired version is taken at once."""
    engine, root, watch = served
    put(root, 2, data=b"half a model")
    for _ in range(20):
        assert watch.step() is None
    [said] = warnings(caplog)
    assert "APPLY_ERROR" in said and "load m 2" in said and "everything is as it was" in said
    assert held(engine) == {"m:1": "serving"}
    put(root, 2, data=b"half a model")
    watch.step()
    watch.step()
    assert len(warnings(caplog)) == 1  # the same words, of other files
    put(root, 2)
    watch.step()
    assert watch.step() is not None
    assert who(engine) == 2


def test_failures_are_tried_ever_more_seldom(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that failed is tried again after 1, 2, 4 … looks: what was a passing trouble passes."""
    engine, root, watch = served
    opened = engine._models.open
    tries: list[int] = []

    def failing(*arguments: Any) -> Any:
        tries.append(look)
        raise anya.OutOfMemory("no memory for now")

    engine._models.open = failing  # type: ignore[method-assign]
    put(root, 2)
    for look in range(140):  # noqa: B007  # read by failing
        watch.step()
    assert tries == [1, 3, 6, 11, 20, 37, 70, 135]
    engine._models.open = opened  # type: ignore[method-assign]
    for _ in range(64):
        watch.step()
    assert who(engine) == 2


def test_a_repository_that_vanishes_changes_nothing(served: Served, caplog: Log) -> None:
    """A repository that is away for a while is told once, and what is loaded goes on."""
    engine, root, watch = served
    (root / "m").rename(root.parent / "m")
    for _ in range(5):
        watch.step()
    [said] = warnings(caplog)
    assert "'m' is no longer in the repository" in said
    root.rename(root.parent / "away")
    for _ in range(5):
        watch.step()
    assert "CONFIG_ERROR: repository.path" in warnings(caplog)[1]
    assert len(warnings(caplog)) == 2
    assert held(engine) == {"m:1": "serving"}


def test_a_watch_takes_back_nothing(served: Served) -> None:
    """What was deployed goes on serving, until the repository says something new about that name."""
    engine, root, watch = served
    engine.load("m", MODELS["version_3"](), version="by hand")
    engine.deploy("m", "by hand", anya.BlueGreen())
    put(root, 1, name="other")
    for _ in range(5):
        watch.step()
    assert held(engine) == {"m:1": "warm", "m:by hand": "serving", "other:1": "serving"}
    put(root, 2)
    watch.step()
    watch.step()
    assert who(engine) == 2


def test_what_is_pinned_and_was_deployed_stays(engine: anya.Engine, tmp_path: Path) -> None:
    """With `stable` pinned new versions come in warm, and what was deployed goes on serving and stays loaded."""
    put(tmp_path, 1)
    put(tmp_path, 2)
    engine.apply(repository(tmp_path, anya.ModelConfig(version_labels={"stable": "1"}), latest=1))
    watch = watch_of(engine)
    watch.step()
    engine.deploy("m", "2", anya.BlueGreen())
    put(tmp_path, 3)
    for _ in range(3):
        watch.step()
    assert held(engine) == {"m:1": "warm", "m:2": "serving", "m:3": "warm"}
    put(tmp_path, 4, 1)
    for _ in range(3):
        watch.step()
    assert held(engine) == {"m:1": "warm", "m:2": "serving", "m:4": "warm"}
    engine.rollback("m")
    assert who(engine) == 1


def test_a_name_in_a_rollout_waits(served: Served) -> None:
    """While a rollout is about a name its changes wait; those of others do not; afterwards they are applied."""
    engine, root, watch = served
    engine.load("m", MODELS["version_3"](), version="9")
    engine.deploy("m", "9", anya.Canary(steps=(50,)))
    put(root, 2)
    put(root, 1, name="other")
    for _ in range(3):
        watch.step()
    assert held(engine) == {"m:1": "serving", "m:9": "warm", "other:1": "serving"}
    engine.rollback("m")
    assert watch.step() is not None
    assert who(engine) == 2


def test_nobody_applies_during_a_look(served: Served) -> None:
    """From the reading of a configuration to its end nobody else can apply one, which the look would then take back."""
    engine, _, watch = served
    read, free = watch._read, []

    def trying() -> anya.EngineConfig:
        thread = threading.Thread(target=lambda: free.append(engine._applier.lock.acquire(blocking=False)))
        thread.start()
        thread.join()
        return read()

    watch._read = trying
    watch.step()
    assert free == [False]


def test_trouble_of_any_kind_is_survived(served: Served, caplog: Log) -> None:
    """An error that nobody foresaw is logged with its traceback, and the next look is as good as any."""
    engine, root, watch = served
    read = watch._read

    def once() -> Any:
        watch._read = read
        raise ZeroDivisionError("odd")

    watch._read = once
    assert watch.step() is None
    assert [record.exc_info[0] for record in said(caplog) if record.exc_info] == [ZeroDivisionError]
    put(root, 2)
    watch.step()
    watch.step()
    assert who(engine) == 2


def test_what_was_unloaded_by_hand_stays_away(served: Served) -> None:
    """A watch does not bring back what somebody took away, until something changes on disk."""
    engine, _, watch = served
    watch.step()
    engine.unload("m")
    for _ in range(3):
        assert watch.step() is None
    assert held(engine) == {}


# ---- a configuration file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration of one model."""
    write(tmp_path / "first.onnx", 1)
    write(tmp_path / "second.onnx", 2)
    return write(tmp_path / "engine.toml", data=b'[models.m]\nsource = "first.onnx"\n')


def test_a_file_is_followed(file: Path, caplog: Log) -> None:
    """What a file says anew is applied when two looks have found it the same; half a file is told once."""
    with anya.Engine.from_file(file) as engine:
        watch = watch_of(engine, file)
        watch.step()
        write(file, data=b'[models.m]\nsource = "sec')
        for _ in range(3):
            assert watch.step() is None
        [said] = warnings(caplog)
        assert "not TOML" in said
        write(file, data=b'[models.m]\nsource = "second.onnx"\n')
        assert watch.step() is None
        assert watch.step() is not None
        assert who(engine) == 2
        write(file, data=b"")
        assert watch.step() is None and held(engine) != {}
        assert watch.step() is not None and held(engine) == {}


def test_a_model_that_is_written_in_its_place(file: Path) -> None:
    """A source whose bytes change is loaded again once they have settled; until then the old one answers."""
    with anya.Engine.from_file(file) as engine:
        watch = watch_of(engine, file)
        watch.step()
        watch.step()
        for part in (5, 30):
            write(file.parent / "first.onnx", data=MODELS["version_3"]()[:part])
            assert watch.step() is None
        write(file.parent / "first.onnx", 3)
        assert watch.step() is None
        assert who(engine) == 1
        assert watch.step() is not None
        assert who(engine) == 3


def test_what_is_applied_by_hand_is_not_taken_back(file: Path) -> None:
    """A file that has not changed is not applied again over what somebody has applied since."""
    with anya.Engine.from_file(file) as engine:
        watch = watch_of(engine, file)
        for _ in range(3):
            watch.step()
        engine.apply(config(source=file.parent / "second.onnx"))
        for _ in range(3):
            assert watch.step() is None
        assert who(engine) == 2


# ---- the thread


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[anya.Engine, Path]]:
    """An engine that is watched, looking without a pause."""
    put(tmp_path, 1)
    with anya.Engine(repository(tmp_path)) as engine:
        watch = engine.watch(interval=0.001)
        assert watch.running
        yield engine, tmp_path
    assert not watch.running


def test_the_thread_applies(watched: tuple[anya.Engine, Path]) -> None:
    """What is written into the repository answers, without anybody calling."""
    engine, root = watched
    put(root / ".staging", 2)
    os.rename(root / ".staging" / "m" / "2", root / "m" / "2")  # noqa: PTH104
    until(lambda: who(engine) == 2, "the new version")
    assert "m:1" in held(engine)


def test_a_watch_ends(watched: tuple[anya.Engine, Path]) -> None:
    """`stop` waits for the thread, may be called twice, and makes room for another watch; a second one is refused."""
    engine, _ = watched
    with pytest.raises(anya.ConfigError, match="is being watched already"):
        engine.watch()
    [watch] = engine._watches
    watch.stop()
    watch.stop()
    assert not watch.running
    assert not any(thread.name == "anya-watch" for thread in threading.enumerate())
    again = engine.watch(interval=3600.0)
    assert again.running


@pytest.mark.parametrize("interval", [0, -1, "5", None, float("nan")])
def test_a_bad_interval(engine: anya.Engine, interval: Any) -> None:
    """An interval is a positive number of seconds."""
    with pytest.raises(anya.ConfigError, match="interval"):
        engine.watch(interval=interval)


def test_an_engine_nobody_holds_is_not_watched_on(tmp_path: Path) -> None:
    """A watch does not keep its engine alive, and ends with it."""
    put(tmp_path, 1)
    engine = anya.Engine(repository(tmp_path))
    watch = engine.watch(interval=0.001)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert not watch.running


def test_a_watch_by_file_from_the_engine(file: Path) -> None:
    """An engine that was made from a file follows it by itself; any other follows the file it is given."""
    for given in (None, file):
        write(file, data=b'[models.m]\nsource = "first.onnx"\n')
        engine = anya.Engine.from_file(file) if given is None else anya.Engine()
        with engine:
            engine.watch(given, interval=0.001)
            write(file, data=b'[models.m]\nsource = "second.onnx"\n')
            until(lambda: "m" in engine._models.serving and who(engine) == 2, "what the file says")  # noqa: B023


def test_a_process_ends_while_it_is_watched() -> None:
    """An interpreter that exits without closing its engine ends the watch, in the middle of a load or not."""
    done = run_python(
        """
        import pathlib, tempfile
        from python.plan_support import put
        root = pathlib.Path(tempfile.mkdtemp())
        put(root, 1)
        engine = anya.Engine(anya.EngineConfig(repository=anya.RepositoryConfig(path=root)))
        engine.watch(interval=0.001)
        for version in range(2, 40):
            put(root / ".staging", version, number=2)
            (root / ".staging" / "m" / str(version)).rename(root / "m" / str(version))
            until(lambda: engine.infer("m", floats(1, 1))["version"][0] == 2)
        print("ended")
        """
    )
    assert_clean(done, "ended")
