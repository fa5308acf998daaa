# SPDX-License-Identifier: Apache-2.0
"""config.py: defaults, refusals, and the TOML file."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anya_engine.config import BatchingConfig, EngineConfig, ModelConfig, QueuePolicy
from anya_engine.errors import ConfigError
from anya_engine.resilience import BreakerPolicy
from anya_engine.trust import ModelLimits

OPTIONS = Path(__file__).resolve().parents[2] / "cpp/include/anya/options.h"


def core_options(struct: str) -> dict[str, str]:
    """Return field -> default as written in a struct of options.h; "" for a field without one."""
    text = re.sub(r"//[^\n]*", "", OPTIONS.read_text())
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", text, flags=re.DOTALL)
    assert body is not None, struct
    fields = re.findall(r"^\s*[\w:<>, ]+?[ >](\w+)\s*(?:=\s*([^;]+))?;", body[1], flags=re.MULTILINE)
    assert fields
    return {name: default.strip() for name, default in fields}


def cpp_value(text: str) -> Any:
    """Return a C++ default as Python's value."""
    if text in {"true", "false"}:
        return text == "true"
    if text.startswith('"'):
        return text.strip('"')
    if shift := re.fullmatch(r"std::int64_t\{(\d+)\} << (\d+)", text):
        return int(shift[1]) << int(shift[2])
    return float(text) if re.search(r"[.e]", text) else int(text)


def test_batching_defaults_match_the_core() -> None:
    """BatchingConfig has the names and the defaults of BatchingOptions, no more and no fewer."""
    core = core_options("BatchingOptions")
    ours = dataclasses.asdict(BatchingConfig())
    assert core.pop("default_queue_policy") == core.pop("priority_queue_policy") == ""
    policy = {name: cpp_value(text) for name, text in core_options("QueuePolicyOptions").items()}
    assert ours.pop("default_queue_policy") == policy
    assert ours.pop("priority_queue_policy") == {}
    assert {name: cpp_value(text) for name, text in core.items()} == ours


def test_model_defaults_match_the_core() -> None:
    """ModelConfig has the names and defaults of ModelOptions and SessionOptions, but for four that are said here."""
    core = core_options("SessionOptions") | core_options("ModelOptions")
    # Ours alone: where the model is. Structured in both, in its own words: providers, session entries, batching.
    del core["operator_libraries"]  # a load's own: what it verified of model_limits.custom_op_libraries
    del core["session"], core["batching"], core["cache"], core["providers"], core["config_entries"]
    del core["rules"], core["breaker"]  # compared elsewhere
    del core["predictions"], core["counters"]  # None here; memory
    del core["content"], core["trust"]  # ModelLimits is compared below; a policy is an object
    for name in ("instances", "default_timeout", "max_timeout"):
        assert core.pop(name) == "0"  # None here
    expected = {name: cpp_value(text) for name, text in core.items()}
    ours = {field.name: getattr(ModelConfig(), field.name) for field in dataclasses.fields(ModelConfig)}
    for name in ("source", "version", "providers", "session_options", "batching", "cache", "predictions", "instances"):
        del ours[name]
    for name in ("version_policy", "version_labels", "version_transition", "drift"):  # of plans; of who compares
        del ours[name]
    for name in ("inputs", "outputs", "dims", "max_rows", "trust", "model_limits"):
        del ours[name]
    del ours["retry"], ours["fallback"]  # the package's own
    assert ours.pop("default_timeout") is ours.pop("max_timeout") is ours.pop("breaker") is None
    assert expected == ours


def test_breaker_defaults_match_the_core() -> None:
    """BreakerPolicy has the names and defaults of BreakerOptions; None is 0 there."""
    ours = {field.name: getattr(BreakerPolicy(), field.name) for field in dataclasses.fields(BreakerPolicy)}
    assert {name: cpp_value(text) for name, text in core_options("BreakerOptions").items()} == {
        name: 0 if value is None else value for name, value in ours.items()
    }


def test_limits_of_content_match_the_core() -> None:
    """ModelLimits has the names and defaults of ContentLimits, domains among them."""
    core = core_options("ContentLimits")
    domains = tuple(re.findall(r'"([^"]+)"', core.pop("domains")))
    assert core.pop("operators") == core.pop("custom_op_libraries") == ""
    sizes = {"max_model_bytes": (1 << 31) - 1, "max_tensor_bytes": 64 << 30}
    assert core.pop("max_model_bytes") == "(std::int64_t{1} << 31) - 1"
    values = sizes | {name: cpp_value(text.replace("'", "")) for name, text in core.items()}
    assert values | {"domains": domains, "operators": (), "custom_op_libraries": {}} == dataclasses.asdict(
        ModelLimits()
    )


def test_structured_defaults_match_the_core() -> None:
    """One CPU provider without options, no session entries, the default batching, as many instances as fit."""
    assert core_options("ProviderOptions")["name"] == '"CPUExecutionProvider"'
    config = ModelConfig()
    assert config.providers == ("CPUExecutionProvider",)
    assert config.session_options == {}
    assert BatchingConfig() == config.batching
    assert config.instances is None


@pytest.mark.parametrize(
    ("cls", "values", "limit"),
    [
        (BatchingConfig, {"max_batch_size": 0}, 1),
        (BatchingConfig, {"max_batch_size": -1}, 1),
        (BatchingConfig, {"max_batch_size": 2**63}, 1 << 20),
        (BatchingConfig, {"max_batch_size": True}, None),
        (BatchingConfig, {"max_batch_size": 1.0}, None),
        (BatchingConfig, {"max_batch_size": "64"}, None),
        (BatchingConfig, {"max_batch_size": None}, None),
        (BatchingConfig, {"max_queue_delay_microseconds": -1}, 0),
        (BatchingConfig, {"max_queue_delay_microseconds": 60_000_001}, 60_000_000),
        (BatchingConfig, {"max_queue_size": 0}, 1),
        (BatchingConfig, {"force": 1}, None),
        (BatchingConfig, {"priority_levels": 256}, 255),
        (BatchingConfig, {"default_priority_level": -1}, 0),
        (BatchingConfig, {"default_queue_policy": {"max_queue_size": 1}}, None),
        (BatchingConfig, {"priority_queue_policy": []}, None),
        (BatchingConfig, {"queue_delay_target_microseconds": -1}, 0),
        (BatchingConfig, {"queue_delay_interval_microseconds": 0}, 1),
        (QueuePolicy, {"timeout_action": "DELAY"}, ("REJECT",)),
        (QueuePolicy, {"default_timeout_microseconds": -1}, 0),
        (QueuePolicy, {"allow_timeout_override": 1}, None),
        (QueuePolicy, {"max_queue_size": -1}, 0),
        (ModelConfig, {"default_timeout": 0}, 1e-6),
        (ModelConfig, {"default_timeout": math.nan}, None),
        (ModelConfig, {"max_timeout": 2e9}, 1e9),
        (ModelConfig, {"instances": 0}, 1),
        (ModelConfig, {"intra_op_num_threads": 0}, 1),
        (ModelConfig, {"inter_op_num_threads": 1025}, 1024),
        (ModelConfig, {"graph_optimization_level": "most"}, ("disable", "basic", "extended", "all")),
        (ModelConfig, {"graph_optimization_level": 99}, ("disable", "basic", "extended", "all")),
        (ModelConfig, {"allow_spinning": "no"}, None),
        (ModelConfig, {"enable_mem_pattern": 0}, None),
        (ModelConfig, {"enable_cpu_mem_arena": None}, None),
        (ModelConfig, {"max_request_bytes": 0}, 1),
        (ModelConfig, {"batch_check_rtol": -1e-9}, 0.0),
        (ModelConfig, {"batch_check_atol": math.nan}, None),
        (ModelConfig, {"batch_check_atol": math.inf}, None),
        (ModelConfig, {"batch_check_rtol": "1e-3"}, None),
        (ModelConfig, {"batching": {"max_batch_size": 4}}, None),
        (ModelConfig, {"source": ""}, None),
        (ModelConfig, {"source": b"model.onnx"}, None),
        (ModelConfig, {"source": "a\0b"}, None),
        (ModelConfig, {"version": ""}, 256),
        (ModelConfig, {"version": "v\n1"}, None),
        (ModelConfig, {"version": 1}, None),
        (ModelConfig, {"providers": ()}, None),
        (ModelConfig, {"providers": "CPUExecutionProvider"}, None),
        (EngineConfig, {"models": []}, None),
    ],
)
def test_bad_value_is_refused_by_name(cls: type, values: dict[str, Any], limit: object) -> None:
    """A refusal names the field, carries limit and value, and is one line."""
    [(field, value)] = values.items()
    with pytest.raises(ConfigError) as caught:
        cls(**values)
    error = caught.value
    assert field == error.field
    assert limit == error.limit
    assert value is error.value or value == error.value
    assert str(error).startswith(f"{field}: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("providers", "field"),
    [
        (("CPU",), "providers[0]"),
        (("CPUExecutionProvider", "CPUExecutionProvider"), "providers[1]"),
        (("CUDAExecutionProvider", ("CPUExecutionProvider",)), "providers[1]"),
        ((("CUDAExecutionProvider", ["device_id"]),), "providers[0].options"),
        ((("CUDAExecutionProvider", {"device_id": None}),), "providers[0].options.device_id"),
        ((("CUDAExecutionProvider", {1: "x"}),), "providers[0].options"),
        ((None,), "providers[0]"),
    ],
)
def test_bad_provider_is_refused_by_place(providers: tuple[Any, ...], field: str) -> None:
    """A refusal says which provider of the list, and which of its options."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig(providers=providers)
    assert field == caught.value.field


def test_options_become_text() -> None:
    """Provider and session options are held as the text that ONNX Runtime reads."""
    config = ModelConfig(
        providers=[("CUDAExecutionProvider", {"device_id": 1, "use_tf32": False}), "CPUExecutionProvider"],  # type: ignore[arg-type]
        session_options={"session.set_denormal_as_zero": True},  # type: ignore[dict-item]
    )
    assert config.providers == (("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"}), "CPUExecutionProvider")
    assert config.session_options == {"session.set_denormal_as_zero": "1"}


@pytest.mark.parametrize(
    "key", ["session.intra_op.allow_spinning", "session.model_external_initializers_file_folder_path"]
)
def test_session_option_around_the_engine_is_refused(key: str) -> None:
    """An entry that a field of ours owns, or that would make ONNX Runtime open files, is refused with the way out."""
    with pytest.raises(ConfigError, match="is not passed on; ") as caught:
        ModelConfig(session_options={key: "1"})
    assert f"session_options.{key}" == caught.value.field


def test_numpy_numbers_are_numbers() -> None:
    """What a sweep over an array yields is accepted, and held as Python's own."""
    config = BatchingConfig(max_batch_size=np.int64(8))  # type: ignore[arg-type]
    assert type(config.max_batch_size) is int
    assert type(ModelConfig(batch_check_rtol=np.float32(0.5)).batch_check_rtol) is float  # type: ignore[arg-type]


def test_configuration_cannot_change() -> None:
    """Neither a field nor a mapping inside can be assigned, and the caller's own dict is not looked at again."""
    options = {"session.x": "1"}
    config = ModelConfig(session_options=options)
    options["session.x"] = "2"
    assert config.session_options == {"session.x": "1"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.instances = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.session_options["session.x"] = "3"  # type: ignore[index]
    with pytest.raises(AttributeError):
        config.session_options.extra = 1  # type: ignore[attr-defined]


def test_configurations_are_values() -> None:
    """Equal configurations are equal and hash alike; pickle, copy and replace keep them so."""
    config = EngineConfig(models={"ranker": ModelConfig(providers=(("CUDAExecutionProvider", {"device_id": "0"}),))})
    assert config == pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == dataclasses.replace(config)
    assert hash(config) == hash(copy.deepcopy(config))
    assert config != EngineConfig()


def test_unknown_key_names_the_nearest() -> None:
    """A misspelt key is refused with its whole path and the key that was meant."""
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_dict({"models": {"ranker": {"batching": {"max_batchsize": 8}}}})
    assert caught.value.field == "models.ranker.batching.max_batchsize"
    assert "did you mean 'max_batch_size'?" in str(caught.value)
    with pytest.raises(
        ConfigError,
        match="^zzz: unknown key; known: models, repository, process_group, trust, metrics_",
    ):
        EngineConfig.from_dict({"zzz": 1})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"models": {"ranker": {"batching": {"max_batch_size": 0}}}}, "models.ranker.batching.max_batch_size"),
        ({"models": {"ranker": {"batching": 3}}}, "models.ranker.batching"),
        ({"models": {"ranker": []}}, "models.ranker"),
        ({"models": 1}, "models"),
        ({"models": {"ranker": {"providers": ["CPU"]}}}, "models.ranker.providers[0]"),
    ],
)
def test_refusal_in_a_table_names_its_path(values: dict[str, Any], field: str) -> None:
    """A bad value deep in a file is named from the top, in field and sentence alike."""
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_dict(values)
    assert field == caught.value.field
    assert str(caught.value).startswith(f"{field}: ")


def test_toml_file(tmp_path: Path) -> None:
    """A file says what the classes say; a relative source is relative to the file, not to the process."""
    file = tmp_path / "engine.toml"
    file.write_text(
        """
        [models.ranker]
        source = "models/ranker"
        version = "7"
        providers = [["CUDAExecutionProvider", { device_id = 1 }], "CPUExecutionProvider"]
        instances = 2
        [models.ranker.batching]
        max_batch_size = 16
        [models.small]
        source = "/models/small.onnx"
        [models.later]
        """
    )
    expected = EngineConfig(
        models={
            "ranker": ModelConfig(
                source=str(tmp_path / "models/ranker"),
                version="7",
                providers=(("CUDAExecutionProvider", {"device_id": "1"}), "CPUExecutionProvider"),
                instances=2,
                batching=BatchingConfig(max_batch_size=16),
            ),
            "small": ModelConfig(source="/models/small.onnx"),
            "later": ModelConfig(),
        }
    )
    assert expected == EngineConfig.from_toml(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"[models", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"[models.ranker]\ninstances = 0", "models.ranker.instances: must be at least 1, got 0"),
    ],
)
def test_bad_toml_file_is_refused_in_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    """What is wrong with a file is said in one line that begins with the file."""
    file = tmp_path / "engine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        EngineConfig.from_toml(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([field.name for field in dataclasses.fields(ModelConfig)]) | st.text(max_size=8)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_table_is_taken_or_refused(values: dict[str, Any]) -> None:
    """Whatever a file holds becomes a configuration or a ConfigError with a field, never another exception."""
    try:
        config = ModelConfig.from_dict(values)
    except ConfigError as error:
        assert error.field
        assert str(error).startswith(f"{error.field}: ")
        assert str(error).isprintable()
    else:
        assert config == ModelConfig.from_dict(values)


@pytest.mark.parametrize(("levels", "level", "limit"), [(0, 0, 1), (0, 256, 255), (3, 4, 3), (3, "2", None)])
def test_a_policy_is_for_a_level_that_exists(levels: int, level: object, limit: object) -> None:
    """A queue policy for a level that no request can have is refused with that level."""
    policies: Any = {level: QueuePolicy()}
    with pytest.raises(ConfigError) as caught:
        BatchingConfig(priority_levels=levels, priority_queue_policy=policies)
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("priority_queue_policy", level, limit)


def test_the_default_level_is_one_of_the_levels() -> None:
    """default_priority_level lies within priority_levels."""
    assert BatchingConfig(priority_levels=3, default_priority_level=3).default_priority_level == 3
    with pytest.raises(ConfigError, match="default_priority_level"):
        BatchingConfig(priority_levels=3, default_priority_level=4)


def test_a_default_timeout_is_within_the_longest() -> None:
    """default_timeout may not be longer than max_timeout."""
    assert ModelConfig(default_timeout=2, max_timeout=2).default_timeout == 2.0
    with pytest.raises(ConfigError, match="default_timeout") as caught:
        ModelConfig(default_timeout=3, max_timeout=2)
    assert caught.value.limit == 2.0


def test_queue_policies_from_toml(tmp_path: Path) -> None:
    """Policies by level are tables in TOML, whose keys are text; a mistake in one is refused with its whole path."""
    file = tmp_path / "engine.toml"
    text = """
        [models.m]
        default_timeout = 0.05
        [models.m.batching]
        priority_levels = 2
        default_queue_policy = { default_timeout_microseconds = 9000 }
        [models.m.batching.priority_queue_policy.2]
        max_queue_size = 7
    """
    file.write_text(text)
    model = EngineConfig.from_toml(file).models["m"]
    assert model.default_timeout == 0.05
    assert model.batching.default_queue_policy == QueuePolicy(default_timeout_microseconds=9000)
    assert model.batching.priority_queue_policy == {2: QueuePolicy(max_queue_size=7)}
    file.write_text(text.replace("max_queue_size", "max_queue"))
    with pytest.raises(ConfigError, match=r"models\.m\.batching\.priority_queue_policy\.2\.max_queue: unknown key"):
        EngineConfig.from_toml(file)
