# SPDX-License-Identifier: Apache-2.0
"""Requests that were written down: warm-up with what is really asked, and comparison before a switch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.awkward import POISON_ROWS, poison
from models.make_models import MODELS
from python.rollouts import LOST, X, asked
from python.support import HUNG, said, stats_of, until

import anya_engine as anya
from anya_engine._recorded import read_recorded, recorded_path


def put(folder: Path, name: str, model: bytes) -> Path:
    """Write a model file."""
    path = folder / f"{name}.onnx"
    path.write_bytes(model)
    return path


def record(engine: anya.Engine, name: str, requests: list[dict[str, Any]]) -> Path:
    """Record these requests; return the file, once it is there."""
    path = engine.record(name, len(requests))
    for inputs in requests:
        engine.infer(name, inputs)
    until(path.exists)
    return path


def rows(*numbers: int) -> dict[str, Any]:
    """Inputs of the model `poison`."""
    return {"i": np.array(numbers, np.int64)}


def test_recorded_requests_are_the_ones_that_were_answered(engine: anya.Engine, tmp_path: Path) -> None:
    """The next n answered requests are in the file beside the model, with names, types and values; failures are not."""
    engine.load("p", put(tmp_path, "p", poison()))
    path = engine.record("p", 2)
    assert path == recorded_path(str(tmp_path / "p.onnx"))
    engine.infer("p", rows(1, 2))
    with pytest.raises(anya.ExecutionError):
        engine.infer("p", rows(POISON_ROWS))
    engine.submit("p", rows(3)).result(HUNG)
    until(path.exists)
    found = read_recorded(path)
    assert [each["i"].tolist() for each in found] == [[1, 2], [3]]
    assert all(each["i"].dtype == np.int64 for each in found)
    until(lambda: "p" not in engine._models._taps)


def test_text_is_recorded_too(engine: anya.Engine, tmp_path: Path) -> None:
    """Strings come back as strings."""
    engine.load("s", put(tmp_path, "s", MODELS["strings"]()))
    path = record(engine, "s", [{"text": np.array(["a", "grün"], object)}])
    assert read_recorded(path)[0]["text"].tolist() == ["a", "grün"]
    engine.load("s", put(tmp_path, "s2", MODELS["strings"]()))


def test_a_version_that_fails_recorded_requests_does_not_load(engine: anya.Engine, tmp_path: Path) -> None:
    """A crash in warm-up is a ModelLoadError; the version before goes on; warm-up is in no counter."""
    engine.load("p", put(tmp_path, "p1", poison()))
    record(engine, "p", [rows(1), rows(LOST)])
    before = stats_of(engine, "p").accepted
    with pytest.raises(anya.ModelLoadError, match="fails in warm-up, for request 1"):
        engine.load("p", put(tmp_path, "p2", poison(rows=POISON_ROWS - 3)))
    assert len(engine.models()) == 1
    engine.load("p", put(tmp_path, "p3", poison(rows=POISON_ROWS + 3)))
    assert [model.accepted for model in engine.stats().models] == [before, 0]
    assert engine.infer("p", rows(LOST))["y"].shape == (1, 4)


def test_a_file_that_is_no_recording_is_passed_over(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mangled file costs the warm-up and a warning, not the load."""
    source = put(tmp_path, "p", poison())
    recorded_path(str(source)).write_bytes(b"PK\x03\x04 not really")
    engine.load("p", source)
    assert said(caplog) and "no warm-up with recorded requests" in caplog.text


def test_a_recording_of_another_schema_is_passed_over(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests that a version no longer takes are no reason against it."""
    engine.load("p", put(tmp_path, "p1", poison()))
    record(engine, "p", [rows(1)])
    engine.load("p", put(tmp_path, "p2", MODELS["tiny"]()))
    assert said(caplog) and "no warm-up with recorded requests" in caplog.text


def test_what_cannot_be_recorded(engine: anya.Engine, tmp_path: Path) -> None:
    """Bytes have no place beside them; two recordings at once; a count that is none."""
    engine.load("b", poison())
    with pytest.raises(anya.ConfigError, match="from bytes"):
        engine.record("b", 5)
    engine.load("p", put(tmp_path, "p", poison()))
    with pytest.raises(anya.ConfigError, match="at least 1"):
        engine.record("p", 0)
    engine.record("p", 5)
    with pytest.raises(anya.ConfigError, match="already"):
        engine.record("p", 5)
    with pytest.raises(anya.ModelNotFound):
        engine.record("nobody", 5)


def test_a_switch_compares_recorded_answers_first(engine: anya.Engine, tmp_path: Path) -> None:
    """With compare, a version that answers otherwise does not take over; one that answers alike does."""
    for number in (1, 2, 3):
        engine.load("m", put(tmp_path, f"v{number}", MODELS[f"version_{min(number, 2)}"]()), version=str(number))
    record(engine, "m", [X] * 3)
    with pytest.raises(anya.ConfigError, match="3 recorded requests compared, 0 agree"):
        engine.deploy("m", "2", anya.BlueGreen(compare=3))
    assert asked(engine) == 1
    assert engine.deploy("m", "2", anya.BlueGreen(compare=3, atol=1.0)).stable == "2"
    assert engine.deploy("m", "3", anya.BlueGreen(compare=3)).stable == "3"


def test_a_switch_compares_live_answers_where_none_are_recorded(engine: anya.Engine) -> None:
    """Without a recording deploy waits for requests, which the old version answers meanwhile."""
    for number in (1, 2):
        engine.load("m", MODELS["version_1"](), version=str(number))
    done = threading.Event()
    answers = []

    def ask() -> None:
        while not done.is_set():
            answers.append(asked(engine))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        status = engine.deploy("m", "2", anya.BlueGreen(compare=5, compare_timeout=HUNG))
    finally:
        done.set()
        asker.join(HUNG)
    assert status.stable == "2"
    assert set(answers) == {1}


def test_a_switch_without_anything_to_compare_does_not_happen(engine: anya.Engine) -> None:
    """Nobody asks: after compare_timeout a ConfigError, and the old version serves."""
    for number in (1, 2):
        engine.load("m", MODELS["version_1"](), version=str(number))
    with pytest.raises(anya.ConfigError, match="only 0 of 5 requests"):
        engine.deploy("m", "2", anya.BlueGreen(compare=5, compare_timeout=0.01))
    assert engine.status("m").state == "idle"


def test_a_switch_that_waits_for_requests_shows_what_it_does(engine: anya.Engine) -> None:
    """While deploy(compare=…) waits the status is progressing, with the counts so far; a second deploy is refused."""
    for number in (1, 2):
        engine.load("m", MODELS["version_1"](), version=str(number))
    policy = anya.BlueGreen(compare=3, compare_timeout=HUNG)
    deploying = threading.Thread(target=engine.deploy, args=("m", "2", policy))
    deploying.start()
    until(lambda: engine.status("m").state == "progressing")
    until(lambda: "m" in engine._models._taps)
    status = engine.status("m")
    assert (status.strategy, status.stable, status.candidate, status.weights) == ("blue-green", "1", "2", {"1": 100.0})
    with pytest.raises(anya.ConfigError, match="is comparing version '2'"):
        engine.deploy("m", "2", anya.Canary())
    with pytest.raises(anya.ConfigError, match="still comparing"):
        engine.promote("m")
    asked(engine)
    until(lambda: "1 live requests compared, 1 agree, 0 failed" in engine.status("m").why)
    assert engine.status("m").shadow == anya.ShadowReport(compared=1, agreed=1, top1_agreed=1)
    for _ in range(2):
        asked(engine)
    deploying.join(HUNG)
    assert (engine.status("m").state, engine.status("m").stable) == ("promoted", "2")


def test_closing_ends_a_comparison_that_waits(caplog: pytest.LogCaptureFixture) -> None:
    """deploy(compare=…) that waits for requests says so in the log, and is refused as soon as the engine is closed."""
    engine = anya.Engine()
    for version in ("1", "2"):
        engine.load("m", MODELS["version_" + version](), version=version)
    errors: list[BaseException] = []

    def deploy() -> None:
        try:
            engine.deploy("m", "2", anya.BlueGreen(compare=5, compare_timeout=HUNG))
        except anya.AnyaError as error:
            errors.append(error)

    with caplog.at_level("INFO", "anya_engine"):
        thread = threading.Thread(target=deploy)
        thread.start()
        until(lambda: "waits for 5 requests to compare" in caplog.text)
        engine.close()
        thread.join(HUNG)
    assert [type(error) for error in errors] == [anya.Unavailable]
