# SPDX-License-Identifier: Apache-2.0
"""The one judge of answers: says in words where two of them differ. `test_compare.py` shows that it can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def difference(got: Any, wanted: Any, *, rtol: float = 0.0, atol: float = 0.0) -> str:
    """Return where two arrays differ, "" when they do not.

    Type and shape must agree. Without a tolerance numbers agree to the bit. With one, floats may differ by
    `atol + rtol * |wanted|`, and NaN agrees with NaN; whole numbers, truth values and text agree exactly all the same.
    """
    got, wanted = np.asarray(got), np.asarray(wanted)
    if is_text(got) != is_text(wanted) or (not is_text(wanted) and got.dtype != wanted.dtype):
        return f"type {got.dtype}, not {wanted.dtype}"
    if got.shape != wanted.shape:
        return f"shape {got.shape}, not {wanted.shape}"
    if is_text(wanted):
        same = np.array([left == right for left, right in zip(texts(got), texts(wanted), strict=True)], dtype=bool)
    elif rtol == atol == 0.0:
        same = (bits(got) == bits(wanted)).all(axis=-1)
    elif is_float(wanted):
        same = np.isclose(got.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)
    else:
        same = got == wanted
    same = np.reshape(same, wanted.shape)
    if same.all():
        return ""
    first = tuple(int(each) for each in np.argwhere(~same)[0])
    count = int(same.size - np.count_nonzero(same))
    return f"{count} of {same.size} elements, first at {list(first)}: {got[first]!r}, not {wanted[first]!r}"


def differences(got: Mapping[str, Any], wanted: Mapping[str, Any], *, rtol: float = 0.0, atol: float = 0.0) -> str:
    """Return where two answers, arrays by name of output, differ; "" when they do not."""
    if set(got) != set(wanted):
        return f"outputs {sorted(got)}, not {sorted(wanted)}"
    for name, array in wanted.items():
        if found := difference(got[name], array, rtol=rtol, atol=atol):
            return f"output {name!r}: {found}"
    return ""


def is_text(array: Any) -> bool:
    """Whether the elements are strings."""
    return array.dtype.kind in "OUST"


def is_float(array: Any) -> bool:
    """Whether the elements are floating-point numbers; NumPy does not know bfloat16 for one."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def texts(array: Any) -> list[str]:
    """The elements as strings; ONNX keeps them as UTF-8."""
    return [each.decode() if isinstance(each, bytes) else str(each) for each in array.ravel().tolist()]


def bits(array: Any) -> Any:
    """The bytes of every element, one row for each."""
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).reshape(array.size, array.dtype.itemsize)
