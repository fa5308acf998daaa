# SPDX-License-Identifier: Apache-2.0
"""_toml.py: what is written is what is read."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anya_engine._toml import dumps, plain
from anya_engine.config import BatchingConfig, EngineConfig, ModelConfig, QueuePolicy
from anya_engine.errors import ConfigError
from anya_engine.repository import RepositoryConfig, VersionPolicy
from anya_engine.rules import DimRule, InputRule
from anya_engine.trust import ModelLimits, TrustConfig

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
LABELS = NAMES.filter(lambda name: not name.isdecimal())
OPTIONS = st.dictionaries(
    TEXT.filter(lambda text: text and "\0" not in text), TEXT.filter(lambda t: "\0" not in t), max_size=2
)
PATHS = TEXT.map(lambda text: "/" + text.replace("\0", ""))
POLICIES = st.one_of(
    st.builds(VersionPolicy, latest=st.integers(1, 9)),
    st.just(VersionPolicy(all=True)),
    st.builds(VersionPolicy, specific=st.lists(st.integers(0, 99).map(str), min_size=1, max_size=3)),
)
LEVELS = st.builds(QueuePolicy, max_queue_size=st.integers(0, 9))
RULES = st.one_of(
    st.builds(
        InputRule, min=st.floats(-9, 0), max=st.floats(0, 9), finite=st.sampled_from(["reject", "clip", "allow"])
    ),
    st.just(InputRule(shape=("N", None, 3), allowed=(0, 1), normalize="nfc")),
)
TRUST = st.one_of(
    st.just(TrustConfig(mode="off")),
    st.builds(TrustConfig, mode=st.just("signature"), keys=st.tuples(PATHS, PATHS)),
    st.builds(
        TrustConfig,
        keys=st.tuples(PATHS),
        registry=PATHS,
        registry_keys=st.tuples(PATHS, PATHS),
        registry_threshold=st.integers(1, 2),
        floor=st.none() | PATHS,
        on_revoked=st.sampled_from(["alert", "drain"]),
        recheck_interval=st.floats(0.001, 100),
    ),
)
MODELS = st.builds(
    ModelConfig,
    source=st.none() | PATHS,
    version=st.none() | NAMES,
    version_labels=st.dictionaries(LABELS, NAMES, max_size=2),
    version_transition=st.sampled_from(["availability_preserving", "resource_preserving"]),
    providers=st.sampled_from(
        [("CPUExecutionProvider",), (("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider")]
    ),
    instances=st.none() | st.integers(1, 1024),
    allow_spinning=st.booleans(),
    session_options=OPTIONS,
    batching=st.builds(
        BatchingConfig,
        max_batch_size=st.integers(1, 1 << 20),
        force=st.booleans(),
        priority_queue_policy=st.dictionaries(st.integers(1, 9), LEVELS, max_size=2),
    ),
    default_timeout=st.none() | st.floats(0.001, 1e6),
    trust=st.none() | TRUST,
    model_limits=st.builds(ModelLimits, max_nodes=st.integers(1, 9), operators=st.sampled_from([(), ("Relu",)])),
    inputs=st.dictionaries(NAMES, RULES, max_size=2),
    dims=st.dictionaries(NAMES, st.builds(DimRule, max=st.integers(1, 99)), max_size=1),
    batch_check_rtol=st.floats(0, 1e6),
)
CHOSEN = st.builds(ModelConfig, version_policy=POLICIES)
REPOSITORIES = st.builds(RepositoryConfig, path=PATHS, version_policy=POLICIES)
ENGINES = st.one_of(
    st.builds(EngineConfig, models=st.dictionaries(NAMES, MODELS, max_size=3)),
    st.builds(EngineConfig, models=st.dictionaries(NAMES, MODELS | CHOSEN, max_size=3), repository=REPOSITORIES),
)


@settings(deadline=None)  # a busy machine
@given(ENGINES)
def test_what_is_written_is_read(config: EngineConfig) -> None:
    """The text of any configuration is TOML that makes the very same configuration."""
    text = config.to_toml()
    assert EngineConfig.from_dict(tomllib.loads(text)) == config


def test_a_file_in_full(tmp_path: Path) -> None:
    """Only what differs from its default is written, one table per configuration, and from_toml reads it."""
    config = EngineConfig(
        models={
            "ranker": ModelConfig(
                source="/m", version_labels={"stable": "3"}, batching=BatchingConfig(max_batch_size=8)
            ),
            "a b": ModelConfig(),
        },
        repository=RepositoryConfig(path="/r"),
    )
    text = """\
[models.ranker]
source = "/m"

[models.ranker.version_labels]
stable = "3"

[models.ranker.batching]
max_batch_size = 8

[models."a b"]

[repository]
path = "/r"
"""
    assert config.to_toml() == text
    (tmp_path / "engine.toml").write_text(text)
    assert EngineConfig.from_toml(tmp_path / "engine.toml") == config
    assert EngineConfig().to_toml() == ""


@pytest.mark.parametrize(
    "value", [0.1, 1e300, -0.0, 5e-324, math.inf, -math.inf, True, -(2**63), 'a"\\\n\x00\x7f', "", []]
)
def test_plain_values(value: Any) -> None:
    """Numbers keep every digit, text every character."""
    read = tomllib.loads(dumps({"x": value}))["x"]
    assert (type(read), repr(read)) == (type(value), repr(value))
    assert math.isnan(tomllib.loads(dumps({"x": math.nan}))["x"])


def test_tables_in_arrays() -> None:
    """A table within an array is written in place, its keys quoted where they must be."""
    table = {"a": [{"b c": [1, {"d": "e"}]}, {}], "t": {"u": {"v": 1}}}
    assert tomllib.loads(dumps(table)) == table


@pytest.mark.parametrize("value", [None, b"bytes", object(), "\ud800"])
def test_what_toml_cannot_hold(value: Any) -> None:
    """What has no form in TOML is refused, never written as something else."""
    with pytest.raises(ConfigError, match="TOML cannot hold"):
        dumps({"x": value})


def test_none_that_is_no_default() -> None:
    """None is written by leaving the field out, which is refused where that would mean something else."""

    @dataclasses.dataclass
    class Odd:
        field: int | None = 3

    assert plain(Odd()) == {}
    with pytest.raises(ConfigError, match="no word for none") as caught:
        plain(Odd(field=None))
    assert caught.value.field == "field"
