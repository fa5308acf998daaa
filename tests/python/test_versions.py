# SPDX-License-Identifier: Apache-2.0
"""Several versions of a name: numbering, who answers, and what unloading and failing loads leave behind."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS, build_all
from python.conftest import Load
from python.support import HUNG, ONE, busy, floats, run_python, slow_inputs, stats_of

import anya_engine as anya

X = floats(1, 1)


def states(engine: anya.Engine) -> list[tuple[str, str, str]]:
    """Name, version and state of what is loaded, in order."""
    return [(model.name, model.version, model.state) for model in engine.models()]


def who(engine: anya.Engine, version: str | None = None) -> int:
    """The number that the answering version of `m` carries; the same by every way to ask."""
    futures = engine.submit("m", X, version=version)
    numbers = {
        int(engine.infer("m", X, version=version)["version"][0]),
        int(futures.result(HUNG)["version"][0]),
        int(asyncio.run(engine.infer_async("m", X, version=version))["version"][0]),
        int(engine.infer_detailed("m", X, version=version).outputs["version"][0]),
    }
    assert len(numbers) == 1
    return numbers.pop()


@pytest.fixture
def three(engine: anya.Engine, load: Load) -> anya.Engine:
    """Three versions of `m`; each answers with its own number."""
    for number in (1, 2, 3):
        load(f"version_{number}", name="m")
    return engine


def test_versions_are_numbered(three: anya.Engine) -> None:
    """Without a version a load takes the next free number, and the first one serves."""
    assert states(three) == [("m", "1", "serving"), ("m", "2", "warm"), ("m", "3", "warm")]


def test_a_number_that_is_free_is_used(engine: anya.Engine, load: Load) -> None:
    """Numbers that are taken by name are skipped; those given back are used again."""
    load("version_1", name="m", version="2")
    assert load("version_2", name="m").version == "1"
    assert load("version_3", name="m").version == "3"
    engine.unload("m", "1")
    assert load("version_2", name="m").version == "1"


def test_versions_answer_side_by_side(three: anya.Engine) -> None:
    """version= chooses; without it the serving version answers."""
    assert [who(three, version) for version in ("1", "2", "3", None)] == [1, 2, 3, 1]
    detailed = three.infer_detailed("m", X, version="3")
    assert detailed.version == "3"


def test_versions_are_counted_apart(three: anya.Engine) -> None:
    """Each version has counters of its own."""
    three.infer("m", X, version="2")
    three.infer("m", X)
    assert [stats_of(three, "m", version).accepted for version in ("1", "2", "3")] == [1, 1, 0]


def test_loading_a_version_that_exists(three: anya.Engine) -> None:
    """A load never replaces: a version that is there is ModelLoadError, and everything stays."""
    with pytest.raises(anya.ModelLoadError, match="has a version '2' already") as caught:
        three.load("m", MODELS["version_3"](), version="2")
    assert type(caught.value) is anya.ModelLoadError
    assert (caught.value.field, caught.value.value) == ("version", "2")
    assert who(three, "2") == 2
    assert len(three.models()) == 3


def test_a_failed_load_leaves_everything(three: anya.Engine) -> None:
    """A load that fails changes nothing, and its version may be loaded afterwards."""
    before = states(three)
    for version in (None, "4"):
        with pytest.raises(anya.ModelInvalid):
            three.load("m", b"no model", version=version)
        with pytest.raises(anya.ModelLoadError):
            three.load("other", "/nowhere/model.onnx", version=version)
    assert states(three) == before
    assert [model.version for model in three.stats().models] == ["1", "2", "3"]
    assert [who(three, version) for version in ("1", "2", "3")] == [1, 2, 3]
    assert three.load("m", MODELS["version_1"]()).version == "4"
    assert three.health().ready


def test_unloading_a_warm_version(three: anya.Engine) -> None:
    """A warm version goes alone; the others stay, and it is not found any more."""
    three.unload("m", "2")
    assert states(three) == [("m", "1", "serving"), ("m", "3", "warm")]
    with pytest.raises(anya.ModelNotFound, match="it has 1, 3"):
        three.infer("m", X, version="2")
    assert [who(three, version) for version in (None, "3")] == [1, 3]


def test_unloading_the_serving_version(three: anya.Engine) -> None:
    """The serving version cannot go while others are warm: ConfigError in words, nothing changed."""
    with pytest.raises(anya.ConfigError, match="unload those first") as caught:
        three.unload("m", "1")
    assert caught.value.field == "version"
    assert len(three.models()) == 3 and who(three) == 1
    three.unload("m", "2")
    three.unload("m", "3")
    three.unload("m", "1")
    assert three.models() == []


def test_unloading_a_name(three: anya.Engine, load: Load) -> None:
    """A name goes with all its versions; other names stay; the name may be loaded anew, from "1"."""
    load("unnamed_batch")
    three.unload("m")
    assert states(three) == [("unnamed_batch", "1", "serving")]
    with pytest.raises(anya.ModelNotFound):
        three.infer("m", X)
    assert load("version_3", name="m").version == "1"
    assert who(three) == 3


@pytest.mark.parametrize("arguments", [("nobody",), ("m", "9"), ("nobody", "1")])
def test_unloading_what_is_not_there(three: anya.Engine, arguments: Any) -> None:
    """Unloading an unknown name or version is ModelNotFound."""
    with pytest.raises(anya.ModelNotFound):
        three.unload(*arguments)
    assert len(three.models()) == 3


def test_unload_drains(engine: anya.Engine, load: Load) -> None:
    """What was accepted before an unload is answered; what comes after it is not found."""
    load("slow", config=ONE)
    with busy(engine):
        waiting = [engine.submit("slow", slow_inputs()) for _ in range(5)]
        engine.unload("slow")
        with pytest.raises(anya.ModelNotFound):
            engine.submit("slow", slow_inputs())
    for future in waiting:
        np.testing.assert_array_equal(future.result(0)["y"], 2 * slow_inputs()["x"])


def test_a_version_inherits_the_configuration_of_its_name(engine: anya.Engine, load: Load) -> None:
    """A version loaded without a config runs as the one before it."""
    three_instances = anya.ModelConfig(instances=3, batching=anya.BatchingConfig(max_batch_size=7))
    load("version_1", name="m", config=three_instances)
    info = load("version_2", name="m")
    assert (info.instances, info.max_batch_size) == (3, 7)
    engine.unload("m")
    assert load("version_1", name="m").max_batch_size == 64


def test_every_kind_of_source(engine: anya.Engine, tmp_path: Path) -> None:
    """Bytes, a file, a directory, as str or Path: the same model, the same digest of the same file."""
    build_all(tmp_path)
    folder = tmp_path / "version_1"
    sources = [MODELS["version_1"](), folder / "model.onnx", str(folder / "model.onnx"), folder, str(folder)]
    infos = [engine.load("m", source) for source in sources]
    assert [info.version for info in infos] == ["1", "2", "3", "4", "5"]
    assert len({info.digest for info in infos}) == 1
    assert {who(engine, info.version) for info in infos} == {1}
    external = engine.load("external", tmp_path / "external")
    assert external.memory > len(MODELS["external"]())
    assert engine.infer("external", floats(2, 8))["y"].shape == (2, 4)


def test_one_of_many_threads_loads_a_version(engine: anya.Engine) -> None:
    """Of threads that load the same version at once exactly one does; without a version each gets its own number."""
    start = threading.Barrier(8)
    outcomes: list[Any] = []

    def load_one(version: str | None) -> None:
        start.wait(HUNG)
        try:
            outcomes.append(engine.load("m", MODELS["version_1"](), version=version).version)
        except anya.ModelLoadError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=load_one, args=(version,)) for version in ["same"] * 4 + [None] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    assert sorted(outcomes) == ["1", "2", "3", "4", *["MODEL_LOAD_ERROR"] * 3, "same"]
    assert sum(model.state == "serving" for model in engine.models()) == 1


def test_loading_while_requests_run(engine: anya.Engine, load: Load) -> None:
    """Loads and unloads of other versions do not disturb a single request."""
    load("version_1", name="m")
    stop = threading.Event()
    wrong: list[Any] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                if engine.infer("m", X)["version"][0] != 1:
                    wrong.append("another version answered")
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        engine.unload("m", load("version_2", name="m").version)
    stop.set()
    for thread in threads:
        thread.join(HUNG)
    assert wrong == []


def test_an_engine_from_a_file(tmp_path: Path) -> None:
    """Engine.from_file loads what the TOML names, from beside the file, under the names and versions it gives."""
    build_all(tmp_path)
    (tmp_path / "engine.toml").write_text(
        '[models.m]\nsource = "version_2"\nversion = "blue"\ninstances = 2\n'
        "[models.other.batching]\nmax_batch_size = 5\n"
    )
    with anya.Engine.from_file(tmp_path / "engine.toml") as engine:
        assert states(engine) == [("m", "blue", "serving")]
        assert who(engine) == 2
        assert engine.load("other", MODELS["version_1"]()).max_batch_size == 5


def test_an_engine_whose_model_fails_does_not_start(tmp_path: Path) -> None:
    """An engine whose configuration cannot be loaded raises the load's error and leaves nothing running."""
    (tmp_path / "broken.onnx").write_bytes(b"")
    models = {"broken": anya.ModelConfig(source=tmp_path / "broken.onnx")}
    before = threading.active_count()
    with pytest.raises(anya.ModelInvalid, match="broken"):
        anya.Engine(anya.EngineConfig(models=models))
    assert threading.active_count() == before


def test_loads_do_not_leak_memory_or_descriptors() -> None:
    """Three hundred loads and unloads leave as many threads and descriptors as one does."""
    done = run_python(
        """
        def have():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        engine = anya.Engine()
        data = MODELS["version_1"]()
        for turn in range(301):
            engine.load("m", data)
            engine.submit("m", floats(1, 1)).result()
            asyncio.run(engine.infer_async("m", floats(1, 1)))
            engine.unload("m")
            if turn == 0:
                first = have()
        last = have()
        print("same" if all(b <= a + 1 for a, b in zip(first, last)) else (first, last))
        engine.close()
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["same"]
