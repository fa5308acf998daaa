# SPDX-License-Identifier: Apache-2.0
"""From frozen configurations back to plain tables, and from tables to the text of a TOML file. Pure.

Writes what the standard library's `tomllib` reads: tables, arrays, strings, numbers and truth values.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from . import _checks as check
from .errors import ConfigError

__all__ = ["dumps", "plain"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def plain(config: Any) -> dict[str, Any]:
    """The table that `from_dict` makes this configuration of; fields that have their default are left out."""
    table = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if _default(field) != value:
            if value is None:
                raise ConfigError(f"{field.name}: TOML has no word for none", field=field.name)
            table[field.name] = _plain(value)
    return table


def dumps(table: Mapping[str, Any]) -> str:
    """A table as the text of a TOML file."""
    return "\n".join(_lines(table, ())).lstrip("\n") + "\n" if table else ""


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    if hasattr(value, "to_table"):
        return value.to_table()
    if dataclasses.is_dataclass(value):
        return plain(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return ["" if item is None else _plain(item) for item in value]  # an axis of any size
    return fspath(value) if isinstance(value, PathLike) else value


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path and (len(inner) < len(table) or not table):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in table.items():
        if key not in inner:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from _lines(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return f'"{"".join(_character(c) for c in text)}"'


def _character(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if 0xD800 <= ord(c) <= 0xDFFF:
        raise ConfigError("TOML cannot hold half a surrogate pair", value=c)
    return f"\\u{ord(c):04X}" if ord(c) < 0x20 or ord(c) == 0x7F else c


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}" if value else "{}"
    raise ConfigError(f"TOML cannot hold {check.shown(value)}", value=value)
