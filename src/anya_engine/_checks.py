# SPDX-License-Identifier: Apache-2.0
"""The checks of configuration values: each returns the value in its normal form or raises `ConfigError`.

The sentence always begins with the field, so that an outer configuration can put its own name in front.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any, NoReturn

from ._frozen import FrozenMapping
from .errors import ConfigError

# Entries of ONNX Runtime's own that would go around the engine, and what to use instead.
_RESERVED_SESSION_OPTIONS = {
    "session.intra_op.allow_spinning": "use allow_spinning",
    "session.inter_op.allow_spinning": "use allow_spinning",
    "session.model_external_initializers_file_folder_path": "external weights come from verified bytes alone",
}


def shown(value: object) -> str:
    """Return a value as an error message shows it: beginning and end of a long one, with its type."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:39]}...{text[-38:]} ({type(value).__name__})"


def key(name: object) -> str:
    """Return a key as a field's path shows it: as it is when it is plain, quoted and shortened when not."""
    return name if isinstance(name, str) and 0 < len(name) <= 80 and name.isprintable() else shown(name)


def refuse(field: str, rule: str, value: object, limit: object = None) -> NoReturn:
    """Raise the refusal of one field."""
    raise ConfigError(f"{field}: {rule}, got {shown(value)}", field=field, limit=limit, value=value)


def integer(field: str, value: object, low: int, high: int) -> int:
    """Whole number in [low, high]; a bool is none."""
    if isinstance(value, bool):
        refuse(field, "must be a whole number", value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        refuse(field, "must be a whole number", value)
    if number < low:
        refuse(field, f"must be at least {low}", number, low)
    if number > high:
        refuse(field, f"must be at most {high}", number, high)
    return number


def number(field: str, value: object, low: float, high: float) -> float:
    """Finite number in [low, high]."""
    if isinstance(value, (bool, str, bytes)):
        refuse(field, "must be a number", value)
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        refuse(field, "must be a number", value)
    if not math.isfinite(result):
        refuse(field, "must be finite", value)
    if result < low:
        refuse(field, f"must be at least {low:g}", value, low)
    if result > high:
        refuse(field, f"must be at most {high:g}", value, high)
    return result


def boolean(field: str, value: object) -> bool:
    """True or False, nothing that merely counts as one."""
    if not isinstance(value, bool):
        refuse(field, "must be true or false", value)
    return value


def choice(field: str, value: object, allowed: Sequence[str]) -> str:
    """Return one of a few words."""
    if isinstance(value, str) and value in allowed:
        return value
    near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    refuse(field, f"must be one of {', '.join(allowed)}{hint}", value, tuple(allowed))


def instance(field: str, value: object, kind: type) -> None:
    """Accept an object of this class."""
    if not isinstance(value, kind):
        refuse(field, f"must be a{'n' if kind.__name__[0] in 'AEIOU' else ''} {kind.__name__}", value)


def text(field: str, value: object) -> str:
    """Return a string of any length."""
    if not isinstance(value, str):
        refuse(field, "must be text", value)
    return value


def mapping(field: str, value: object) -> None:
    """Accept a mapping of any kind."""
    if not isinstance(value, Mapping):
        refuse(field, "must be a mapping", value)


def sequence(field: str, value: object) -> Sequence[Any]:
    """Accept a sequence of at least one thing; text is none."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        refuse(field, "must be a sequence of at least one", value)
    return value


def items(field: str, value: object) -> Sequence[Any]:
    """Accept a list or a tuple, which may be empty."""
    if not isinstance(value, (list, tuple)):
        refuse(field, "must be a list", value)
    return value


def pairs(field: str, value: object) -> Sequence[tuple[Any, Any]]:
    """Accept a list of pairs, which may be empty."""
    if any(not isinstance(each, (list, tuple)) or len(each) != 2 for each in items(field, value)):
        refuse(field, "must be a list of pairs", value)
    return value  # type: ignore[return-value]


def member(table: object, field: str) -> Any:
    """What a table holds under a name that it must have."""
    mapping(field, table)
    try:
        return table[field]  # type: ignore[index]
    except KeyError:
        refuse(field, "is missing", table)


def name(field: str, value: object) -> str:
    """Name of a model or a version: printable, 1 to 256 characters, no blanks around it."""
    if not isinstance(value, str):
        refuse(field, "a name must be a string", value)
    if not 1 <= len(value) <= 256:
        refuse(field, "a name must have 1 to 256 characters", value, 256)
    if not value.isprintable() or value != value.strip():
        refuse(field, "a name must be printable, without blanks around it", value)
    return value


def path(field: str, value: object) -> str:
    """Path of a file or directory, as a string."""
    if isinstance(value, (str, PathLike)):
        result = fspath(value)
        if isinstance(result, str) and result and "\0" not in result:
            return result
    refuse(field, "must be a path", value)


def below(folder: PathLike[str], path: str | PathLike[str]) -> str:
    """A path, which is below the folder if it is relative."""
    path = fspath(path)
    return path if path.startswith("/") else f"{fspath(folder)}/{path}"


def text_mapping(field: str, value: object) -> FrozenMapping[str, str]:
    """Return ONNX Runtime's kind of options: text to text; numbers and truth values are written as it reads them."""
    if not isinstance(value, Mapping):
        refuse(field, "must be a mapping of options", value)
    texts: dict[str, str] = {}
    for option, item in value.items():
        if not isinstance(option, str) or not option or "\0" in option:
            refuse(field, "an option's name must be a non-empty string", option)
        if isinstance(item, bool):
            texts[option] = "1" if item else "0"
        elif isinstance(item, (str, int, float)) and "\0" not in str(item):
            texts[option] = str(item)
        else:
            refuse(f"{field}.{key(option)}", "an option must be a string or a number", item)
    return FrozenMapping(texts)


def session_options(field: str, value: object) -> FrozenMapping[str, str]:
    """Return ONNX Runtime's session entries, less those that would go around the engine."""
    texts = text_mapping(field, value)
    for option, instead in _RESERVED_SESSION_OPTIONS.items():
        if option in texts:
            refuse(f"{field}.{option}", f"is not passed on; {instead}", texts[option])
    return texts


def providers(field: str, value: object) -> tuple[Any, ...]:
    """Return providers in order, each a name or a (name, options) pair."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        refuse(field, "must be a sequence of names, or of pairs of name and options", value)
    if not value:
        refuse(field, "must name at least one provider", value)
    result: list[str | tuple[str, FrozenMapping[str, str]]] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        here = f"{field}[{index}]"
        if isinstance(item, str):
            provider = item
            result.append(item)
        elif isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], str):
            provider = item[0]
            result.append((provider, text_mapping(f"{here}.options", item[1])))
        else:
            refuse(here, "must be a provider's name, or a pair of name and options", item)
        if not provider.endswith("ExecutionProvider"):
            refuse(here, "must be ONNX Runtime's name of a provider, such as CPUExecutionProvider", provider)
        if provider in seen:
            refuse(here, "names a provider twice", provider)
        seen.add(provider)
    return tuple(result)
