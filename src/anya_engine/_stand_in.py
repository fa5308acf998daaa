# SPDX-License-Identifier: Apache-2.0
"""How one model stands in for another, and what a default answer looks like. Pure but for NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .errors import ConfigError
from .resilience import Default, Fallback

__all__ = ["Names", "default_answer", "named", "other_inputs", "other_outputs"]

# name, NumPy's name of the element type ("str"), shape with names or None for free sizes
Spec = tuple[str, str, tuple[int | str | None, ...]]


class Names(NamedTuple):
    """What a model takes and gives."""

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]


def named(inputs: Any, asked: Names) -> Mapping[str, Any]:
    """Return a request's inputs by name; one bare array is the model's one input."""
    if hasattr(inputs, "keys"):
        return dict(inputs)
    return {asked.inputs[0][0]: inputs}


def other_inputs(link: Fallback, inputs: Mapping[str, Any], other: Names) -> dict[str, Any]:
    """Return the inputs of the model that stands in.

    Raises:
        ConfigError: It takes one that the request does not have.
    """
    made = {}
    for name, _, _ in other.inputs:
        source = link.inputs.get(name, name)
        if source not in inputs:
            raise ConfigError(
                f"the fallback '{link.model}' takes an input '{name}', and the request has no '{source}'; "
                "say in Fallback.inputs which of its inputs that is",
                field=f"inputs.{name}",
            )
        made[name] = inputs[source]
    return made


def other_outputs(link: Fallback, wanted: Sequence[str] | None, asked: Names, other: Names) -> dict[str, str]:
    """Return what the model that stands in calls the outputs that are wanted (None: all of the asked model).

    Raises:
        ConfigError: It has no such output, or one of another type or rank.
    """
    have = {name: (dtype, shape) for name, dtype, shape in other.outputs}
    made = {}
    for name, dtype, shape in asked.outputs:
        if wanted is not None and name not in wanted:
            continue
        theirs = link.outputs.get(name, name)
        if theirs not in have:
            raise ConfigError(
                f"the fallback '{link.model}' has no output '{theirs}' to stand for '{name}'; it has {sorted(have)}",
                field=f"outputs.{name}",
            )
        their_dtype, their_shape = have[theirs]
        if their_dtype != dtype or len(their_shape) != len(shape):
            raise ConfigError(
                f"the fallback '{link.model}' gives '{theirs}' as {their_dtype} of rank {len(their_shape)}, "
                f"where '{name}' is {dtype} of rank {len(shape)}",
                field=f"outputs.{name}",
            )
        made[name] = theirs
    return made


def default_answer(
    link: Default, inputs: Mapping[str, Any], wanted: Sequence[str] | None, asked: Names
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the answer of a default.

    Raises:
        ConfigError: It has no value for an output, or one that does not fit.
        Exception: Whatever the function of a default raises.
    """
    values = link.outputs(inputs) if callable(link.outputs) else link.outputs
    shapes = [np.shape(inputs[name]) for name, _, _ in asked.inputs[:1] if name in inputs]
    rows = shapes[0][0] if shapes and shapes[0] else 1
    answer = {}
    for name, dtype, shape in asked.outputs:
        if wanted is not None and name not in wanted:
            continue
        if name not in values:
            raise ConfigError(f"the default has no value for the output '{name}'", field=f"outputs.{name}")
        try:
            value = np.asarray(values[name], dtype=object if dtype == "str" else dtype)
            answer[name] = np.broadcast_to(value, _shape(value, shape, rows)).copy()
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"the default for '{name}' does not fit {dtype} of shape {list(shape)}: {error}",
                field=f"outputs.{name}",
            ) from error
    return answer


def _shape(value: np.ndarray[Any, Any], shape: Sequence[int | str | None], rows: int) -> tuple[int, ...]:
    """The output's shape: rows first, free sizes as the value has them."""
    own = (1,) * (len(shape) - value.ndim) + value.shape
    sizes = [size if isinstance(size, int) else own[axis] for axis, size in enumerate(shape)]
    if shape and not isinstance(shape[0], int):
        sizes[0] = rows
    return tuple(sizes)
