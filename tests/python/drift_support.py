# SPDX-License-Identifier: Apache-2.0
"""A model to watch, its reference, and what a report says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from models.parts import const, model, value
from onnx import helper
from python.support import floats

import anya_engine as anya
from anya_engine._profile_build import build_profile
from anya_engine.profile import Profile

#: Everything is looked at, and nothing closes a window by itself.
ALL = anya.DriftConfig(sample_rate=1.0, window=3600.0)


def classifier(classes: int = 4) -> bytes:
    """x [N, 5] -> p [N, classes], the softmax of a fixed layer; x itself comes out as same."""
    weights = np.random.default_rng(1).standard_normal((5, classes)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Softmax", ["h"], ["p"], axis=-1),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    outputs = [value("p", ["N", classes]), value("same", ["N", 5])]
    return model(nodes, [value("x", ["N", 5])], outputs, [const("w", weights)])


def profile_of(engine: anya.Engine, name: str, inputs: dict[str, Any], **more: Any) -> Profile:
    """The profile of rows that a loaded model answers."""
    info = next(each for each in engine.models() if each.name == name)
    return build_profile(
        model=name,
        version=info.version,
        digest=info.digest,
        inputs=inputs,
        outputs=engine.infer(name, inputs),
        specs=(info.inputs, info.outputs),
        **more,
    )


def load_watched(
    engine: anya.Engine, folder: Path, rows: int = 4000, config: anya.DriftConfig = ALL, labels: Any = None
) -> Profile:
    """Load a classifier from the folder as "m", beside a reference of so many rows, which is returned."""
    engine.load("plain", classifier())
    profile = profile_of(engine, "plain", {"x": floats(rows, 5, seed=1)}, labels=labels)
    (folder / "model.onnx").write_bytes(classifier())
    (folder / "profile.json").write_text(profile.to_json())
    engine.load("m", folder, config=anya.ModelConfig(drift=config))
    return profile


def told(report: anya.DriftReport) -> list[tuple[str, str, tuple[int, ...], float]]:
    """What was counted of each feature."""
    return [(f.tensor, f.feature, f.counts, f.nonfinite) for f in report.features]
