# SPDX-License-Identifier: Apache-2.0
"""What a model's inputs and outputs may hold, beyond what the model itself says; and the file that says so.

A model without rules is checked for types and shapes only, and pays nothing for the rest. Rules come from
`ModelConfig`, and from `schema.toml` in a model directory, which is covered by the model's digest and signature.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from . import _checks as check
from ._frozen import FrozenMapping
from ._tables import FromTable, build, table_of
from .errors import ConfigError

__all__ = ["DimRule", "InputRule", "OutputRule", "Schema"]

#: One axis of a stated shape: a size, a name, or None for any size.
Axis: TypeAlias = int | str | None

_DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "str"),
)
_MOST = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputRule(FromTable):
    """What an input may hold. A rule with no more than its defaults already refuses NaN and infinities.

    Numbers are rounded to the input's element type before they are compared, as NumPy does: `max=0.1` takes a float32
    0.1. What the type cannot hold (a fraction for whole numbers, 300 for uint8) is refused at load.

    Attributes:
        dtype: Element type the model must have (NumPy's name; "str"); None: not stated.
        shape: Shape the model must have, one entry per axis: a size, a name, or None (in TOML "") for any size. A size
            where the model has a free axis narrows it. Axes of one name have one size in a request, across inputs, and
            `ModelConfig.dims` says which.
        max_bytes: Bytes of this input in one request; strings: their UTF-8.
        finite: NaN and infinities. "reject"; "clip": infinities become `max` and `min`, or the type's greatest and
            lowest number, and NaN, which has no side, is refused; "replace": all become `replace_with`; "allow": NaN
            passes, infinities are held against `min` and `max`.
        replace_with: See `finite`. Must keep the rule itself.
        min: The least value, inclusive.
        max: The greatest value, inclusive.
        on_range: What is outside: "reject", or "clip" to `min` and `max`.
        allowed: The only values there may be, instead of `min` and `max`.
        max_length: Characters of one string.
        utf8: Strings given as bytes must be UTF-8.
        control: Control characters other than tab, line feed and carriage return: "reject" or "allow".
        normalize: Strings that are not in Unicode's normal form C: "allow", "reject", or "nfc" to bring them into it.
    """

    dtype: str | None = None
    shape: tuple[Axis, ...] | None = None
    max_bytes: int | None = None
    finite: Literal["reject", "clip", "replace", "allow"] = "reject"
    replace_with: float = 0.0
    min: float | None = None
    max: float | None = None
    on_range: Literal["reject", "clip"] = "reject"
    allowed: tuple[float, ...] | None = None
    max_length: int | None = None
    utf8: bool = True
    control: Literal["reject", "allow"] = "reject"
    normalize: Literal["allow", "reject", "nfc"] = "allow"

    def __post_init__(self) -> None:
        _facts(self)
        if self.max_bytes is not None:
            _set(self, "max_bytes", check.integer("max_bytes", self.max_bytes, 1, 1 << 50))
        check.choice("finite", self.finite, ("reject", "clip", "replace", "allow"))
        _range(self)
        check.choice("on_range", self.on_range, ("reject", "clip"))
        if self.on_range == "clip" and self.min is None and self.max is None:
            check.refuse("on_range", "to clip there must be min or max", self.on_range)
        if self.allowed is not None:
            if self.min is not None or self.max is not None:
                check.refuse("allowed", "takes the place of min and max, give one or the other", self.allowed)
            _set(self, "allowed", _listed(self.allowed))
        _set(self, "replace_with", _bound("replace_with", self.replace_with))
        if self.finite == "replace" and not self._keeps(self.replace_with):
            check.refuse("replace_with", "must keep the rule itself", self.replace_with)
        if self.max_length is not None:
            _set(self, "max_length", check.integer("max_length", self.max_length, 0, _MOST - 1))
        check.boolean("utf8", self.utf8)
        check.choice("control", self.control, ("reject", "allow"))
        check.choice("normalize", self.normalize, ("allow", "reject", "nfc"))

    def _keeps(self, value: float) -> bool:
        if self.allowed is not None:
            return value in self.allowed
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutputRule(FromTable):
    """What an answer must hold; one that does not is a `ModelOutputInvalid`, and is given to nobody.

    Attributes:
        dtype: Element type the model must have; None: not stated.
        shape: Shape every answer must have; see `InputRule.shape`. Names say nothing here.
        finite: NaN and infinities: "reject" or "allow".
        min: The least value, inclusive.
        max: The greatest value, inclusive.
    """

    dtype: str | None = None
    shape: tuple[Axis, ...] | None = None
    finite: Literal["reject", "allow"] = "reject"
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        _facts(self)
        check.choice("finite", self.finite, ("reject", "allow"))
        _range(self)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DimRule(FromTable):
    """Sizes that a named dimension may have, wherever it occurs: the name is the model's own, or one from a `shape`.

    Attributes:
        min: The least size.
        max: The greatest size; None: any.
    """

    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        _set(self, "min", check.integer("min", self.min, 1, _MOST))
        if self.max is not None:
            _set(self, "max", check.integer("max", self.max, self.min, _MOST))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What `schema.toml` holds; the same fields as in `ModelConfig`.

    Attributes:
        version: Of the file's format; 1.
        inputs: Rules by input name.
        outputs: Rules by output name.
        dims: Rules by dimension name.
        max_rows: Rows of one request; None: any.
    """

    version: int = 1
    inputs: Mapping[str, InputRule] = dataclasses.field(default_factory=FrozenMapping)
    outputs: Mapping[str, OutputRule] = dataclasses.field(default_factory=FrozenMapping)
    dims: Mapping[str, DimRule] = dataclasses.field(default_factory=FrozenMapping)
    max_rows: int | None = None

    def __post_init__(self) -> None:
        check.integer("version", self.version, 1, 1)
        check_rules(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Schema:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        return build(cls, values, RULE_TABLES)

    @classmethod
    def from_toml(cls, content: bytes) -> Schema:
        """Read the bytes of a schema.toml."""
        try:
            values = tomllib.loads(content.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"not TOML: {str(error) or type(error).__name__}") from error
        return cls.from_dict(values)


#: How the tables of rules are read, for `build`.
RULE_TABLES = {
    "inputs": table_of(InputRule.from_dict),
    "outputs": table_of(OutputRule.from_dict),
    "dims": table_of(DimRule.from_dict),
}


def check_rules(holder: Any) -> None:
    """Check and freeze the fields `inputs`, `outputs`, `dims` and `max_rows` of a configuration."""
    for field, kind in (("inputs", InputRule), ("outputs", OutputRule), ("dims", DimRule)):
        rules = getattr(holder, field)
        check.mapping(field, rules)
        for name, rule in rules.items():
            if not isinstance(name, str) or not name or len(name) > 4096:
                check.refuse(field, "a name must be a string of 1 to 4096 characters", name)
            check.instance(f"{field}.{check.key(name)}", rule, kind)
        _set(holder, field, FrozenMapping(rules))
    if holder.max_rows is not None:
        _set(holder, "max_rows", check.integer("max_rows", holder.max_rows, 1, _MOST - 1))


def _set(rule: object, field: str, value: object) -> None:
    object.__setattr__(rule, field, value)


def _facts(rule: InputRule | OutputRule) -> None:
    if rule.dtype is not None:
        check.choice("dtype", rule.dtype, _DTYPES)
    if rule.shape is not None:
        _set(rule, "shape", _axes(rule.shape))


def _axes(shape: object) -> tuple[Axis, ...]:
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Sequence) or len(shape) > 16:
        check.refuse("shape", "must be a sequence of at most 16 sizes and names", shape)
    return tuple(
        (axis or None) if axis is None or isinstance(axis, str) else check.integer("shape", axis, 1, _MOST)
        for axis in shape
    )


def _listed(values: object) -> tuple[float, ...]:
    """Return the values of a list of what is allowed; True and False are 1 and 0 there."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Collection) or not len(values):
        check.refuse("allowed", "must be a sequence of at least one number", values)
    return tuple(_bound("allowed", int(value) if isinstance(value, bool) else value) for value in values)


def _range(rule: InputRule | OutputRule) -> None:
    for field in ("min", "max"):
        value = getattr(rule, field)
        if value is not None:
            _set(rule, field, _bound(field, value))
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        check.refuse("min", f"must be at most max, {rule.max}", rule.min, rule.max)


def _bound(field: str, value: object) -> float:
    """Return a number; whole ones stay whole, since float64 cannot hold every int64."""
    if isinstance(value, (bool, str, bytes)):
        check.refuse(field, "must be a number", value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    else:
        return check.integer(field, number, -(1 << 63), (1 << 64) - 1)
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        check.refuse(field, "must be a number", value)
    if not math.isfinite(result):
        check.refuse(field, "must be finite", value)
    return result
