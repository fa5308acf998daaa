# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the engine's tests: an engine, and real models in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from models.awkward import POISON_ROWS, poison
from models.make_models import MODELS

import anya_engine as anya

pytest.register_assert_rewrite("python.support")

# How long an example takes says something of the machine only.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

from python.support import assert_at_rest  # noqa: E402  # after the line above, so that its asserts explain themselves

#: load(name, version=, config=): a model of the table, loaded under its own name.
Load = Callable[..., anya.ModelInfo]


@pytest.fixture
def engine() -> Iterator[anya.Engine]:
    """An engine without models; whatever a test did with it, rule 1 holds when the test is over."""
    with anya.Engine() as made:
        yield made
        assert_at_rest(made)


@pytest.fixture
def load(engine: anya.Engine) -> Load:
    """Loads a model of the table into the engine, from bytes, under its own name."""

    def load_one(
        model: str, *, name: str | None = None, version: str | None = None, config: anya.ModelConfig | None = None
    ) -> anya.ModelInfo:
        return engine.load(name or model, MODELS[model](), version=version, config=config)

    return load_one


@pytest.fixture
def poisoned(engine: anya.Engine) -> anya.Engine:
    """An engine whose version 2 fails for the table's last rows, which version 1 has."""
    engine.load("p", poison(), version="1")
    engine.load("p", poison(rows=POISON_ROWS - 3), version="2")
    return engine


@pytest.fixture
def guarded(engine: anya.Engine) -> Callable[..., anya.Engine]:
    """Makes an engine with a model `m` of this configuration, and a `simple` one; y is x + x."""

    def make(**config: Any) -> anya.Engine:
        engine.load("simple", MODELS["unnamed_batch"]())
        engine.load("m", MODELS["unnamed_batch"](), config=anya.ModelConfig(**config))
        return engine

    return make
