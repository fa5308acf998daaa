# SPDX-License-Identifier: Apache-2.0
"""`anya-engine plan`: what a configuration would change, without doing it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from python.cli_support import Capture, assert_refused, run, run_apart
from python.plan_support import put, write


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A model, a repository, and two configurations that speak of them."""
    write(tmp_path / "first.onnx", data=b"is not read")
    for version in (1, 2, 3):
        put(tmp_path / "r", version, data=b"is not read")
    (tmp_path / "old.toml").write_text('[models.a]\nsource = "first.onnx"\n[repository]\npath = "r"\n')
    (tmp_path / "new.toml").write_text(
        '[models.a]\nsource = "first.onnx"\ninstances = 2\n[models.m]\nversion_labels = { stable = "2" }\n'
        '[repository]\npath = "r"\nversion_policy = { latest = 1 }\n'
    )
    return tmp_path


def test_a_plan_for_a_fresh_engine(files: Path, capsys: Capture) -> None:
    """Without --against everything is loaded; nothing is opened for it."""
    status, out, err = run(capsys, "plan", files / "old.toml")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"load    a 1 from {files}/first.onnx",
        f"load    m 2 from {files}/r/m/2",
        f"load    m 3 from {files}/r/m/3",
        "serve   a: nothing → 1",
        "serve   m: nothing → 3",
    ]


def test_a_plan_between_two_files(files: Path, capsys: Capture) -> None:
    """With --against only the difference is told, field by field."""
    status, out, _ = run(capsys, "plan", files / "new.toml", "--against", files / "old.toml")
    assert status == 0
    assert out.splitlines() == [
        "reload  a 1",
        "          instances: None → 2",
        "serve   m: 3 → 2",
        "label   m stable: nothing → 2",
    ]
    assert run(capsys, "plan", files / "old.toml", "--against", files / "old.toml") == (0, "nothing to do\n", "")


def test_a_plan_for_programs(files: Path, capsys: Capture) -> None:
    """--json prints the same steps as one object."""
    status, out, _ = run(capsys, "plan", files / "new.toml", "--against", files / "old.toml", "--json")
    made = json.loads(out)
    assert status == 0
    assert [step["step"] for step in made["steps"]] == ["reload", "switch", "label"]
    assert made["steps"][0]["changes"] == [{"field": "instances", "old": "None", "new": "2"}]
    assert (made["problems"], made["notes"]) == ([], [])


def test_a_plan_that_will_fail(files: Path, capsys: Capture) -> None:
    """A source that is not there is a verdict: status 1, and the plan says it."""
    (files / "first.onnx").unlink()
    status, out, err = run(capsys, "plan", files / "old.toml")
    assert (status, err) == (1, "")
    assert out.splitlines()[-1] == f"problem models.a.source: there is no {files}/first.onnx"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.a]\nsorce = 1", ["CONFIG_ERROR", "models.a.sorce: unknown key; did you mean 'source'?"]),
        ("[models.a", ["CONFIG_ERROR", "not TOML"]),
        ('[repository]\npath = "nowhere"', ["CONFIG_ERROR", "nowhere", "No such file"]),
        ("[repository]", ["repository.path: is missing"]),
    ],
)
def test_a_configuration_that_is_refused(files: Path, capsys: Capture, text: str, words: list[str]) -> None:
    """What is wrong with either file is said in one line, status 2."""
    (files / "bad.toml").write_text(text)
    assert_refused(run(capsys, "plan", files / "bad.toml"), "anya-engine plan: ", *words)
    assert_refused(run(capsys, "plan", files / "old.toml", "--against", files / "bad.toml"), *words)


def test_names_cannot_move_the_cursor(files: Path, capsys: Capture) -> None:
    """A name from a directory that somebody else wrote reaches the terminal without its control characters."""
    put(files / "r", 1, name="\x1b[2Jodd", data=b"")
    _, out, _ = run(capsys, "plan", files / "old.toml")
    assert "odd" in out and "\x1b" not in out


def test_plan_as_a_program(files: Path) -> None:
    """The same from a shell; --help has an example."""
    done = run_apart("plan", files / "old.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "serve   m: nothing → 3" in done.stdout
    assert "anya-engine plan new.toml --against engine.toml" in run_apart("plan", "--help").stdout
