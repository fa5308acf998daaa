# SPDX-License-Identifier: Apache-2.0
"""How sure a classifier is: what the metrics say against NumPy, and configurations that cannot be."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.parts import model, value
from onnx import TensorProto, helper

import anya_engine as anya

LOGITS = anya.ModelConfig(predictions=anya.PredictionConfig(values="logits"))
PROBABILITIES = anya.ModelConfig(predictions=anya.PredictionConfig())


def echo(width: int | None, kind: int = TensorProto.FLOAT) -> bytes:
    """x -> y, the same: whatever distribution a test wants the model to give."""
    shape = ["N"] if width is None else ["N", width]
    node = helper.make_node("Identity", ["x"], ["y"])
    return bytes(model([node], [value("x", shape, kind)], [value("y", shape, kind)]))


def stats_of(engine: anya.Engine) -> Any:
    """Of the only model."""
    return engine.stats().models[0]


def by_class(engine: anya.Engine) -> dict[str, int]:
    """Classes that were predicted."""
    return {name: count for name, count in stats_of(engine).predictions if count}


def wanted(x: Any, *, logits: bool) -> tuple[Any, Any, Any, Any]:
    """Top class, confidence, margin and entropy of each row, by the textbook, in float64."""
    x = x.astype(np.float64)
    if x.ndim == 1 or x.shape[1] == 1:
        second = x.reshape(-1)
        second = 1 / (1 + np.exp(-second)) if logits else second
        p = np.stack([1 - second, second], axis=1)
    else:
        p = np.exp(x - x.max(axis=1, keepdims=True)) if logits else x
        p = p / p.sum(axis=1, keepdims=True) if logits else p
    ordered = np.sort(p, axis=1)
    entropy = -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0), axis=1) / np.log(p.shape[1])
    top = x if logits and p.shape[1] == x.shape[-1] else p  # softmax may make small differences equal
    return top.argmax(axis=1), ordered[:, -1], ordered[:, -1] - ordered[:, -2], entropy


def assert_counted(engine: anya.Engine, x: Any, *, logits: bool) -> None:
    """Sums, buckets and classes are those of NumPy; a value on an edge may lie in either bucket."""
    top, confidence, margin, entropy = wanted(x, logits=logits)
    found = stats_of(engine)
    for snapshot, values in ((found.confidence, confidence), (found.margin, margin), (found.entropy, entropy)):
        assert sum(snapshot.counts) == len(values)
        assert snapshot.sum == pytest.approx(values.sum(), abs=2e-5 * len(values))
        below = np.cumsum(snapshot.counts)[:-1]
        for edge, count in zip(snapshot.edges, below, strict=True):
            assert (values <= edge - 1e-5).sum() <= count <= (values <= edge + 1e-5).sum()
    assert by_class(engine) == {str(k): n for k, n in zip(*np.unique(top, return_counts=True), strict=True)}


@pytest.mark.parametrize("width", [None, 1, 2, 7, 40])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("logits", [True, False])
def test_the_metrics_are_numpys(engine: anya.Engine, width: int | None, kind: Any, logits: bool) -> None:
    """Confidence, margin, entropy and classes of random rows, every shape and type, in one request and in company."""
    random = np.random.default_rng(width or 0)
    x = random.standard_normal((60,) if width is None else (60, width)) * 3
    if not logits:
        x = 1 / (1 + np.exp(-x)) if width in (None, 1) else random.dirichlet(np.full(width or 1, 0.3), 60)
    x = x.astype(kind)
    element = {np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE, np.float16: TensorProto.FLOAT16}[kind]
    engine.load("m", echo(width, element), config=LOGITS if logits else PROBABILITIES)

    async def crowd() -> None:
        await asyncio.gather(*(engine.infer_async("m", row) for row in np.array_split(x[30:], 30)))

    engine.infer("m", x[:30])
    asyncio.run(crowd())
    assert_counted(engine, x, logits=logits)


@given(st.lists(st.lists(st.floats(-80, 80, width=32), min_size=3, max_size=3), min_size=1, max_size=8))
def test_any_logits(rows: list[list[float]]) -> None:
    """Whatever the logits, equal and extreme ones too, the counts are those of the definition."""
    x = np.array(rows, np.float32)
    top, *_ = wanted(x, logits=True)
    with anya.Engine() as engine:
        engine.load("m", echo(3), config=LOGITS)
        engine.infer("m", x)
        found = stats_of(engine)
        assert found.confidence.sum == pytest.approx(wanted(x, logits=True)[1].sum(), abs=1e-4 * len(x))
        assert found.entropy.sum == pytest.approx(wanted(x, logits=True)[3].sum(), abs=1e-4 * len(x))
        assert by_class(engine) == {str(k): n for k, n in zip(*np.unique(top, return_counts=True), strict=True)}


def test_what_is_no_distribution_is_invalid(engine: anya.Engine) -> None:
    """Rows that do not sum to 1, are negative or not finite count as invalid, and in no histogram."""
    engine.load("m", echo(2), config=PROBABILITIES)
    rows = [[0.5, 0.4], [1.5, -0.5], [np.nan, 1.0], [np.inf, 0.0], [0.5, 0.5]]
    engine.infer("m", np.array(rows, np.float32))
    assert by_class(engine) == {"invalid": 4, "0": 1}
    assert sum(stats_of(engine).confidence.counts) == 1


def test_classes_have_names_and_an_end(engine: anya.Engine) -> None:
    """Named classes are there from the load on; those from the fiftieth on are one."""
    named = anya.PredictionConfig(values="logits", classes=("cat", "dog"))
    engine.load("m", echo(60), config=anya.ModelConfig(predictions=named))
    assert stats_of(engine).predictions == [("cat", 0), ("dog", 0), ("other", 0), ("invalid", 0)]
    engine.infer("m", np.eye(60, dtype=np.float32)[[0, 1, 2, 49, 50, 59]])
    assert by_class(engine) == {"cat": 1, "dog": 1, "2": 1, "49": 1, "other": 2}
    text = engine.metrics_text().decode()
    assert 'anya_predictions_total{model="m",version="1",class="dog"} 1' in text


def test_answers_from_the_cache_are_not_counted_again(engine: anya.Engine) -> None:
    """A run counts, a hit does not; nor does an answer without the output."""
    config = anya.ModelConfig(predictions=anya.PredictionConfig(values="logits"), cache=anya.CacheConfig())
    engine.load("m", echo(3), config=config)
    for _ in range(4):
        engine.infer("m", np.ones((1, 3), np.float32))
    assert sum(by_class(engine).values()) == 1


@pytest.mark.parametrize("predictions", [{"output": "z"}, {"output": "y"}, {}])
def test_an_output_that_cannot_be_read_is_refused(engine: anya.Engine, predictions: dict[str, Any]) -> None:
    """At load, with the field and what there is instead."""
    config = anya.ModelConfig(predictions=anya.PredictionConfig(**predictions))
    with pytest.raises(anya.ConfigError, match="predictions.*holds floats; it has none") as refused:
        engine.load("m", echo(3, TensorProto.INT64), config=config)
    assert refused.value.field == "predictions.output"


@pytest.mark.parametrize(
    "wrong",
    [
        {"values": "scores"},
        {"classes": ("a", "a")},
        {"classes": ("other",)},
        {"classes": tuple(map(str, range(51)))},
        {"classes": "ab"},
        {"output": 3},
    ],
)
def test_wrong_configurations_are_refused(wrong: dict[str, Any]) -> None:
    """Each names its field."""
    with pytest.raises(anya.ConfigError) as refused:
        anya.PredictionConfig(**wrong)
    assert refused.value.field == next(iter(wrong))


def test_it_is_written_down() -> None:
    """A configuration goes through TOML and back."""
    config = anya.PredictionConfig(values="logits", output="y", classes=("a", "b"))
    whole = anya.EngineConfig(models={"m": anya.ModelConfig(predictions=config)})
    import tomllib

    assert anya.EngineConfig.from_dict(tomllib.loads(whole.to_toml())) == whole
