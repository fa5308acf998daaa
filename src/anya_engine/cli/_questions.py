# SPDX-License-Identifier: Apache-2.0
"""What bench asks: the rows of a file, or made-up ones that fit the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._info import TensorSpec
from ._arrays import Arrays, leading_rows
from ._text import CliError

__all__ = ["from_arrays", "made_up"]

_MOST = 1024  # questions from a file: enough that caches of the processor do not hold them all
_MADE_UP = 16
_MADE_UP_BYTES = 64 << 20
_WORDS = ("yes", "no", "red", "a long day", "zero", "7", "tea", "north")


def from_arrays(arrays: Arrays, specs: Sequence[TensorSpec], rows: int) -> list[Arrays]:
    """Requests of `rows` rows each, in the file's order; what does not fill one is left out.

    A model whose first axes are not free gets the file as it is.
    """
    if any(not spec.shape or isinstance(spec.shape[0], int) for spec in specs):
        _only_one_row(rows)
        return [arrays]
    count = leading_rows(arrays)
    if count is None:
        raise CliError("the arrays of --input differ in their number of rows")
    if count < rows:
        raise CliError(f"--input holds {count} rows, one request takes {rows}")
    starts = range(0, min(count // rows, _MOST) * rows, rows)
    return [{name: array[start : start + rows] for name, array in arrays.items()} for start in starts]


def made_up(
    specs: Sequence[TensorSpec], *, rows: int, sizes: Mapping[str, int], free_size: int, seed: int
) -> list[dict[str, Any]]:
    """Requests whose numbers are N(0, 1), whose integers are 0 and 1 (safe as an index of anything), of `rows` rows.

    A free axis has the size that `sizes` gives its name, else `free_size`. The same seed gives the same requests.
    """
    named = {axis for spec in specs for axis in spec.shape if isinstance(axis, str)}
    if unknown := sorted(set(sizes) - named):
        raise CliError(f"--dim: the model has no free axis named {unknown[0]!r}; it has {sorted(named) or 'none'}")
    if specs and all(spec.shape and isinstance(spec.shape[0], int) for spec in specs):
        _only_one_row(rows)
    shapes = {spec.name: _shape(spec, rows, sizes, free_size) for spec in specs}
    total = sum(int(np.prod(shape, dtype=object)) * 8 for shape in shapes.values())
    random = np.random.default_rng(seed)
    count = max(1, min(_MADE_UP, _MADE_UP_BYTES // max(1, total)))
    return [{spec.name: _array(spec, shapes[spec.name], random) for spec in specs} for _ in range(count)]


def _only_one_row(rows: int) -> None:
    if rows != 1:
        raise CliError(f"--rows {rows}: the model's first axis is fixed; leave --rows out")


def _shape(spec: TensorSpec, rows: int, sizes: Mapping[str, int], free_size: int) -> tuple[int, ...]:
    shape = []
    for position, axis in enumerate(spec.shape):
        if isinstance(axis, int):
            shape.append(axis)
        elif isinstance(axis, str) and axis in sizes:
            shape.append(sizes[axis])
        else:
            shape.append(rows if position == 0 else free_size)
    return tuple(shape)


def _array(spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> Any:
    if spec.dtype == "str":
        return np.array(_WORDS, dtype=object)[random.integers(len(_WORDS), size=shape)].reshape(shape)
    if spec.dtype == "bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError as error:
            raise CliError(f"input {spec.name!r} is bfloat16, which needs a package: pip install ml_dtypes") from error
        return np.asarray(random.standard_normal(shape)).astype(bfloat16)
    if spec.dtype.startswith("float"):
        return np.asarray(random.standard_normal(shape), dtype=spec.dtype)
    return np.asarray(random.integers(2, size=shape), dtype=spec.dtype)
