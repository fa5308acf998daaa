# SPDX-License-Identifier: Apache-2.0
"""A file-type model (Magika) on the files of this project, with Magika's own feature extraction and its own labels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import magika
import numpy as np
import pytest
from conformance.compare import differences
from conformance.crowd import by_tasks, by_threads, until_shared, wrong_answers
from conformance.plain import PlainSession

import anya_engine as anya

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(magika.__file__).parent / "models" / "standard_v3_3" / "model.onnx"
FILES = 64
#: Alone, the bits are the same. In company a matrix has more rows and ONNX Runtime adds in another order: where the
#: model is of two minds, that moves a probability. 1.5e-3 is the most that was seen, of plain ONNX Runtime on two rows.
RTOL, ATOL = 1e-3, 5e-3


class Listening:
    """Stands where Magika's session stands: notes what it is asked, answers through plain ONNX Runtime."""

    def __init__(self) -> None:
        self.session = PlainSession(MODEL.read_bytes())
        self.asked: list[Any] = []

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        """Answer like the session."""
        row = np.asarray(inputs["bytes"], np.int32)  # Magika passes lists
        self.asked.append(row)
        answer = self.session.run({"bytes": row})
        return [answer[name] for name in outputs]


class Asking:
    """Stands where Magika's session stands, and asks the engine."""

    def __init__(self, engine: anya.Engine) -> None:
        self.engine = engine

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        """Answer like the session."""
        answer = self.engine.infer("magika", np.asarray(inputs["bytes"], np.int32), outputs=outputs)
        return [answer[name] for name in outputs]


def paths() -> list[Path]:
    """Files of the project, of every kind it has in turn, in an order of their own."""
    folders = ("cpp", "bindings", "src", "tests", "docs", "benchmarks")
    found = sorted(each for folder in folders for each in (ROOT / folder).rglob("*.*") if each.is_file())
    found = [each for each in found if not {"__pycache__", "build"} & set(each.parts)]
    random.Random(5).shuffle(found)
    found = [*sorted(each for each in ROOT.iterdir() if each.is_file()), *found]
    kinds: dict[str, list[Path]] = {}
    for each in found:
        kinds.setdefault(each.suffix, []).append(each)
    turns = [each for turn in zip_longest(*kinds.values()) for each in turn if each is not None]
    return turns[:FILES]


def labels(session: Any) -> list[tuple[str, str]]:
    """The model's label and the final one of every file, by the magika package on this session."""
    judge = magika.Magika()
    judge._onnx_session = session
    results = [judge.identify_path(path) for path in paths()]
    return [(str(each.dl.label), str(each.output.label)) for each in results]


@pytest.fixture(scope="module")
def plain() -> tuple[list[Any], list[tuple[str, str]]]:
    """The rows that Magika makes of the files, and its labels, on plain ONNX Runtime."""
    session = Listening()
    said = labels(session)
    return [{"bytes": each} for each in session.asked], said


@pytest.fixture(scope="module")
def requests(plain: Any) -> list[dict[str, Any]]:
    """One row for every file, and after every fourth one a request of four rows, so that sizes mix."""
    rows = [inputs["bytes"] for inputs in plain[0]]
    made = list(rows)
    for first in range(0, len(rows) - 3, 4):
        made.append(np.concatenate(rows[first : first + 4]))
    random.Random(7).shuffle(made)
    return [{"bytes": each} for each in made]


@pytest.fixture(scope="module")
def wanted(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What plain ONNX Runtime answers to each row alone."""
    session = PlainSession(MODEL.read_bytes())
    return [
        {"target_label": np.concatenate([session.run({"bytes": row[None]})["target_label"] for row in inputs["bytes"]])}
        for inputs in requests
    ]


@pytest.fixture(scope="module")
def engine() -> Iterator[anya.Engine]:
    """An engine with the model."""
    with anya.Engine() as made:
        made.load("magika", MODEL)
        yield made


def test_magika_on_the_engine_gives_magikas_labels(engine: anya.Engine, plain: Any) -> None:
    """The magika package gives every file the same labels, whether its session is plain or the engine."""
    rows, said = plain
    assert len(rows) >= FILES * 9 // 10
    assert len({final for _, final in said}) >= 4
    assert labels(Asking(engine)) == said


def test_a_file_alone_has_plain_onnx_runtimes_bits(engine: anya.Engine, requests: Any, wanted: Any) -> None:
    """Asked one after the other, every file has the scores of plain ONNX Runtime, to the bit."""
    alone = [(inputs, want) for inputs, want in zip(requests, wanted, strict=True) if len(inputs["bytes"]) == 1]
    assert wrong_answers([engine.infer("magika", inputs) for inputs, _ in alone], [want for _, want in alone]) == {}


@pytest.mark.parametrize("ask", [by_tasks, by_threads])
def test_a_file_in_a_crowd_has_the_scores_it_has_alone(
    ask: Any, engine: anya.Engine, requests: Any, wanted: Any, record_counts: Any
) -> None:
    """64 tasks, or 16 threads, ask for one file or four at once; every file has its own scores."""
    answers, shared = until_shared(ask, engine, "magika", requests, "bytes")
    all_wanted = wanted * (len(answers) // len(wanted))
    assert wrong_answers([each.outputs for each in answers], all_wanted, rtol=RTOL, atol=ATOL) == {}
    pairs = list(zip(answers, all_wanted, strict=True))
    off = max(float(np.abs(got.outputs[name] - want[name]).max()) for got, want in pairs for name in want)
    record_counts(
        f"Magika, {ask.__name__}",
        {
            "requests": str(len(answers)),
            "answered from a shared run": str(shared),
            "largest difference": f"{off:.1e}",
        },
    )
    assert shared > 0


def test_the_scores_of_two_files_are_told_apart(plain: Any) -> None:
    """The comparison has the power it needs: of ten pairs of files, nine at least could not be exchanged unseen."""
    session = PlainSession(MODEL.read_bytes())
    different = {row["bytes"].tobytes(): row for row in plain[0]}
    answers = [session.run(row) for row in different.values()]
    passing = sum(
        not differences(one, other, rtol=RTOL, atol=ATOL) for i, one in enumerate(answers) for other in answers[:i]
    )
    assert passing * 10 <= len(answers) * (len(answers) - 1) // 2
