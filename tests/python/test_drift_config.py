# SPDX-License-Identifier: Apache-2.0
"""DriftConfig: what it refuses, and how a file says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import anya_engine as anya


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", 7),
        ("enabled", 1),
        ("sample_rate", 1.5),
        ("sample_rate", -0.1),
        ("budget", float("nan")),
        ("window", 0),
        ("window_rows", 0),
        ("window_rows", 2.5),
        ("consecutive", 0),
        ("alpha", 0),
        ("alpha", 0.6),
        ("psi_floor", -1),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: Any) -> None:
    """A wrong value is a ConfigError that names its field."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.DriftConfig(**{field: value})
    assert caught.value.field == field
    with pytest.raises(anya.ConfigError, match="drift"):
        anya.ModelConfig(drift={"window": 1})  # type: ignore[arg-type]


def test_a_file_says_it(tmp_path: Path) -> None:
    """The table `drift` of a model is its DriftConfig; a relative reference is beside the file; it is written back."""
    file = tmp_path / "engine.toml"
    file.write_text('[models.m]\nsource = "m.onnx"\n[models.m.drift]\nreference = "p.json"\nwindow = 60.0\n')
    config = anya.EngineConfig.from_toml(file)
    drift = config.models["m"].drift
    assert drift == anya.DriftConfig(reference=str(tmp_path / "p.json"), window=60.0)
    file.write_text(config.to_toml())
    assert anya.EngineConfig.from_toml(file) == config
    file.write_text("[models.m.drift]\nwindows = 60.0\n")
    with pytest.raises(anya.ConfigError, match="did you mean 'window'"):
        anya.EngineConfig.from_toml(file)
