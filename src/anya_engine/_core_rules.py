# SPDX-License-Identifier: Apache-2.0
"""From the rules of a configuration, and of a model's own file, to the core's."""

from __future__ import annotations

from collections.abc import Callable

from . import _core
from .config import ModelConfig
from .errors import ConfigError, ModelInvalid
from .rules import Axis, DimRule, InputRule, OutputRule, Schema

__all__ = ["core_rules", "schema_reader"]


def core_rules(config: ModelConfig, schema: Schema | None = None) -> _core.ModelRules:
    """The rules in force: the configuration's, and the file's for what the configuration does not name."""
    own = schema or Schema()
    rules = _core.ModelRules()
    rules.inputs = [
        *(_input(name, rule, from_file=False) for name, rule in config.inputs.items()),
        *(_input(name, rule, from_file=True) for name, rule in own.inputs.items() if name not in config.inputs),
    ]
    rules.outputs = [
        *(_output(name, rule, from_file=False) for name, rule in config.outputs.items()),
        *(_output(name, rule, from_file=True) for name, rule in own.outputs.items() if name not in config.outputs),
    ]
    rules.dims = [
        *(_dim(name, rule, from_file=False) for name, rule in config.dims.items()),
        *(_dim(name, rule, from_file=True) for name, rule in own.dims.items() if name not in config.dims),
    ]
    max_rows = own.max_rows if config.max_rows is None else config.max_rows
    if max_rows is not None:
        rules.max_rows = max_rows
        rules.max_rows_from_file = config.max_rows is None
    return rules


def schema_reader(config: ModelConfig, model: str) -> Callable[[bytes], _core.ModelRules]:
    """What the core calls with the verified bytes of a schema.toml; `model` is how errors name the model."""

    def read(content: bytes) -> _core.ModelRules:
        try:
            schema = Schema.from_toml(content)
        except ConfigError as error:
            field = "schema.toml" if error.field is None else f"schema.toml.{error.field}"
            message = f"{model}: schema.toml: {error}"
            raise ModelInvalid(message, field=field, limit=error.limit, value=error.value) from error
        return core_rules(config, schema)

    return read


def _axes(shape: tuple[Axis, ...] | None) -> list[_core.AxisSpec] | None:
    if shape is None:
        return None
    return [_core.AxisSpec(axis, "") if isinstance(axis, int) else _core.AxisSpec(-1, axis or "") for axis in shape]


def _fill(made: _core.InputRule | _core.OutputRule, rule: InputRule | OutputRule, *, from_file: bool) -> None:
    """What rules of inputs and of outputs have in common."""
    made.dtype = rule.dtype or ""
    made.shape = _axes(rule.shape)
    made.finite = rule.finite
    made.min = rule.min
    made.max = rule.max
    made.from_file = from_file


def _input(name: str, rule: InputRule, *, from_file: bool) -> _core.InputRule:
    made = _core.InputRule()
    made.input = name
    _fill(made, rule, from_file=from_file)
    if rule.max_bytes is not None:
        made.max_bytes = rule.max_bytes
    made.replace_with = rule.replace_with
    made.on_range = rule.on_range
    made.allowed = list(rule.allowed or ())
    if rule.max_length is not None:
        made.max_length = rule.max_length
    made.utf8 = rule.utf8
    made.control = rule.control
    made.normalize = rule.normalize
    return made


def _output(name: str, rule: OutputRule, *, from_file: bool) -> _core.OutputRule:
    made = _core.OutputRule()
    made.output = name
    _fill(made, rule, from_file=from_file)
    return made


def _dim(name: str, rule: DimRule, *, from_file: bool) -> _core.DimRule:
    made = _core.DimRule()
    made.name = name
    made.min = rule.min
    if rule.max is not None:
        made.max = rule.max
    made.from_file = from_file
    return made
