# SPDX-License-Identifier: Apache-2.0
"""_apply.py through Engine.plan and Engine.apply: a configuration is done, or undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from models.make_models import MODELS
from python.plan_support import config, held, who, write
from python.support import HUNG

import anya_engine as anya

RESOURCE = "resource_preserving"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A model that answers 1."""
    return write(tmp_path / "first.onnx", 1)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A model that answers 2."""
    return write(tmp_path / "second.onnx", 2)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A model that does not load."""
    return write(tmp_path / "broken.onnx", data=b"no model")


def test_a_plan_changes_nothing(engine: anya.Engine, first: Path) -> None:
    """`plan` says in words what `apply` then does, and does nothing itself."""
    wanted = config(source=first, version="7")
    made = engine.plan(wanted)
    assert str(made) == f"load    m 7 from {first}\nserve   m: nothing → 7"
    assert held(engine) == {}
    assert engine.apply(wanted) == made
    assert held(engine) == {"m:7": "serving"}


def test_applying_twice_does_nothing(engine: anya.Engine, first: Path) -> None:
    """A configuration that is in force asks for nothing, and what is loaded stays the very same."""
    wanted = config(source=first)
    engine.apply(wanted)
    model = engine._models.serving["m"]
    assert not engine.plan(wanted)
    assert not engine.apply(wanted)
    assert engine._models.serving["m"] is model


def test_a_new_version_takes_the_traffic(engine: anya.Engine, first: Path, second: Path) -> None:
    """Another source comes in, answers, and the one before it is gone."""
    engine.apply(config(source=first))
    engine.apply(config(source=second))
    assert who(engine) == 2
    assert held(engine) == {"m:2": "serving"}


def test_a_changed_version_takes_its_own_place(engine: anya.Engine, first: Path) -> None:
    """Other settings for a version mean the same version string, a new session, and new counters."""
    engine.apply(config(source=first, version="7"))
    who(engine)
    changed = config(source=first, version="7", batching=anya.BatchingConfig(max_batch_size=5))
    assert str(engine.apply(changed)).split() == ["reload", "m", "7", "batching.max_batch_size:", "64", "→", "5"]
    [info] = engine.models()
    assert (info.version, info.max_batch_size) == ("7", 5)
    [stats] = engine.stats().models
    assert stats.accepted == 0
    assert who(engine) == 1


def test_changed_files_are_read_again(engine: anya.Engine, first: Path) -> None:
    """The same configuration over other bytes loads them, under the same version."""
    wanted = config(source=first)
    engine.apply(wanted)
    write(first, 3)
    assert "files" in str(engine.plan(wanted))
    engine.apply(wanted)
    assert who(engine) == 3
    assert held(engine) == {"m:1": "serving"}
    first.unlink()
    assert not engine.plan(wanted)  # what is loaded does not need its files any more


def test_a_configuration_without_a_model_takes_it_away(engine: anya.Engine, first: Path) -> None:
    """What a configuration brought goes with it; what was loaded by hand stays."""
    engine.load("hand", MODELS["version_3"]())
    engine.apply(config(source=first))
    engine.apply(anya.EngineConfig())
    assert held(engine) == {"hand:1": "serving"}
    with pytest.raises(anya.ModelNotFound):
        who(engine)


def test_one_place_in_two_spellings(
    engine: anya.Engine, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative and an absolute path of the same file are the same source, wherever the process is."""
    monkeypatch.chdir(tmp_path)
    engine.apply(config(source=first.name))
    assert not engine.plan(config(source=first))
    assert not engine.plan(config(source=f"./{first.name}"))
    monkeypatch.chdir("/")
    engine.apply(config(source=first, instances=1))
    engine.load("hand", first.relative_to("/"))
    assert not engine.plan(anya.EngineConfig(models={"m": config(source=first, instances=1).models["m"]}))


def test_defaults_of_later_loads_change(engine: anya.Engine) -> None:
    """An entry without a source is what later loads of that name use, from the next load on."""
    engine.apply(config(batching=anya.BatchingConfig(max_batch_size=5)))
    assert engine.load("m", MODELS["version_1"]()).max_batch_size == 5
    assert engine.load("other", MODELS["version_1"]()).max_batch_size == 64


def test_a_file_can_be_applied(engine: anya.Engine, first: Path, tmp_path: Path) -> None:
    """`plan` and `apply` take the path of a TOML file as well as a configuration."""
    file = tmp_path / "engine.toml"
    file.write_text('[models.m]\nsource = "first.onnx"\n')
    assert engine.plan(file)
    engine.apply(str(file))
    assert who(engine) == 1
    assert not engine.plan(anya.EngineConfig.from_toml(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.m]\nsorce = 'x'", "did you mean 'source'"),
        ("[models.m]\nsource = 'x", "not TOML"),
        (None, "No such file"),
    ],
)
def test_a_bad_file_changes_nothing(
    engine: anya.Engine, first: Path, tmp_path: Path, text: str | None, words: str
) -> None:
    """An unknown key, a file that ends in the middle, a file that is not there: ConfigError, and all is as it was."""
    engine.apply(config(source=first))
    file = tmp_path / "bad.toml"
    if text is not None:
        file.write_text(text)
    for do in (engine.plan, engine.apply):
        with pytest.raises(anya.ConfigError, match=words):
            do(file)
    assert held(engine) == {"m:1": "serving"}


@pytest.mark.parametrize("wrong", [None, {"models": {}}, 3])
def test_something_that_is_no_configuration(engine: anya.Engine, wrong: Any) -> None:
    """What is neither a configuration nor a path is refused as such."""
    with pytest.raises(anya.ConfigError, match="must be an EngineConfig"):
        engine.apply(wrong)


# ---- all or nothing


@pytest.mark.parametrize("transition", ["availability_preserving", RESOURCE])
@pytest.mark.parametrize("broken_first", [True, False])
def test_a_failed_load_leaves_everything(
    engine: anya.Engine, first: Path, second: Path, broken: Path, transition: Any, broken_first: bool
) -> None:
    """When one of several loads fails the others are undone: ApplyError names step and cause, all answer as before."""
    engine.apply(config(source=first, version="7", version_labels={"canary": "7"}))
    before = held(engine)
    models = {
        "m": anya.ModelConfig(source=second, version="8", version_transition=transition),
        "z": anya.ModelConfig(source=broken, version_transition=transition),
    }
    wanted = anya.EngineConfig(models=dict(reversed(models.items())) if broken_first else models)
    for _ in range(2):
        with pytest.raises(anya.ApplyError, match="load z 1 .*; everything is as it was") as caught:
            engine.apply(wanted)
        assert type(caught.value.__cause__) is anya.ModelInvalid
        assert (caught.value.field, caught.value.value) == ("models.z", "z:1")
    assert held(engine) == before
    assert [who(engine), who(engine, "7"), who(engine, "canary")] == [1, 1, 1]
    assert len(engine._core.stats()) == 1
    assert engine.health().ready
    engine.load("z", MODELS["version_3"](), version="1")  # nothing of it is still reserved


@pytest.mark.parametrize("transition", ["availability_preserving", RESOURCE])
def test_a_failed_reload_leaves_everything(engine: anya.Engine, first: Path, transition: Any) -> None:
    """A version that cannot be loaded again is still there, in whichever order it was tried."""
    engine.apply(config(source=first, version_transition=transition))
    bad = config(source=first, version_transition=transition, providers=("NoSuchExecutionProvider",))
    with pytest.raises(anya.ApplyError, match="reload m 1") as caught:
        engine.apply(bad)
    assert isinstance(caught.value.__cause__, anya.ConfigError)
    assert held(engine) == {"m:1": "serving"}
    assert who(engine) == 1
    assert not engine.plan(config(source=first))


def test_what_cannot_be_undone_is_said(engine: anya.Engine, first: Path, broken: Path) -> None:
    """A version that went first and cannot be loaded again is named; the name may be loaded anew."""
    engine.apply(config(source=first))
    first.unlink()
    with pytest.raises(anya.ApplyError, match="could not be loaded again: model 'm:1'"):
        engine.apply(config(source=broken, version="9", version_transition=RESOURCE))
    assert held(engine) == {}
    assert engine.load("m", MODELS["version_2"]()).state == "serving"


def test_resources_are_preserved_by_choice(engine: anya.Engine, first: Path, second: Path) -> None:
    """With resource_preserving the old version has gone before the new one is opened, and has not without it."""
    seen: list[dict[str, str]] = []
    opened = engine._models.open

    def watched(*arguments: Any) -> Any:
        seen.append(held(engine))
        return opened(*arguments)

    engine._models.open = watched  # type: ignore[method-assign]
    engine.apply(config(source=first, version="1"))
    engine.apply(config(source=second, version="2", version_transition=RESOURCE))
    engine.apply(config(source=first, version="3"))
    assert seen == [{}, {}, {"m:2": "serving"}]
    assert held(engine) == {"m:3": "serving"}


def test_files_that_change_while_they_are_read(engine: anya.Engine, first: Path) -> None:
    """A model whose file changed during its load is not what was asked for: it is refused, and all is as it was."""
    opened = engine._models.open

    def meanwhile(*arguments: Any) -> Any:
        model = opened(*arguments)
        write(first, 2)
        return model

    engine._models.open = meanwhile  # type: ignore[method-assign]
    with pytest.raises(anya.ApplyError, match="was changed while it was read"):
        engine.apply(config(source=first))
    assert held(engine) == {}
    assert engine._core.stats() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.unload("m"),
        lambda engine: engine.load("m", MODELS["version_3"](), version="3"),
    ],
)
def test_somebody_else_changes_the_model_meanwhile(
    engine: anya.Engine, first: Path, second: Path, change: Callable[[anya.Engine], None]
) -> None:
    """A plan that others have overtaken is given up, and what they did stays."""
    engine.apply(config(source=first))
    opened = engine._models.open
    state: list[dict[str, str]] = []

    def meanwhile(*arguments: Any) -> Any:
        engine._models.open = opened  # type: ignore[method-assign]
        change(engine)
        state.append(held(engine))
        return opened(*arguments)

    engine._models.open = meanwhile  # type: ignore[method-assign]
    with pytest.raises(anya.ApplyError, match="changed by somebody else in the meantime"):
        engine.apply(config(source=second))
    assert [held(engine)] == state
    assert len(engine._core.stats()) == len(state[0])


def test_a_model_is_loaded_by_hand_at_the_same_time(engine: anya.Engine, first: Path) -> None:
    """A version that is on its way in by hand cannot be a plan's: ApplyError, and the load goes on."""
    engine._models.reserve("m", "1")  # as `load` does while it loads
    with pytest.raises(anya.ApplyError, match="has a version '1' already"):
        engine.apply(config(source=first, version="1"))
    assert engine._models.loading == {("m", "1")}
    engine._models.release([("m", "1")])
    engine.apply(config(source=first, version="1"))


def test_two_at_once(engine: anya.Engine, first: Path, second: Path) -> None:
    """Of configurations applied at once each is done whole, one after the other; the engine holds one of them."""
    wanted = [config(source=first, version="1"), config(source=second, version="2")]
    threads = [threading.Thread(target=engine.apply, args=(wanted[turn % 2],)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HUNG)
    assert held(engine) in ({"m:1": "serving"}, {"m:2": "serving"})
    assert len(engine._core.stats()) == 1
    assert who(engine) == int(engine.models()[0].version)


def test_a_name_in_a_rollout_is_left_alone(engine: anya.Engine, first: Path, second: Path) -> None:
    """While a rollout is about a name no configuration may change it; other names and no change at all are fine."""
    engine.apply(config(source=first))
    engine.load("m", second, version="2")
    engine.deploy("m", "2", anya.Canary(steps=(50,)))
    with pytest.raises(anya.ConfigError, match="a rollout of 'm' is in progress"):
        engine.apply(config(source=second))
    other = anya.ModelConfig(source=second)
    engine.apply(anya.EngineConfig(models={**config(source=first).models, "other": other}))
    assert who(engine, name="other") == 2
    assert engine.status("m").weights == {"1": 50.0, "2": 50.0}
    engine.rollback("m")
    engine.apply(config(source=second))
    assert who(engine) == 2


def test_a_rollout_that_begins_meanwhile(engine: anya.Engine, first: Path, second: Path) -> None:
    """A plan that a rollout has overtaken is given up, and the rollout goes on."""
    engine.apply(config(source=first))
    engine.load("m", second, version="2")
    opened = engine._models.open

    def meanwhile(*arguments: Any) -> Any:
        engine.deploy("m", "2", anya.Canary(steps=(50,)))
        return opened(*arguments)

    engine._models.open = meanwhile  # type: ignore[method-assign]
    with pytest.raises(anya.ApplyError, match="changed by somebody else"):
        engine.apply(config(source=first, instances=1))
    assert engine.status("m").weights == {"1": 50.0, "2": 50.0}
    assert held(engine) == {"m:1": "serving", "m:2": "warm"}


def test_what_was_deployed_before_is_history(engine: anya.Engine, first: Path, second: Path) -> None:
    """Once a configuration has moved the traffic, status tells so and a rollback has nothing to go back to."""
    engine.apply(config(source=first))
    engine.load("m", second, version="2")
    engine.deploy("m", "2", anya.BlueGreen())
    engine.apply(config(source=first))  # as it says: version 1 serves
    assert who(engine) == 1
    status = engine.status("m")
    assert (status.state, status.weights) == ("idle", {"1": 100.0})
    with pytest.raises(anya.ConfigError, match="nothing to go back to"):
        engine.rollback("m")


def test_an_interrupt_undoes_too(engine: anya.Engine, first: Path, second: Path) -> None:
    """Ctrl-C in the middle of an apply comes out as itself, and leaves everything as it was."""
    engine.apply(config(source=first))
    opened = engine._models.open

    def interrupted(key: Any, source: Any, model: Any) -> Any:
        if key[0] == "z":
            raise KeyboardInterrupt
        return opened(key, source, model)

    engine._models.open = interrupted  # type: ignore[method-assign]
    models = {"m": anya.ModelConfig(source=second), "z": anya.ModelConfig(source=second)}
    with pytest.raises(KeyboardInterrupt):
        engine.apply(anya.EngineConfig(models=models))
    assert held(engine) == {"m:1": "serving"}
    assert len(engine._core.stats()) == 1


def test_a_closed_engine(first: Path) -> None:
    """A closed engine plans and applies nothing: Unavailable."""
    engine = anya.Engine()
    engine.close()
    for do in (engine.plan, engine.apply, engine.watch):
        with pytest.raises(anya.Unavailable, match="closed"):
            do(config(source=first))  # type: ignore[operator]


def test_closing_during_a_load(first: Path) -> None:
    """An engine that is closed while a plan loads refuses the plan; nothing hangs and nothing stays."""
    engine = anya.Engine()
    opened = engine._models.open

    def closing(*arguments: Any) -> Any:
        engine.close()
        return opened(*arguments)

    engine._models.open = closing  # type: ignore[method-assign]
    with pytest.raises(anya.ApplyError) as caught:
        engine.apply(config(source=first))
    assert isinstance(caught.value.__cause__, anya.Unavailable)
    assert engine._core.stats() == []
