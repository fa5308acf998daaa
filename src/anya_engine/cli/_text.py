# SPDX-License-Identifier: Apache-2.0
"""Words, numbers and tables as the terminal shows them. Names come from files that somebody else wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "CliError",
    "counted",
    "milliseconds",
    "one_line",
    "plain",
    "print_json",
    "print_table",
    "shape_text",
    "size",
]


class CliError(Exception):
    """It could not be done; the sentence is for the user."""


def plain(text: object) -> str:
    """Text that can neither move the terminal's cursor nor start a line of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(text))


def one_line(text: object) -> str:
    """A sentence of several lines as one."""
    return plain(" ".join(str(text).split()))


def counted(number: int, word: str) -> str:
    """'1 row', '2 rows'."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """Bytes, in the largest unit that keeps three digits."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:,.2f} GiB"


def milliseconds(seconds: float) -> str:
    """A duration as a table shows it."""
    return f"{seconds * 1e3:,.3f} ms"


def shape_text(shape: Iterable[int | str | None]) -> str:
    """[N, 3]; a free size without a name is '?'."""
    return "[" + ", ".join("?" if axis is None else str(axis) for axis in shape) + "]"


def print_table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Rows in columns, two blanks apart; columns in `right` are flush right."""
    flush_right = set(right)
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    for row in rows:
        cells = [c.rjust(widths[i]) if i in flush_right else c.ljust(widths[i]) for i, c in enumerate(row)]
        print("  ".join(cells).rstrip())


def print_json(facts: Mapping[str, Any]) -> None:
    """One JSON object, indented; what is no JSON number does not occur."""
    print(json.dumps(facts, indent=2, allow_nan=False))
