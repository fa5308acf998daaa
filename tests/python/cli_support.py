# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: models and arrays as files, running a command, what a refusal is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.support import HUNG, environment

from anya_engine.cli import main

Capture = pytest.CaptureFixture[str]


class ModelFiles:
    """ModelFiles(folder)(name): the path of a model of the table, written as a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> str:
        path = self.folder / f"{name}.onnx"
        path.write_bytes(MODELS[name]())
        return str(path)


def npz(path: Path, **arrays: Any) -> str:
    """A file of arrays."""
    np.savez(path, **arrays)
    return str(path)


def run(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command in this process."""
    status = main([str(each) for each in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def run_apart(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "anya_engine", *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HUNG,
        check=False,
    )


def assert_refused(done: tuple[int, str, str], *words: str) -> None:
    """Exit status 2, nothing on stdout, one line on stderr that has these words and is no traceback."""
    status, out, err = done
    assert (status, out) == (2, ""), (status, out, err)
    assert err.startswith("anya-engine"), err
    assert err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err
    for word in words:
        assert word in err, err
