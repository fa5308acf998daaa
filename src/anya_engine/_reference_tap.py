# SPDX-License-Identifier: Apache-2.0
"""A tap that collects what a model is asked and answers, until there is enough for a reference."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from . import _core

__all__ = ["ReferenceTap", "Rows"]

Arrays: TypeAlias = dict[str, Any]
#: Inputs and outputs of many rows.
Rows: TypeAlias = tuple[Arrays, Arrays]

MOST_BYTES = 256 << 20


class ReferenceTap:
    """Thread-safe. `complete` is called once, on a thread of its own, with the rows."""

    def __init__(
        self, version: str, inputs: list[str], outputs: list[str], rows: int, complete: Callable[[list[Rows]], None]
    ) -> None:
        self._version = version
        self._inputs, self._outputs, self._wanted = inputs, outputs, rows
        self._complete = complete
        self._lock = threading.Lock()
        self._kept: list[Rows] = []
        self._rows = self._bytes = 0
        self._full = False

    @property
    def progress(self) -> str:
        """How far it is."""
        return f"a reference is being captured: {self._rows} of {self._wanted} rows"

    def wants(self, model: _core.Model) -> bool:
        """Every one that the version answers, until there are enough."""
        return not self._full and model.version == self._version

    def ask(self, inputs: Any, outputs: Any, _key: Any, _tenant: Any) -> _Asked | None:
        """Copy what was asked; None where not everything will be answered."""
        if outputs is not None and set(outputs) != set(self._outputs):
            return None
        if not isinstance(inputs, Mapping):
            inputs = {self._inputs[0]: inputs}
        return _Asked(self, {name: np.array(inputs[name]) for name in self._inputs})

    def keep(self, inputs: Arrays, answer: Mapping[str, Any]) -> None:
        """Take a request that had an answer."""
        outputs = {name: np.array(answer[name]) for name in self._outputs}
        with self._lock:
            if self._full:
                return
            self._kept.append((inputs, outputs))
            self._rows += max((len(a) for a in (*inputs.values(), *outputs.values()) if a.ndim), default=1)
            self._bytes += sum(array.nbytes for array in (*inputs.values(), *outputs.values()))
            self._full = self._rows >= self._wanted or self._bytes >= MOST_BYTES
            if not self._full:
                return
            kept, self._kept = self._kept, []
        # Not on the thread of the request that happened to be the last.
        threading.Thread(target=self._complete, args=(kept,), name="anya-reference", daemon=True).start()


class _Asked:
    def __init__(self, tap: ReferenceTap, inputs: Arrays) -> None:
        self._tap = tap
        self._inputs = inputs

    def answered(self, answer: Any, *, computed: bool) -> None:
        """A row more, if the model has computed it: answers from a cache are not counted afterwards, either."""
        if computed:
            self._tap.keep(self._inputs, answer)

    def forget(self) -> None:
        """What failed is no reference."""
