# SPDX-License-Identifier: Apache-2.0
"""A watched model: what the core counts is what arrays say, references come and are refused, versions stand apart."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from prometheus_client import CollectorRegistry
from python.drift_support import ALL, classifier, load_watched, profile_of, told
from python.support import floats, until

import anya_engine as anya
from anya_engine import _core
from anya_engine._drift_counts import counts_of_arrays


@pytest.fixture
def watched(engine: anya.Engine, tmp_path: Path) -> Any:
    """See `load_watched`."""
    return functools.partial(load_watched, engine, tmp_path)


@pytest.mark.parametrize("way", ["infer", "batched", "submit", "async"])
def test_the_core_counts_what_arrays_say(engine: anya.Engine, watched: Any, way: str) -> None:
    """Every feature's counts are those of NumPy over the same rows, in place, in a batch and alone on a worker."""
    profile = watched()
    x = floats(600, 5, seed=2)
    x[::50, 3] = np.nan
    x[7, 1], x[9, 1] = np.inf, -np.inf
    parts = [x[i : i + 3] for i in range(0, len(x), 3)]
    if way == "infer":
        for part in parts:
            engine.infer("m", part)
    elif way == "submit":
        for part in parts:
            engine.submit("m", part).result()
    elif way == "batched":
        for future in [engine.submit("m", part) for part in parts]:
            future.result()
    else:

        async def ask() -> None:
            await asyncio.gather(*(engine.infer_async("m", part) for part in parts))

        asyncio.run(ask())
    until(lambda: engine.drift("m").rows == len(x), "the last batch is counted after its answers are out")
    report = engine.drift("m")
    assert report.sampled_rows == len(x)
    expected = counts_of_arrays(profile, {"x": x}, engine.infer("plain", x))
    assert [counts for _, _, counts, _ in told(report)] == [tuple(counts.bins.tolist()) for counts in expected]
    for feature, counts in zip(report.features, expected, strict=True):
        assert feature.nonfinite == counts.nonfinite / (counts.n + counts.nonfinite)
        if feature.kind == "numeric":
            seen = [feature.mean, feature.std]
            np.testing.assert_allclose(seen, [counts.moments.mean, counts.moments.std], rtol=1e-6, atol=1e-9)


def test_from_ok_to_drift(engine: anya.Engine, watched: Any) -> None:
    """As in the reference: OK. Windows of other rows: WARN, WARN, DRIFT; the metrics say the same."""
    watched(config=dataclasses.replace(ALL, window_rows=400))
    drift = engine._models.drift
    assert engine.drift("m").state == "INSUFFICIENT"
    engine.infer("m", floats(400, 5, seed=3))
    drift.poll(0.0)
    assert engine.drift("m").state == "OK"
    states = []
    for seed in range(3):
        engine.infer("m", floats(400, 5, seed=seed) + 1)
        drift.poll(0.0)
        states.append(engine.drift("m").state)
    assert states == ["WARN", "WARN", "DRIFT"]
    report = engine.drift("m")
    assert "for 3 windows in a row" in report.why
    worst = max(report.features, key=lambda feature: feature.statistic)
    assert worst.statistic > worst.threshold and len(worst.history) == 4
    registry = CollectorRegistry()
    registry.register(engine.collector())
    labels = {"model": "m", "version": "1", "tensor": worst.tensor, "feature": worst.feature}
    assert registry.get_sample_value("anya_drift_state", labels) == 2
    assert registry.get_sample_value("anya_drift_psi", labels) == worst.statistic
    assert registry.get_sample_value("anya_drift_psi_threshold", labels) == worst.threshold
    assert registry.get_sample_value("anya_drift_samples", labels) == 400


def test_sampling_is_reproducible_and_outputs_are_all_counted(engine: anya.Engine, watched: Any) -> None:
    """A rate of 0.25 looks at about a quarter of the requests' inputs and at all outputs; at 0 at no input."""
    watched(config=dataclasses.replace(ALL, sample_rate=0.25))
    for i in range(400):
        engine.infer("m", floats(1, 5, seed=i))
    report = engine.drift("m")
    assert report.rows == 400
    assert 60 <= report.sampled_rows <= 140
    assert {f.n for f in report.features if f.role == "input"} == {report.sampled_rows}
    assert {f.n for f in report.features if f.role == "output"} == {400}
    assert len(repr(report)) < 1000 and all(len(repr(feature)) < 1000 for feature in report.features)
    said = f"of 400 rows the inputs of {report.sampled_rows} were looked at"
    assert said in report.why
    assert all(said in f.why and "sample_rate" in f.why for f in report.features if f.role == "input")
    assert not any(said in f.why for f in report.features if f.role == "output")


def test_the_same_numbers_give_the_same_sample(tmp_path: Path) -> None:
    """Two engines that are asked the same look at the same requests."""
    counted = []
    for _ in range(2):
        with anya.Engine() as engine:
            engine.load("plain", classifier())
            (tmp_path / "p.json").write_text(profile_of(engine, "plain", {"x": floats(500, 5)}).to_json())
            config = anya.DriftConfig(reference=tmp_path / "p.json", sample_rate=0.2)
            engine.load("m", classifier(), config=anya.ModelConfig(drift=config))
            for i in range(300):
                engine.infer("m", floats(1, 5, seed=i))
            counted.append(told(engine.drift("m")))
    assert counted[0] == counted[1]


def test_a_profile_of_another_model_is_refused(engine: anya.Engine, watched: Any, tmp_path: Path) -> None:
    """Other tensors, other types, other widths: refused at load, naming the tensor; nothing stays loaded."""
    profile = watched()
    place = tmp_path / "other.json"
    config = anya.ModelConfig(drift=anya.DriftConfig(reference=place))
    for changed, words in (
        ({"name": "q"}, "no input 'q'"),
        ({"dtype": "float64"}, "float64"),
        ({"shape": ("N", 6)}, "['N', 6]"),
    ):
        first = dataclasses.replace(profile.tensors[0], **changed)
        place.write_text(dataclasses.replace(profile, tensors=(first, *profile.tensors[1:])).to_json())
        with pytest.raises(anya.ConfigError, match="another model") as caught:
            engine.load("x", classifier(), config=config)
        assert words in str(caught.value)
    place.unlink()
    with pytest.raises(anya.ConfigError, match="No such file"):
        engine.load("x", classifier(), config=config)
    assert [info.name for info in engine.models()] == ["plain", "m"]
    with pytest.raises(anya.ConfigError, match=r"profile\.json is no JSON"):
        (tmp_path / "profile.json").write_text("{")
        engine.load("x", tmp_path)


def test_off_means_off(engine: anya.Engine, watched: Any) -> None:
    """With enabled=False not even a profile.json turns the watching on."""
    watched(config=anya.DriftConfig(enabled=False))
    engine.infer("m", floats(4, 5))
    assert engine.drift("m").features == ()


def test_estimated_accuracy_falls_with_confidence(engine: anya.Engine, watched: Any) -> None:
    """On the reference's own rows the estimate is the accuracy; on rows that leave the model unsure it is lower."""
    x = floats(4000, 5, seed=1)
    engine.load("first", classifier())
    p = engine.infer("first", x)["p"]
    rng = np.random.default_rng(2)
    labels = np.where(rng.random(4000) < p.max(axis=1), p.argmax(axis=1), (p.argmax(axis=1) + 1) % 4)
    watched(labels=labels)
    accuracy = float((p.argmax(axis=1) == labels).mean())
    engine.infer("m", x)
    report = engine.drift("m")
    assert report.reference_accuracy == pytest.approx(accuracy)
    assert report.estimated_accuracy == pytest.approx(accuracy, abs=0.002)
    engine.infer("m", x[:3999] * 0.2)
    unsure = engine.drift("m").estimated_accuracy
    assert unsure is not None and unsure < accuracy - 0.1


def test_text_and_categories(engine: anya.Engine, load: Any, tmp_path: Path) -> None:
    """Strings are watched by length and, when they come back, by value; one that the reference lacks is unseen."""
    load("strings", name="plain")
    spec = engine.models()[0].inputs
    name = spec[0].name
    words = np.random.default_rng(4).choice(["yes", "no", "größer"], size=1000, p=[0.5, 0.3, 0.2]).astype(object)
    rows = words.reshape(-1, *(axis for axis in spec[0].shape[1:] if isinstance(axis, int)))
    profile = profile_of(engine, "plain", {name: rows})
    (tmp_path / "p.json").write_text(profile.to_json())
    config = anya.ModelConfig(drift=dataclasses.replace(ALL, reference=tmp_path / "p.json"))
    engine.load("m", MODELS["strings"](), config=config)
    engine.infer("m", {name: rows})
    engine.infer("m", {name: np.full_like(rows[:100], "maybe")})
    features = {f.feature: f for f in engine.drift("m").features if f.role == "input"}
    by_value = next(f for f in features.values() if f.kind == "categorical")
    assert by_value.categories[:3] == ("yes", "no", "größer")
    assert by_value.counts[-1] == 100
    assert by_value.unseen == pytest.approx(100 / (len(rows) + 100))
    length = next(f for f in features.values() if f.feature.endswith("@length"))
    assert length.reference_mean == pytest.approx(np.mean([len(word) for word in words]), rel=0.1)


def test_a_plan_that_lies_is_refused(load: Any, engine: anya.Engine) -> None:
    """The core refuses a plan whose bins, sources or tensors are not there, before it counts anything."""
    load("tiny")
    core = engine._models.stable("tiny")

    def plan(tensor_changes: dict[str, Any], feature_changes: dict[str, Any]) -> _core.DriftPlan:
        tensor, feature, made = _core.DriftTensor(), _core.DriftFeature(), _core.DriftPlan()
        tensor.numbers, feature.edges, feature.bins = 64, [0.0], 2
        for target, changes in ((tensor, tensor_changes), (feature, feature_changes)):
            for field, given in changes.items():
                setattr(target, field, given)
        tensor.features = [feature]
        made.tensors = [tensor]
        return made

    core.watch_drift(plan({}, {}))
    for wrong in (
        ({"index": 1}, {}),
        ({}, {"bins": 5}),
        ({}, {"source": 64}),
        ({}, {"edges": [1.0, 0.0], "bins": 3}),
        ({}, {"keys": [1.0], "key_bins": [2], "edges": []}),
        ({"kind": _core.DriftKind.embedding, "numbers": 2}, {}),
    ):
        with pytest.raises(anya.ConfigError):
            core.watch_drift(plan(*wrong))
    core.watch_drift(None)
