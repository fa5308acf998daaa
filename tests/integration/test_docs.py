# SPDX-License-Identifier: Apache-2.0
"""The code in the documents runs: every Python block that its file marks with `<!-- runs -->`.

Where a block without a language comes right after one, it is what that one prints, but for its numbers.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- runs -->\n```python\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", flags=re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]\d+)?")
#: Document -> the packages that its blocks need beyond the engine's own, and how many blocks there are at least.
DOCUMENTS = {
    "README.md": ((), 3),
    "docs/monitoring.md": ((), 3),
    "docs/caching.md": ((), 1),
    "docs/embedding.md": (("fastapi", "httpx2"), 6),
    "docs/configuration.md": ((), 4),
    "docs/resilience.md": ((), 1),
    "docs/rollouts.md": ((), 7),
}


def ranker() -> bytes:
    """features float32 [N, 4] -> scores float32 [N], their sum: the model that the documents speak of."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["features", "axis"], ["scores"], keepdims=0)],
        "graph",
        [value("features", TensorProto.FLOAT, ["N", 4])],
        [value("scores", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    return bytes(made.SerializeToString())


def broken_ranker() -> bytes:
    """The same to look at, and loads; but a run fails for every row whose sum is not 0."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["features", "axis"], ["sums"], keepdims=0),
            helper.make_node("Cast", ["sums"], ["places"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "places"], ["scores"]),
        ],
        "graph",
        [value("features", TensorProto.FLOAT, ["N", 4])],
        [value("scores", TensorProto.FLOAT, ["N"])],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
            helper.make_tensor("table", TensorProto.FLOAT, [1], [0]),
        ],
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    return bytes(made.SerializeToString())


def blocks(document: str) -> list[tuple[int, str, str | None]]:
    """The marked blocks of a document, with the line of each and what it prints."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(text.count("\n", 0, match.start(1)), match[1], match[2]) for match in BLOCK.finditer(text)]


@pytest.fixture
def a_place_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has models/ranker.onnx, another version of it, and one that fails."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/ranker.onnx").write_bytes(ranker())
    (tmp_path / "models/new-ranker.onnx").write_bytes(ranker())
    (tmp_path / "models/ranker-2.onnx").write_bytes(broken_ranker())
    onnx.checker.check_model(ranker())
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("a_place_with_a_model")
@pytest.mark.parametrize("document", list(DOCUMENTS))
def test_marked_blocks_run(document: str) -> None:
    """The marked blocks of a document run in the order of reading, each seeing what those before it defined, and print
    what the document says.
    """
    packages, least = DOCUMENTS[document]
    for package in packages:
        pytest.importorskip(package)
    if not (ROOT / document).is_file():
        pytest.skip(f"{document} is not beside these tests")
    found = blocks(document)
    assert len(found) >= least
    names: dict[str, Any] = {"__name__": "document"}
    for line, code, output in found:
        # The empty lines in front make a traceback's line numbers those of the document.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * line + code, str(ROOT / document), "exec"), names)
        if output is not None:
            assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", output), printed.getvalue()
    if "engine" in names:
        names["engine"].close()
