# SPDX-License-Identifier: Apache-2.0
"""repository.py and _repository.py: what counts as a version, what is left alone, what has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from python.plan_support import config, held, put, repository, who, write

import anya_engine as anya
from anya_engine import _repository
from anya_engine._goal import Files, Found
from anya_engine._repository import look, settled, stamp_of
from anya_engine.repository import is_version


def found(root: Path) -> dict[str, list[str]]:
    """Versions by name."""
    return {name: list(versions) for name, versions in look(repository(root)).versions.items()}


def test_an_engine_serves_a_repository(tmp_path: Path) -> None:
    """All names of a repository are loaded, two versions each, and the newest answers."""
    for version in (1, 2, 3):
        put(tmp_path, version)
    put(tmp_path, 1, name="other")
    with anya.Engine(repository(tmp_path)) as engine:
        assert held(engine) == {"m:2": "warm", "m:3": "serving", "other:1": "serving"}
        assert [who(engine), who(engine, "2"), who(engine, name="other")] == [3, 2, 1]


def test_a_repository_from_a_file(tmp_path: Path) -> None:
    """In TOML a repository is a table, its path is relative to the file, and a model's table says how it is run."""
    for version in (1, 2, 3):
        put(tmp_path / "models", version)
    (tmp_path / "engine.toml").write_text(
        """
        [repository]
        path = "models"
        version_policy = { latest = 1 }
        [models.m]
        instances = 3
        version_policy = { specific = ["1", "3"] }
        version_labels = { stable = "1" }
        """
    )
    with anya.Engine.from_file(tmp_path / "engine.toml") as engine:
        assert held(engine) == {"m:1": "serving", "m:3": "warm"}
        assert {info.instances for info in engine.models()} == {3}


def test_what_is_no_version_is_left_alone(tmp_path: Path) -> None:
    """Files, hidden and odd names, versions that are no numbers or empty are not loaded, and it is said why."""
    tmp_path /= "a path that is as long as paths of models often are, longer than what a message shows of a value"
    tmp_path.mkdir()
    put(tmp_path, 1)
    write(tmp_path / "README.md", data=b"text")
    write(tmp_path / "m" / "notes.txt", data=b"text")
    for odd in ("m/.tmp", "m/v2", "m/02", "m/3.5", "m/-1", "m/²", "m/7", "empty", ".git/1", " blank/1", "bell\a/1"):
        (tmp_path / odd).mkdir(parents=True)
    there = look(repository(tmp_path))
    assert found(tmp_path) == {"m": ["1"]}
    noted = "\n".join(there.notes)
    for word in ("README.md", "notes.txt", "m/v2", "m/02", "m/3.5", "m/-1", "m/²", "m/7", "/empty", "blank", "bell"):
        assert word in noted
    assert ".git" not in noted and ".tmp" not in noted
    assert noted.isprintable() or "\a" not in noted


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("0", True),
        ("1", True),
        ("20260101", True),
        ("", False),
        ("01", False),
        ("1 ", False),
        ("１", False),
        ("1" * 19, False),
    ],
)
def test_versions_are_whole_numbers(text: str, counts: bool) -> None:
    """A version has one spelling: ASCII digits without a leading zero, at most 18 of them."""
    assert is_version(text) is counts


def test_a_name_without_versions_is_no_model(engine: anya.Engine, tmp_path: Path) -> None:
    """A repository without a single version is empty, not wrong."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    made = engine.apply(repository(tmp_path))
    assert not made
    assert [note.split(" is ")[1] for note in made.notes] == [
        "left alone: it holds no model.onnx",
        "left alone: it has no version with a model.onnx",
    ]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_repository_that_is_not_there(engine: anya.Engine, tmp_path: Path, kind: str) -> None:
    """A repository that has vanished, or is no directory, is a ConfigError, and what is loaded stays."""
    put(tmp_path / "r", 1)
    wanted = repository(tmp_path / "r")
    engine.apply(wanted)
    (tmp_path / "r").rename(tmp_path / "away")
    if kind == "file":
        write(tmp_path / "r", data=b"")
    with pytest.raises(anya.ConfigError, match="No such file|Not a directory") as caught:
        engine.apply(wanted)
    assert caught.value.field == "repository.path"
    assert who(engine) == 1


@pytest.mark.parametrize("what", ["m", "m/1", "m/1/model.onnx"])
def test_links_are_refused(engine: anya.Engine, tmp_path: Path, what: str) -> None:
    """A link as name, version or model is refused as everywhere, and nothing of the repository is loaded."""
    put(tmp_path / "real", 1)
    put(tmp_path / "r", 1, name="other")
    link = tmp_path / "r" / what
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "real" / what)
    with pytest.raises((anya.UnsafeFile, anya.ApplyError)) as caught:
        engine.apply(repository(tmp_path / "r"))
    error = caught.value.__cause__ if isinstance(caught.value, anya.ApplyError) else caught.value
    assert isinstance(error, anya.UnsafeFile)
    assert held(engine) == {}


def test_a_version_that_does_not_load(engine: anya.Engine, tmp_path: Path) -> None:
    """One version that does not load keeps all of the change out, and what was there goes on."""
    put(tmp_path, 1)
    engine.apply(repository(tmp_path))
    put(tmp_path, 2)
    put(tmp_path, 3, data=b"half a mod")
    with pytest.raises(anya.ApplyError, match="load m 3"):
        engine.apply(repository(tmp_path))
    assert held(engine) == {"m:1": "serving"}
    put(tmp_path, 3)
    engine.apply(repository(tmp_path))
    assert held(engine) == {"m:2": "warm", "m:3": "serving"}


def test_a_name_that_goes_is_unloaded(engine: anya.Engine, tmp_path: Path) -> None:
    """`apply` takes away a name that the repository no longer has."""
    put(tmp_path, 1)
    put(tmp_path, 1, name="other")
    engine.apply(repository(tmp_path))
    (tmp_path / "m").rename(tmp_path / ".m")
    engine.apply(repository(tmp_path))
    assert held(engine) == {"other:1": "serving"}


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: anya.VersionPolicy(latest=0), "latest"),
        (lambda: anya.VersionPolicy(latest=1, all=True), "latest"),
        (lambda: anya.VersionPolicy(latest=1, specific=("1",)), "latest"),
        (lambda: anya.VersionPolicy(all="yes"), "all"),  # type: ignore[arg-type]
        (lambda: anya.VersionPolicy(specific=()), "specific"),
        (lambda: anya.VersionPolicy(specific="3"), "specific"),  # type: ignore[arg-type]
        (lambda: anya.VersionPolicy(specific=("blue",)), "specific"),
        (lambda: anya.VersionPolicy(specific=(3,)), "specific"),  # type: ignore[arg-type]
        (lambda: anya.RepositoryConfig(path=""), "path"),
        (lambda: anya.RepositoryConfig(path="/r", version_policy=2), "version_policy"),  # type: ignore[arg-type]
        (lambda: anya.RepositoryConfig.from_dict({}), "path"),
        (
            lambda: anya.RepositoryConfig.from_dict({"path": "/r", "version_policy": {"lates": 1}}),
            "version_policy.lates",
        ),
        (lambda: anya.ModelConfig(version_labels={"3": "3"}), "version_labels.3"),
        (lambda: anya.ModelConfig(version_labels={"a b\n": "3"}), "version_labels"),
        (lambda: anya.ModelConfig(version_labels={"a": 3}), "version_labels.a"),  # type: ignore[dict-item]
        (lambda: anya.ModelConfig(version_labels=("a", "3")), "version_labels"),  # type: ignore[arg-type]
        (lambda: anya.ModelConfig(version_transition="resource"), "version_transition"),  # type: ignore[arg-type]
        (lambda: anya.ModelConfig(version_policy="all"), "version_policy"),  # type: ignore[arg-type]
        (lambda: anya.ModelConfig(source="/x", version_policy=anya.VersionPolicy()), "version_policy"),
        (lambda: config(version_policy=anya.VersionPolicy()), "models.m.version_policy"),
        (lambda: anya.EngineConfig(repository="/r"), "repository"),  # type: ignore[arg-type]
    ],
)
def test_bad_values_are_refused_by_name(make: Any, field: str) -> None:
    """A refusal names the field."""
    with pytest.raises(anya.ConfigError) as caught:
        make()
    assert caught.value.field == field


# ---- looks


def test_a_stamp_changes_with_the_files(tmp_path: Path) -> None:
    """Size, time, names and number of files count; what is not there, or too much, has no stamp."""
    folder = put(tmp_path, 1).parent
    seen = [stamp_of(str(folder))]
    assert stamp_of(str(folder)) == seen[0]
    put(tmp_path, 1)
    seen.append(stamp_of(str(folder)))
    write(folder / "data" / "weights.bin", data=b"12")
    seen.append(stamp_of(str(folder)))
    (folder / "data" / "weights.bin").rename(folder / "data" / "weights")
    seen.append(stamp_of(str(folder)))
    (folder / "data" / "weights").unlink()
    seen.append(stamp_of(str(folder)))
    assert None not in seen and len(set(seen)) == len(seen)
    assert stamp_of(str(tmp_path / "nothing")) is None


def test_a_directory_of_too_many_files_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version with more files than any model has is not looked through to its end."""
    monkeypatch.setattr(_repository, "MOST_FILES", 3)
    folder = put(tmp_path, 1).parent
    assert stamp_of(str(folder)) is not None
    for name in ("a", "b"):
        write(folder / name, data=b"")
    there = look(repository(tmp_path))
    assert there.versions["m"]["1"] == Files(str(folder), None)
    assert "holds more than 3 files" in there.notes[0]


def test_a_link_is_looked_at_as_a_link(tmp_path: Path) -> None:
    """What a link points to does not count: a loop of links has a stamp and an end."""
    folder = put(tmp_path, 1).parent
    before = stamp_of(str(folder))
    (folder / "loop").symlink_to(folder)
    assert stamp_of(str(folder)) not in (None, before)


def test_two_looks_agree_on_what_is_settled() -> None:
    """What is new or different in the second look is changing; names whose own source differs are told apart."""
    first = Found(
        versions={"m": {"1": Files("/1", "a"), "2": Files("/2", "a"), "4": Files("/4", "a")}},
        sources={"same": Files("/s", "a"), "other": Files("/o", "a"), "gone": Files("/g", "a")},
    )
    second = Found(
        versions={
            "m": {"1": Files("/1", "a"), "2": Files("/2", "b"), "3": Files("/3", "a")},
            "n": {"1": Files("/n", "a")},
        },
        sources={"same": Files("/s", "a"), "other": Files("/o", "b"), "new": Files("/n", "a")},
        notes=("odd",),
    )
    there, changing = settled(first, second)
    assert there.versions == {
        "m": {"1": Files("/1", "a"), "2": Files("/2", None), "3": Files("/3", None)},
        "n": {"1": Files("/n", None)},
    }
    assert changing == {"other", "gone", "new"}
    assert there.notes == ("odd",)


def test_a_source_that_is_not_there_is_a_problem(engine: anya.Engine, tmp_path: Path) -> None:
    """A plan says which source is missing; applying it fails with the load's own error."""
    wanted = config(source=tmp_path / "nothing.onnx")
    made = engine.plan(wanted)
    assert made.problems == (f"models.m.source: there is no {tmp_path / 'nothing.onnx'}",)
    with pytest.raises(anya.ApplyError) as caught:
        engine.apply(wanted)
    assert type(caught.value.__cause__) is anya.ModelLoadError
