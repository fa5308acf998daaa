# SPDX-License-Identifier: Apache-2.0
"""The node cases once more, with a free first axis: does a row's answer depend on its company?

The cases have fixed shapes, so the engine runs them alone. Here the first axis is set free: of every input, or of the
first while the others become constants of the model, as weights are. What that axis means to the operator is not asked:
whether rows may share a run is for the engine to find out, and plain ONNX Runtime, given each row alone, says what each
answer has to be.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
import onnx
from conformance.cases import Case
from onnx import numpy_helper

#: Requests made of a case: each row of it, and each of those with its values moved on once, twice …
MOVES = 4
MOST = 16


class Fit(enum.StrEnum):
    """What became of a case with a free first axis."""

    TOGETHER = "rows share runs, and each has the answer it has alone"
    ALONE = "the engine runs each request alone, with its own answer"
    NOT_LOADED = "plain ONNX Runtime does not load it with a free first axis"
    NO_ROW_RUNS = "plain ONNX Runtime runs no row of it alone"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowCase:
    """A case with a free first axis.

    Attributes:
        name: The case's, with "all" for every input free or "first" for the first one alone.
        case: What it was made of.
        free: The inputs whose first axis is free; the others become constants.
        rows: How many rows the case has.
    """

    name: str
    case: Case
    free: tuple[str, ...]
    rows: int

    def model(self) -> bytes:
        """The model with its first axes free, and called "rows" in the free inputs and the outputs of as many rows."""
        made = onnx.load_from_string(self.case.model)
        graph = made.graph
        constants = [place for place in graph.input if place.name not in self.free]
        for place in constants:
            graph.input.remove(place)
            graph.initializer.append(numpy_helper.from_array(self.case.inputs[place.name], place.name))
        for place in (*graph.input, *graph.output):
            shape = place.type.tensor_type.shape
            if place.name in self.free or (shape.dim and shape.dim[0].dim_value == self.rows):
                shape.dim[0].dim_param = "rows"
            elif shape.dim:
                shape.dim[0].Clear()  # it may depend on the rows or not
        del graph.value_info[:]  # what was said of the values between them no longer holds
        return bytes(made.SerializeToString())

    def requests(self) -> list[dict[str, Any]]:
        """Requests of one row, all different where the case's values are; every value is one of the case's own."""
        made: list[dict[str, Any]] = []
        for move in range(MOVES):
            moved = {name: np.roll(self.case.inputs[name], move) for name in self.free}
            for row in range(self.rows):
                made.append({name: np.ascontiguousarray(array[row : row + 1]) for name, array in moved.items()})
        return made[:MOST]


def row_cases(case: Case) -> list[RowCase]:
    """What a case gives: nothing where there are no rows to be had."""
    made: list[RowCase] = []
    sizes = {array.shape[0] if array.ndim else 0 for array in [*case.inputs.values(), *case.outputs.values()]}
    names = tuple(case.inputs)
    if names and len(sizes) == 1 and 0 not in sizes:
        made.append(RowCase(name=f"{case.name}-all", case=case, free=names, rows=sizes.pop()))
    if len(names) > 1 and case.inputs[names[0]].ndim:
        rows = case.inputs[names[0]].shape[0]
        made.append(RowCase(name=f"{case.name}-first", case=case, free=names[:1], rows=rows))
    return made


def in_pairs(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every other of some requests, or answers, with the next one below it, where their rows are of one shape."""
    made = []
    for upper, lower in zip(parts[::2], parts[1::2], strict=False):
        if all(upper[name].shape[1:] == lower[name].shape[1:] for name in upper):
            made.append({name: np.concatenate([upper[name], lower[name]]) for name in upper})
    return made
