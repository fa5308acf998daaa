# SPDX-License-Identifier: Apache-2.0
"""The command line on real models: inspect, infer, and all three as programs."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from python.cli_support import Capture, ModelFiles, assert_refused, npz, run, run_apart
from python.support import HUNG, assert_same, environment, expected, floats

import anya_engine as anya
from anya_engine.cli._arrays import replacing, write_npz
from anya_engine.cli._text import CliError


@pytest.fixture
def model(tmp_path: Path) -> ModelFiles:
    """Writes a model of the table as a file: called with its name, gives its path."""
    return ModelFiles(tmp_path)


# ---- inspect


@pytest.mark.parametrize("directory", [False, True])
def test_inspect_tells_what_load_tells(tmp_path: Path, capsys: Capture, model: ModelFiles, directory: bool) -> None:
    """--json holds the facts of Engine.load, for a file and for a directory."""
    path = Path(model("two_inputs"))
    if directory:
        folder = tmp_path / "folder"
        folder.mkdir()
        path = path.rename(folder / "model.onnx").parent
    with anya.Engine() as engine:
        info = engine.load("m", path)
    status, out, err = run(capsys, "inspect", path, "--json")
    facts = json.loads(out)
    assert (status, err) == (0, "")
    assert facts["path"] == str(path)
    assert facts["name"] == ("folder" if directory else "two_inputs")
    for field in ("digest", "memory", "batchable", "batching_note", "instances", "max_batch_size"):
        assert facts[field] == getattr(info, field)
    assert facts["inputs"] == [{"name": n, "dtype": "float32", "shape": ["N", 3]} for n in ("a", "b")]
    assert [each["name"] for each in facts["outputs"]] == ["sum", "diff"]
    assert facts["providers"] == ["CPUExecutionProvider"]


def test_inspect_prints_a_table(capsys: Capture, model: ModelFiles) -> None:
    """Without --json the same facts stand in lines: digest, why it batches, every input and output."""
    status, out, err = run(capsys, "inspect", model("softmax_axis0"))
    assert (status, err) == (0, "")
    assert re.search(r"^digest +sha256:[0-9a-f]{64}$", out, re.MULTILINE)
    assert re.search(r"^batchable +no\n +runs alone: output 'y' of a row depends", out, re.MULTILINE)
    assert re.search(r"^input +x +float32 +\[", out, re.MULTILINE)


def test_options_of_the_model_reach_the_engine(capsys: Capture, model: ModelFiles) -> None:
    """--instances and --max-batch-size are those of ModelConfig."""
    status, out, _ = run(capsys, "inspect", model("tiny"), "--instances", 3, "--max-batch-size", 5, "--json")
    facts = json.loads(out)
    assert (status, facts["instances"], facts["max_batch_size"]) == (0, 3, 5)


# ---- infer


@pytest.mark.parametrize("rows", [1, 64, 65, 1000])
def test_infer_gives_what_onnxruntime_gives(tmp_path: Path, capsys: Capture, model: ModelFiles, rows: int) -> None:
    """A file of any number of rows, in one request or in many, comes back whole and in order."""
    feeds = {"x": floats(rows, 64)}
    out = tmp_path / "y.npz"
    status, said, err = run(
        capsys, "infer", model("tiny"), "--input", npz(tmp_path / "x.npz", **feeds), "--out", out, "--json"
    )
    assert (status, err) == (0, "")
    facts = json.loads(said)
    assert facts["rows"] == rows
    assert facts["outputs"] == [{"name": "y", "dtype": "float32", "shape": [rows, 10]}]
    with np.load(out) as answer:
        assert_same(dict(answer), expected("tiny", feeds), rtol=1e-4)


def test_infer_takes_one_unnamed_array(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """np.savez(file, array), and a bare .npy, are the input of a model that has one."""
    array = floats(2, 64)
    np.savez(tmp_path / "x.npz", array)
    np.save(tmp_path / "x.npy", array)
    for name in ("x.npz", "x.npy"):
        status, _, err = run(
            capsys, "infer", model("tiny"), "--input", tmp_path / name, "--out", tmp_path / f"{name}.out"
        )
        assert (status, err) == (0, "")
        with np.load(tmp_path / f"{name}.out") as answer:
            assert_same(dict(answer), expected("tiny", {"x": array}), rtol=1e-4)


def test_infer_gives_a_model_that_runs_alone_its_file_as_it_is(
    tmp_path: Path, capsys: Capture, model: ModelFiles
) -> None:
    """Rows that depend on each other are not taken apart, however many they are."""
    feeds = {"x": floats(200, 4)}
    status, said, err = run(
        capsys,
        *("infer", model("softmax_axis0"), "--input", npz(tmp_path / "x.npz", **feeds)),
        *("--out", tmp_path / "y.npz", "--json"),
    )
    assert (status, err) == (0, "")
    assert json.loads(said)["rows"] is None
    with np.load(tmp_path / "y.npz") as answer:
        assert_same(dict(answer), expected("softmax_axis0", feeds), rtol=1e-5)


def test_infer_keeps_the_outputs_asked_for(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """--output names what is written; a table of it goes to stdout."""
    feeds = {"a": floats(70, 3), "b": floats(70, 3, seed=6)}
    status, said, err = run(
        capsys,
        *("infer", model("two_inputs"), "--input", npz(tmp_path / "x.npz", **feeds)),
        *("--out", tmp_path / "y.npz", "--output", "diff"),
    )
    assert (status, err) == (0, "")
    assert re.fullmatch(r"70 rows in [\d.]+ ms, written to \S+y\.npz\ndiff  float32  \[70, 3\]\n", said)
    with np.load(tmp_path / "y.npz") as answer:
        assert_same(dict(answer), {"diff": feeds["a"] - feeds["b"]})


def test_infer_stores_text_without_pickle(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """Text goes in and comes out as NumPy's fixed-width text, which needs no pickle to read."""
    feeds = npz(tmp_path / "x.npz", text=np.array(["tea", "a long day", ""] * 50))
    status, _, err = run(capsys, "infer", model("strings"), "--input", feeds, "--out", tmp_path / "y.npz")
    assert (status, err) == (0, "")
    with np.load(tmp_path / "y.npz", allow_pickle=False) as answer:
        assert answer["echo"].tolist() == ["tea", "a long day", ""] * 50
        assert answer["loud"].tolist() == ["tea!", "a long day!", "!"] * 50


def test_infer_refuses_text_that_the_file_cannot_hold(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """NumPy's fixed-width text drops what ends in NUL: such an answer is refused, not shortened."""
    assert np.array(["a\0"]).tolist() == ["a"]
    with pytest.raises(CliError, match="NUL"):
        write_npz(io.BytesIO(), {"y": np.array(["a\0"], dtype=object)})


def test_names_of_outputs_are_kept_whatever_they_are(tmp_path: Path) -> None:
    """A name that is an argument of numpy.savez, or looks like a path, comes back as it went in."""
    arrays = {"file": np.arange(3), "a/b:0": np.zeros((0, 2)), "x.npy": np.array(1.5)}
    with replacing(str(tmp_path / "y.npz")) as write:
        write(lambda file: write_npz(file, arrays))
    with np.load(tmp_path / "y.npz") as answer:
        assert_same(dict(answer), arrays)


def test_infer_passes_bfloat16_as_float32(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """What .npz cannot name goes in and out as float32, exactly; a value that would be rounded is refused."""
    path = model("identity_bfloat16")
    exact = np.array([[1.5, -2.0, 0.25], [np.inf, 0.0, -1.0]], np.float32)
    out = tmp_path / "y.npz"
    status, _, err = run(capsys, "infer", path, "--input", npz(tmp_path / "x.npz", x=exact), "--out", out)
    assert (status, err) == (0, "")
    with np.load(out) as answer:
        assert_same(dict(answer), {"y": exact})
    rounded = npz(tmp_path / "x.npz", x=exact + np.float32(0.001))
    assert_refused(run(capsys, "infer", path, "--input", rounded, "--out", out), "bfloat16", "round")


def test_infer_that_fails_leaves_the_old_file(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """The output file changes whole or not at all, and nothing is left beside it."""
    out = tmp_path / "out" / "y.npz"
    out.parent.mkdir()
    out.write_bytes(b"old")
    bad = npz(tmp_path / "x.npz", x=floats(2, 63))
    assert_refused(run(capsys, "infer", model("tiny"), "--input", bad, "--out", out), "INVALID_INPUT", "64", "63")
    assert out.read_bytes() == b"old"
    assert list(out.parent.iterdir()) == [out]
    good = npz(tmp_path / "x.npz", x=floats(2, 64))
    assert run(capsys, "infer", model("tiny"), "--input", good, "--out", out)[0] == 0
    assert list(out.parent.iterdir()) == [out]
    assert zipfile.is_zipfile(out)


# ---- as a program


def test_inspect_as_a_program(model: ModelFiles) -> None:
    """`python -m anya_engine inspect` prints and ends with 0."""
    done = run_apart("inspect", model("tiny"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "batchable  yes" in done.stdout


def test_infer_as_a_program(tmp_path: Path, model: ModelFiles) -> None:
    """`python -m anya_engine infer` writes what ONNX Runtime answers."""
    feeds = {"x": floats(3, 64)}
    done = run_apart(
        "infer", model("tiny"), "--input", npz(tmp_path / "x.npz", **feeds), "--out", tmp_path / "y.npz", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rows"] == 3
    with np.load(tmp_path / "y.npz") as answer:
        assert_same(dict(answer), expected("tiny", feeds), rtol=1e-4)


def test_bench_as_a_program(model: ModelFiles) -> None:
    """`python -m anya_engine bench` measures; its exit status is the verdict."""
    done = run_apart("bench", model("tiny"), "--seconds", 0.1, "--p99-below", 1e-9, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["passed"] is False


def test_failure_as_a_program(tmp_path: Path) -> None:
    """A missing model is one line on stderr and exit status 2."""
    done = run_apart("inspect", tmp_path / "missing.onnx")
    assert_refused((done.returncode, done.stdout, done.stderr), "there is no")


@pytest.mark.parametrize("command", [[], ["inspect"], ["infer"], ["bench"]], ids=str)
def test_help_has_an_example(capsys: Capture, command: list[str]) -> None:
    """--help ends with 0; each command's has an example that begins with the program's name."""
    status, out, err = run(capsys, *command, "--help")
    assert (status, err) == (0, "")
    assert not command or re.search(rf"^example:\n(  .*\n)*  anya-engine {command[0]} ", out, re.MULTILINE)


def test_version(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """--version prints the installed distribution's version; a copy that is not installed says so."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"7 of {name}")
    assert run(capsys, "--version") == (0, "anya-engine 7 of anya-engine\n", "")
    monkeypatch.setattr(importlib.metadata, "version", _not_installed)
    assert_refused(run(capsys, "--version"), "not installed")


def _not_installed(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(model: ModelFiles) -> None:
    """With rich and a terminal for stderr a bar moves there; stdout is the same as without."""
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "anya_engine",
        "bench",
        model("tiny"),
        "--seconds",
        "1.5",
        "--no-baseline",
        "--json",
    ]
    process = subprocess.Popen(command, env={**environment(), "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    out, _ = process.communicate(timeout=HUNG)
    assert process.returncode == 0
    assert b"under load" in seen
    assert json.loads(out)["engine"]["ok"] > 0
