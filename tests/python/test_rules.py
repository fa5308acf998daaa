# SPDX-License-Identifier: Apache-2.0
"""rules.py: what a rule may say, the defaults, and the file that holds rules."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anya_engine.config import ModelConfig
from anya_engine.errors import ConfigError
from anya_engine.rules import DimRule, InputRule, OutputRule, Schema

HEADER = Path(__file__).resolve().parents[2] / "cpp/include/anya/rules.h"
MOST = (1 << 63) - 1
#: How the core writes "not said".
NOT_SAID = {"INT64_MAX": None, "": None}


def core_fields(struct: str) -> dict[str, Any]:
    """Return field -> default of a struct of rules.h, as Python would have it."""
    text = re.sub(r"//[^\n]*", "", HEADER.read_text())
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", text, flags=re.DOTALL)
    assert body is not None, struct
    fields: dict[str, Any] = {}
    for names, default in re.findall(
        r"^\s*[\w:<>]+(?:<[^;]*>)? ((?:\w+, )*\w+)\s*(?:=\s*([^;]+))?;", body[1], re.MULTILINE
    ):
        for name in names.split(", "):
            value = default.strip().strip('"')
            known = NOT_SAID | {"true": True, "false": False}
            fields[name] = known[value] if value in known else float(value) if value[0].isdigit() else value
    return fields


@pytest.mark.parametrize(
    ("cls", "own"), [(InputRule, {"input", "from_file"}), (OutputRule, {"output", "from_file"}), (DimRule, {"name"})]
)
def test_defaults_match_the_core(cls: Any, own: set[str]) -> None:
    """Each rule has the core's fields and defaults, but for the name it stands under and where it comes from."""
    core = {name: value for name, value in core_fields(cls.__name__).items() if name not in own | {"from_file"}}
    assert core == dataclasses.asdict(cls())


@pytest.mark.parametrize(
    ("cls", "values", "field"),
    [
        (InputRule, {"finite": "drop"}, "finite"),
        (InputRule, {"min": 2, "max": 1}, "min"),
        (InputRule, {"min": "0"}, "min"),
        (InputRule, {"min": True}, "min"),
        (InputRule, {"max": float("nan")}, "max"),
        (InputRule, {"max": float("inf")}, "max"),
        (InputRule, {"max": 1 << 64}, "max"),
        (InputRule, {"min": -(1 << 63) - 1}, "min"),
        (InputRule, {"on_range": "clip"}, "on_range"),
        (InputRule, {"on_range": "drop"}, "on_range"),
        (InputRule, {"allowed": ()}, "allowed"),
        (InputRule, {"allowed": "01"}, "allowed"),
        (InputRule, {"allowed": 3}, "allowed"),
        (InputRule, {"allowed": {0: 1}}, "allowed"),
        (InputRule, {"allowed": ("a",)}, "allowed"),
        (InputRule, {"allowed": (0, 1), "max": 1}, "allowed"),
        (InputRule, {"finite": "replace", "replace_with": 2, "max": 1}, "replace_with"),
        (InputRule, {"finite": "replace", "allowed": (1, 2)}, "replace_with"),
        (InputRule, {"replace_with": float("nan")}, "replace_with"),
        (InputRule, {"max_bytes": 0}, "max_bytes"),
        (InputRule, {"max_length": -1}, "max_length"),
        (InputRule, {"utf8": 1}, "utf8"),
        (InputRule, {"control": "keep"}, "control"),
        (InputRule, {"normalize": "nfd"}, "normalize"),
        (InputRule, {"dtype": "float"}, "dtype"),
        (InputRule, {"shape": "N"}, "shape"),
        (InputRule, {"shape": (0,)}, "shape"),
        (InputRule, {"shape": (1,) * 17}, "shape"),
        (OutputRule, {"finite": "clip"}, "finite"),
        (OutputRule, {"min": 1, "max": 0}, "min"),
        (DimRule, {"min": 0}, "min"),
        (DimRule, {"min": 3, "max": 2}, "max"),
        (ModelConfig, {"inputs": [InputRule()]}, "inputs"),
        (ModelConfig, {"inputs": {"x": OutputRule()}}, "inputs.x"),
        (ModelConfig, {"inputs": {"": InputRule()}}, "inputs"),
        (ModelConfig, {"outputs": {3: OutputRule()}}, "outputs"),
        (ModelConfig, {"dims": {"N": 3}}, "dims.N"),
        (ModelConfig, {"max_rows": 0}, "max_rows"),
    ],
)
def test_a_rule_without_sense_is_refused(cls: Any, values: dict[str, Any], field: str) -> None:
    """What no rule can mean is a ConfigError that names the field, when the rule is made."""
    with pytest.raises(ConfigError) as caught:
        cls(**values)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_numbers_keep_what_they_are() -> None:
    """Whole numbers stay whole and exact, NumPy's become Python's, lists become tuples, True and False numbers."""
    rule = InputRule(min=np.int64(-3), max=(1 << 64) - 1)
    assert (rule.min, type(rule.min), rule.max) == (-3, int, (1 << 64) - 1)
    assert InputRule(allowed=np.arange(3)).allowed == (0, 1, 2)  # type: ignore[arg-type]
    assert InputRule(allowed=[True, False]).allowed == (1, 0)  # type: ignore[arg-type]
    assert InputRule(shape=["N", "", 3]).shape == ("N", None, 3)  # type: ignore[arg-type]


def test_rules_are_frozen_values() -> None:
    """Rules compare by value, hash, travel through pickle, and a configuration's mappings cannot change."""
    rule = InputRule(min=0, allowed=None, shape=("N", 3))
    config = ModelConfig(inputs={"x": rule}, dims={"N": DimRule(max=4)})
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(rule) == hash(InputRule(min=0, shape=("N", 3)))
    with pytest.raises(TypeError):
        config.inputs["y"] = rule  # type: ignore[index]


SCHEMA = b"""
version = 1
max_rows = 64

[dims]
N = {max = 64}
T = {min = 1, max = 512}

[inputs.ids]
dtype = "int64"
shape = ["N", "T"]
min = 0
max = 30521

[inputs.text]
max_length = 4096
normalize = "nfc"

[outputs.logits]
shape = ["", 1000]
"""


def test_a_schema_file_says_what_a_configuration_says() -> None:
    """schema.toml and ModelConfig hold the same fields under the same names."""
    schema = Schema.from_toml(SCHEMA)
    assert schema.inputs == {
        "ids": InputRule(dtype="int64", shape=("N", "T"), min=0, max=30521),
        "text": InputRule(max_length=4096, normalize="nfc"),
    }
    assert schema.outputs == {"logits": OutputRule(shape=(None, 1000))}
    assert schema.dims == {"N": DimRule(max=64), "T": DimRule(min=1, max=512)}
    assert schema.max_rows == 64
    config = ModelConfig(inputs=schema.inputs, outputs=schema.outputs, dims=schema.dims, max_rows=64)
    table = {
        "max_rows": 64,
        "inputs": {"ids": {"dtype": "int64", "shape": ["N", "T"], "min": 0, "max": 30521}},
    }
    read = ModelConfig.from_dict(table)
    assert read.inputs["ids"] == config.inputs["ids"]


@pytest.mark.parametrize(
    ("content", "field", "words"),
    [
        (b"version = 2", "version", "at most 1"),
        (b"inputs = 3", "inputs", "table"),
        (b"[inputs]\nx = 3", "inputs.x", "table"),
        (b"[inputs.x]\nmin = 'a'", "inputs.x.min", "number"),
        (b"[inputs.x]\nmim = 0", "inputs.x.mim", "did you mean 'min'"),
        (b"[input.x]\nmin = 0", "input", "did you mean 'inputs'"),
        (b"[dims.N]\nmax = 0", "dims.N.max", "at least 1"),
        (b"max_rows = 1.5", "max_rows", "whole number"),
        (b"version = 1\nversion = 1", None, "not TOML"),
        (b"\xff", None, "not TOML"),
        (b"a = " + b"[" * 100_000, None, "not TOML"),
    ],
)
def test_a_wrong_file_is_named_by_its_place(content: bytes, field: str | None, words: str) -> None:
    """Whatever is wrong in a schema file is a ConfigError with the path of the field, or says that it is no TOML."""
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        Schema.from_toml(content)
    assert caught.value.field == field


@given(st.one_of(st.binary(max_size=60), st.text(alphabet='[]{}="\n.x10 inputsd', max_size=60).map(str.encode)))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """Arbitrary bytes are a schema or a ConfigError, never anything else."""
    with contextlib.suppress(ConfigError):
        assert isinstance(Schema.from_toml(content), Schema)
