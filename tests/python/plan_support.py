# SPDX-License-Identifier: Apache-2.0
"""What the tests of plans share: models on disk that tell which version they are, and what an engine holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from models.make_models import MODELS
from python.support import floats

import anya_engine as anya

X = floats(1, 1)

#: Every file gets a time of its own: two writes within one tick of the disk's clock must not look alike.
_TIMES = iter(range(1_700_000_000, 1_800_000_000))


def write(path: Path, number: int = 1, *, data: bytes | None = None) -> Path:
    """Writes a model that answers with a number, or whatever bytes are given, whole or not at all; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(MODELS[f"version_{number}"]() if data is None else data)
    now = next(_TIMES)
    os.utime(part, (now, now))
    return part.replace(path)


def put(root: Path, version: int, number: int | None = None, *, name: str = "m", data: bytes | None = None) -> Path:
    """Writes a version into a repository; it answers with its own number unless another is given."""
    return write(root / name / str(version) / "model.onnx", number or version, data=data)


def config(**fields: Any) -> anya.EngineConfig:
    """The configuration of one model, `m`."""
    return anya.EngineConfig(models={"m": anya.ModelConfig(**fields)})


def repository(root: Path, model: anya.ModelConfig | None = None, *, latest: int = 2) -> anya.EngineConfig:
    """The configuration of a repository."""
    where = anya.RepositoryConfig(path=root, version_policy=anya.VersionPolicy(latest=latest))
    return anya.EngineConfig(models={"m": model} if model else {}, repository=where)


def who(engine: anya.Engine, version: str | None = None, *, name: str = "m") -> int:
    """The number that the answering model carries."""
    return int(engine.infer(name, X, version=version)["version"][0])


def held(engine: anya.Engine) -> dict[str, str]:
    """State of every loaded version, by name and version."""
    return {f"{info.name}:{info.version}": info.state for info in engine.models()}
