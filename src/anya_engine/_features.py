# SPDX-License-Identifier: Apache-2.0
"""How a tensor becomes numbers that have distributions: one row at a time, a few numbers for each row.

The numbers are made by the core (cpp/src/stats/row_summary.h), for profiles as for live traffic; here is what they are
called, and which way a tensor goes. The first axis counts rows; "elements" are those of one row.

| kind | for | numbers of a row |
|---|---|---|
| columns | at most 64 elements | every element |
| dense | more: images, audio | mean, std, min, max, share of zeros, L2 norm, share of non-finite; mean of each of 2 to 4 channels; from a sample of 1152 elements at most |
| embedding | a vector of floats of more than 64, or a sequence of them, which is averaged | 8 projections on fixed signs, L2 norm, cosine to the reference's mean |
| classes | an output whose rows are probabilities | the greatest, how far it is ahead, the entropy in nats, which one it is |
| tokens | integers of any length | how many are not 0; one of those, picked by the others |
| text | at most 64 strings | for each its length in characters, and the string itself by its hash |
"""  # noqa: E501  # a table

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal, TypeAlias

__all__ = ["KINDS", "MOST_COLUMNS", "Kind", "channels_of", "kind_of", "names_of"]

Kind: TypeAlias = Literal["columns", "dense", "embedding", "classes", "tokens", "text"]
KINDS: tuple[Kind, ...] = ("columns", "dense", "embedding", "classes", "tokens", "text")
Axis: TypeAlias = int | str | None

MOST_COLUMNS = 64
PROJECTIONS = 8
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_DENSE = ("@mean", "@std", "@min", "@max", "@zero", "@norm", "@nonfinite")


def kind_of(dtype: str, shape: Sequence[Axis], *, is_input: bool, probabilities: bool = False) -> Kind | None:
    """Which way a tensor goes; None: it is not watched (more strings than have names).

    Args:
        dtype: NumPy's name.
        shape: As the model says it, the axis of rows included.
        is_input: Inputs only are token ids, outputs only are classes.
        probabilities: Its rows, as far as they are known, are shares that sum to 1.
    """
    row = shape[1:]
    fixed = all(isinstance(axis, int) for axis in row)
    elements = prod(axis for axis in row if isinstance(axis, int)) if fixed else None
    few = elements is not None and elements <= MOST_COLUMNS
    if dtype == "str":
        return "text" if few else None
    if dtype in _FLOATS:
        if not is_input and probabilities and len(shape) == 2:
            return "classes"
        if few:
            return "columns"
        long = row and isinstance(row[-1], int) and row[-1] > MOST_COLUMNS
        if dtype == "float32" and long and (len(row) == 1 or (len(row) == 2 and not isinstance(row[0], int))):
            return "embedding"
        return "dense"
    if few:
        return "columns"
    return "tokens" if is_input and len(shape) == 2 and dtype in ("int32", "int64") else "dense"


def channels_of(shape: Sequence[Axis]) -> tuple[int, bool]:
    """How many channels an image has (1: it is none), and whether they are its last axis."""
    if len(shape) == 4:
        for axis, last in ((1, False), (3, True)):
            size = shape[axis]
            if isinstance(size, int) and 2 <= size <= 4:
                return size, last
    return 1, False


def names_of(kind: Kind, shape: Sequence[Axis]) -> tuple[str, ...]:
    """What the numbers of a row are called, in the core's order."""
    if kind in ("columns", "text"):
        columns = _columns([axis for axis in shape[1:] if isinstance(axis, int)])
        return columns if kind == "columns" else tuple(name for c in columns for name in (f"{c}@length", c))
    if kind == "dense":
        channels, _ = channels_of(shape)
        return _DENSE + tuple(f"@channel{i}" for i in range(channels if channels > 1 else 0))
    if kind == "embedding":
        return (*(f"@projection{i}" for i in range(PROJECTIONS)), "@norm", "@cosine")
    if kind == "classes":
        return ("@max", "@margin", "@entropy", "@class")
    return ("@length", "@token")


def _columns(row: list[int]) -> tuple[str, ...]:
    names = [""]
    for size in row:
        names = [f"{name},{index}" for name in names for index in range(size)]
    return tuple(f"[:{name}]" for name in names)
