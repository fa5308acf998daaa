# SPDX-License-Identifier: Apache-2.0
"""From plain tables, as TOML holds them, to frozen configurations: unknown keys, and the path of what is wrong."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from . import _checks as check
from .errors import ConfigError

__all__ = ["FromTable", "build", "inside", "table", "table_of", "with_message"]

C = TypeVar("C")


def build(cls: type[C], values: Mapping[str, Any], nested: Mapping[str, Callable[[Any], Any]]) -> C:
    """Make a `cls` of plain values; `nested` says how fields that are configurations themselves are made."""
    known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    arguments = {}
    for key, value in table(values).items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{check.key(key)}: unknown key; {hint}", field=check.key(key), value=value)
        if key in nested and not dataclasses.is_dataclass(value):
            try:
                value = nested[key](value)
            except ConfigError as error:
                raise inside(key, error) from error
        arguments[key] = value
    return cls(**arguments)


class FromTable:
    """A configuration none of whose fields is one itself."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        return build(cls, values, {})


def table_of(make: Callable[[Any], C]) -> Callable[[Any], dict[str, C]]:
    """Return what makes a table of configurations by name of a table of tables."""

    def read(values: Any) -> dict[str, C]:
        made: dict[str, C] = {}
        for name, value in table(values).items():
            is_made = dataclasses.is_dataclass(value)
            try:
                made[name] = value if is_made else make(value)
            except ConfigError as error:
                raise inside(name, error) from error
        return made

    return read


def table(values: object) -> Mapping[Any, Any]:
    """Accept a table."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"expected a table, got {check.shown(values)}", value=values)
    return values


def inside(outer: object, error: ConfigError) -> ConfigError:
    """Return the same refusal as seen from one level further out."""
    outer = check.key(outer)
    path = outer if error.field is None else f"{outer}.{error.field}"
    separator = ": " if error.field is None else "."
    return with_message(error, f"{outer}{separator}{error}", path)


def with_message(error: ConfigError, message: str, field: str | None = None) -> ConfigError:
    """Return the same refusal in other words."""
    return ConfigError(message, field=field or error.field, limit=error.limit, value=error.value)
