# SPDX-License-Identifier: Apache-2.0
"""What differs between two configurations, field by field. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from . import _checks as check

__all__ = ["Change", "differences"]

_NOTHING = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One field and its two values, as they are shown to people."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.old} → {self.new}"


def differences(old: Any, new: Any, *, without: Collection[str] = ()) -> tuple[Change, ...]:
    """The fields in which two configurations of one class differ, as deep as they go; () for equal ones.

    Args:
        old: The configuration before.
        new: The one after.
        without: Fields of the outermost class that do not count.
    """
    names = [field.name for field in dataclasses.fields(old) if field.name not in without]
    return tuple(change for name in names for change in _of(name, getattr(old, name), getattr(new, name)))


def _of(path: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if dataclasses.is_dataclass(old) and type(old) is type(new):
        for field in dataclasses.fields(old):
            yield from _of(f"{path}.{field.name}", getattr(old, field.name), getattr(new, field.name))
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*old, *(key for key in new if key not in old)):
            yield from _of(f"{path}.{check.key(key)}", old.get(key, _NOTHING), new.get(key, _NOTHING))
    else:
        yield Change(path, _shown(old), _shown(new))


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else check.shown(value)
