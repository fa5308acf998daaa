# SPDX-License-Identifier: Apache-2.0
"""What the command line says when something cannot be done: one line, exit status 2."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from python.cli_support import Capture, ModelFiles, assert_refused, npz, run
from python.support import floats


@pytest.fixture
def model(tmp_path: Path) -> ModelFiles:
    """Writes a model of the table as a file: called with its name, gives its path."""
    return ModelFiles(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["nope"],
            ["'nope'; commands: inspect, infer, bench, profile, drift, plan, metrics, keygen, sign, verify, regis"],
        ),
        (["infr"], ["did you mean infer?"]),
        (["registry"], ["init|add|revoke|sign|show|verify"]),
        (["--nope"], ["COMMAND"]),
        (["inspect"], ["MODEL"]),
        (["inspect", "MISSING"], ["there is no"]),
        (["inspect", "JUNK"], ["junk"]),
        (["inspect", "EMPTY_DIRECTORY"], ["model.onnx"]),
        (["inspect", "TINY", "--provider", "NopeProvider"], ["NopeProvider"]),
        (["inspect", "TINY", "--runtime", "MISSING"], ["CONFIG_ERROR"]),
        (["inspect", "TINY", "--frobnicate"], ["--frobnicate"]),
        (["inspect", "TINY", "--inst", "2"], ["--inst"]),
        (["infer", "TINY", "--out", "OUT"], ["--input"]),
        (["infer", "TINY", "--input", "MISSING", "--out", "OUT"], ["cannot read", "No such file"]),
        (["infer", "TINY", "--input", "JUNK", "--out", "OUT"], ["cannot read"]),
        (["infer", "TINY", "--input", "PICKLE", "--out", "OUT"], ["cannot read", "pickle"]),
        (["infer", "TINY", "--input", "OBJECTS", "--out", "OUT"], ["cannot read", "pickle"]),
        (["infer", "TINY", "--input", "TORN", "--out", "OUT"], ["cannot read"]),
        (["infer", "TINY", "--input", "WRONG_NAME", "--out", "OUT"], ["'x'", "'z'"]),
        (["infer", "TINY", "--input", "EXTRA_NAME", "--out", "OUT"], ["'z'", "no input"]),
        (["infer", "TINY", "--input", "WRONG_DTYPE", "--out", "OUT"], ["INVALID_INPUT", "float64", "float32"]),
        (["infer", "TINY", "--input", "RIGHT", "--out", "NO_FOLDER"], ["cannot write", "No such file"]),
        (["infer", "TINY", "--input", "RIGHT", "--out", "EMPTY_DIRECTORY"], ["cannot write", "regular file"]),
        (["infer", "TINY", "--input", "RIGHT", "--out", "OUT", "--output", "nope"], ["nope"]),
        (["bench", "TINY", "--concurrency", "0"], ["--concurrency", "'0'"]),
        (["bench", "TINY", "--concurrency", "many"], ["--concurrency", "many"]),
        (["bench", "TINY", "--concurrency", "2", "--rate", "5"], ["--rate", "--concurrency"]),
        (["bench", "TINY", "--rate", "nan"], ["--rate"]),
        (["bench", "TINY", "--rate", "5", "--blocking"], ["--blocking"]),
        (["bench", "TINY", "--distribution", "constant"], ["--rate"]),
        (["bench", "TINY", "--blocking", "--concurrency", "2000", "--no-baseline"], ["1024", "2000"]),
        (["bench", "TINY", "--seconds", "0"], ["--seconds"]),
        (["bench", "TINY", "--dim", "N"], ["NAME=SIZE"]),
        (["bench", "TINY", "--input", "RIGHT", "--free-size", "3"], ["--input"]),
        (["bench", "TINY", "--input", "RIGHT", "--rows", "3"], ["2 rows"]),
        (["bench", "TINY", "--input", "WRONG_DTYPE"], ["INVALID_INPUT"]),
        (["bench", "FIXED", "--rows", "2"], ["--rows"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, capsys: Capture, model: ModelFiles, arguments: list[str], words: list[str]
) -> None:
    """Exit status 2 and one line that names what is wrong; no output file, no traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.onnx").write_bytes(b"no model, no archive, just text\n" * 9)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"x": [1, 2]}))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object), allow_pickle=True)
    whole = Path(npz(tmp_path / "whole.npz", x=floats(2, 64))).read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    places = {
        "MISSING": tmp_path / "missing",
        "JUNK": tmp_path / "junk.onnx",
        "EMPTY_DIRECTORY": tmp_path / "empty",
        "TINY": model("tiny"),
        "FIXED": model("fixed_batch"),
        "OUT": tmp_path / "out.npz",
        "NO_FOLDER": tmp_path / "nowhere" / "y.npz",
        "PICKLE": tmp_path / "pickle.npz",
        "OBJECTS": tmp_path / "objects.npz",
        "TORN": tmp_path / "torn.npz",
        "RIGHT": tmp_path / "whole.npz",
        "WRONG_NAME": npz(tmp_path / "name.npz", z=floats(2, 64)),
        "EXTRA_NAME": npz(tmp_path / "extra.npz", x=floats(2, 64), z=floats(2, 64)),
        "WRONG_DTYPE": npz(tmp_path / "dtype.npz", x=floats(2, 64).astype(np.float64)),
    }
    assert_refused(run(capsys, *(places.get(each, each) for each in arguments)), *words)
    assert not (tmp_path / "out.npz").exists()
    assert list(tmp_path.glob(".anya-*")) == []


def test_no_command_at_all_shows_the_help_and_is_not_done(capsys: Capture) -> None:
    """Exit status 2, nothing on stdout for a pipe to take, and every command with its one line on stderr."""
    status, out, err = run(capsys)
    assert (status, out) == (2, "")
    assert "usage: anya-engine" in err and "inspect   load a model" in err and "registry  keep the list" in err


def test_names_cannot_move_the_terminal(tmp_path: Path, capsys: Capture) -> None:
    """Control characters of a file's name are shown, not sent."""
    assert_refused(run(capsys, "inspect", tmp_path / "a\x1b[2Jb\nc"), "\\x1b[2Jb c")
