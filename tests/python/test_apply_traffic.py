# SPDX-License-Identifier: Apache-2.0
"""_retire.py, _planned_table.py: what requests see of a change of configuration; labels."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
from models.make_models import MODELS
from python.plan_support import X, config, held, put, repository, who, write
from python.support import HUNG

import anya_engine as anya


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A model that answers 1."""
    return write(tmp_path / "first.onnx", 1)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A model that answers 2."""
    return write(tmp_path / "second.onnx", 2)


@pytest.mark.parametrize("ask", ["infer", "submit", "infer_async"])
def test_no_request_fails_while_versions_come_and_go(engine: anya.Engine, first: Path, ask: str) -> None:
    """Reload after reload, every request is answered, whichever way it is asked: nobody meets a closed model."""
    engine.apply(config(source=first, instances=1))
    stop = threading.Event()
    wrong: list[BaseException] = []
    answered = [0]

    def once() -> None:
        if ask == "infer":
            engine.infer("m", X)
        elif ask == "submit":
            engine.submit("m", X).result(HUNG)
        else:
            asyncio.run(turns())

    async def turns() -> None:
        for _ in range(20):
            await asyncio.gather(*(engine.infer_async("m", X) for _ in range(8)))

    def run() -> None:
        while not stop.is_set():
            try:
                once()
                answered[0] += 1
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(30):
        engine.apply(config(source=first, instances=2 - turn % 2))
    stop.set()
    for thread in threads:
        thread.join(HUNG)
    assert wrong == []
    assert answered[0] > 0


def test_a_coroutine_made_before_a_switch(engine: anya.Engine, first: Path, second: Path) -> None:
    """A request of the old version that is never awaited keeps it open for a moment, not for ever."""
    engine.apply(config(source=first))
    coroutine = engine.infer_async("m", X)
    engine.apply(config(source=second))  # comes back though the coroutine is never awaited
    coroutine.close()
    assert len(engine._core.stats()) == 1


def test_one_of_a_version_is_counted(engine: anya.Engine, first: Path) -> None:
    """While a version is there twice, statistics show the one that answers; metrics never have a series twice."""
    engine.apply(config(source=first))
    who(engine)
    opened = engine._models.open
    seen: list[Any] = []

    def looking(*arguments: Any) -> Any:
        model = opened(*arguments)
        seen.extend((each.name, each.version, each.accepted) for each in engine.stats().models)
        return model

    engine._models.open = looking  # type: ignore[method-assign]
    engine.apply(config(source=first, instances=3))
    assert seen == [("m", "1", 1)]


def test_labels_answer(engine: anya.Engine, tmp_path: Path) -> None:
    """A label stands for its version in every way to ask; what it stands for changes with the configuration."""
    for version in (1, 2, 3):
        put(tmp_path, version)
    model = anya.ModelConfig(version_labels={"stable": "1", "canary": "3"})
    engine.apply(repository(tmp_path, model, latest=1))
    assert held(engine) == {"m:1": "serving", "m:3": "warm"}
    for ask in (engine.infer, lambda *a, **k: engine.submit(*a, **k).result(HUNG)):
        assert [ask("m", X, version=version)["version"][0] for version in ("stable", "canary", None)] == [1, 3, 1]  # type: ignore[operator]
    assert asyncio.run(engine.infer_async("m", X, version="canary"))["version"][0] == 3
    assert engine.infer_detailed("m", X, version="canary").version == "3"
    assert {info.version: info.labels for info in engine.models()} == {"1": ("stable",), "3": ("canary",)}
    engine.apply(repository(tmp_path, dataclasses.replace(model, version_labels={"canary": "2"}), latest=1))
    assert [who(engine), who(engine, "canary")] == [3, 2]
    with pytest.raises(anya.ModelNotFound, match=r"no version 'stable'; it has 3, 2 \(labels: canary = 2\)"):
        who(engine, "stable")
    with pytest.raises(anya.ModelNotFound):
        asyncio.run(engine.infer_async("m", X, version="stable"))


def test_labels_and_versions_do_not_mix(engine: anya.Engine, tmp_path: Path) -> None:
    """A version cannot be loaded under the name of a label, and a label goes with its version."""
    put(tmp_path, 1)
    engine.apply(repository(tmp_path, anya.ModelConfig(version_labels={"canary": "1"})))
    with pytest.raises(anya.ModelLoadError, match="has a label 'canary'"):
        engine.load("m", MODELS["version_2"](), version="canary")
    engine.unload("m")
    engine.load("m", MODELS["version_2"](), version="canary")
    assert who(engine, "canary") == 2
