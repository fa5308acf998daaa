# SPDX-License-Identifier: Apache-2.0
"""Copies of requests for a version that answers nobody, and what comes of comparing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from . import _core
from ._info import ShadowReport
from .errors import AnyaError, Overloaded

__all__ = ["Mirror", "Pair", "compare_outputs", "counted"]

Outputs: TypeAlias = Mapping[str, Any]

#: The lowest priority there is: copies run when nothing else waits.
LOWEST = 255


class Mirror:
    """Sends copies of a share of the requests to the shadow and keeps the score. Thread-safe.

    A copy costs its request the copying of inputs and outputs. None is made while requests wait for the version that
    answers, and the shadow's full queue refuses the rest: both count as dropped.

    Attributes:
        shadow: Gets the copies.
    """

    def __init__(
        self,
        shadow: _core.Model,
        callbacks: Callable[[], _core.CallbackQueue],
        draw: Callable[[], float],
        *,
        share: float,
        rtol: float,
        atol: float,
        settled: Callable[[ShadowReport], object] = lambda _: None,
    ) -> None:
        self.shadow = shadow
        self._callbacks = callbacks
        self._draw = draw
        self._share = share
        self._tolerance = (rtol, atol)
        self._lock = threading.Lock()  # of the score
        self._score = ShadowReport()
        self._settled = settled  # told the score after each pair; must not block

    def wants(self, stable: _core.Model) -> bool:
        """Whether this request is one of those to copy."""
        if self._draw() >= self._share:
            return False
        if stable.waiting:
            self._drop()
            return False
        return True

    def ask(self, inputs: Any, outputs: Any, key: Any, tenant: Any) -> Pair | None:
        """Send the copy; None: the shadow has no room for it."""
        try:
            future = self.shadow.submit_uncached(self._callbacks(), inputs, outputs, None, LOWEST, key, tenant)
        except Overloaded:
            self._drop()
            return None
        except AnyaError as error:
            self._fail(error)
            return None
        return Pair(self, future)

    def report(self) -> ShadowReport:
        """Return the score."""
        with self._lock:
            return self._score

    def settle(self, answer: Outputs, future: _core.Future) -> None:
        """Compare, now that both have answered."""
        if future.cancelled():
            return
        error = future.exception(0)
        if isinstance(error, Overloaded):
            self._drop()
        elif error is not None:
            self._fail(error)
        else:
            self._compare(answer, future.result(0))

    def _compare(self, old: Outputs, new: Outputs) -> None:
        found = compare_outputs(old, new, *self._tolerance)
        with self._lock:
            self._score = score = counted(self._score, found)
        self._settled(score)

    def _drop(self) -> None:
        with self._lock:
            self._score = dataclasses.replace(self._score, dropped=self._score.dropped + 1)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            code = getattr(error, "code", type(error).__name__)
            self._score = score = dataclasses.replace(self._score, failed=self._score.failed + 1, last_error=code)
        self._settled(score)


class Pair:
    """A request and its copy, until both have answered."""

    def __init__(self, mirror: Mirror, future: _core.Future) -> None:
        self._mirror = mirror
        self._future = future

    def answered(self, answer: Outputs, *, computed: bool) -> None:  # noqa: ARG002
        """Take the answer that was given; the caller may change its arrays, so they are copied."""
        kept = {name: np.array(array) for name, array in answer.items()}
        self._future.add_done_callback(lambda future: self._mirror.settle(kept, future))

    def forget(self) -> None:
        """Do not compare: the request itself had no answer."""
        self._future.cancel()


def counted(score: ShadowReport, found: tuple[bool, bool, float, float]) -> ShadowReport:
    """Return the score with one more comparison in it, as `compare_outputs` found it."""
    agree, top1, most_abs, most_rel = found
    return dataclasses.replace(
        score,
        compared=score.compared + 1,
        agreed=score.agreed + agree,
        top1_agreed=score.top1_agreed + top1,
        max_abs_difference=max(score.max_abs_difference, most_abs),
        max_rel_difference=max(score.max_rel_difference, most_rel),
    )


def compare_outputs(old: Outputs, new: Outputs, rtol: float, atol: float) -> tuple[bool, bool, float, float]:
    """Return whether two answers agree, whether their first outputs' top elements do, and the largest differences.

    Agreement: |new - old| <= atol + rtol * |old| everywhere, NaN where the other has NaN, the same shapes and names.
    Text agrees when it is equal.
    """
    if old.keys() != new.keys():
        return False, False, float("inf"), float("inf")
    agree, top1, most_abs, most_rel = True, True, 0.0, 0.0
    for index, (name, before) in enumerate(old.items()):
        after = np.asarray(new[name])
        before = np.asarray(before)
        if before.shape != after.shape:
            return False, False, float("inf"), float("inf")
        if before.dtype.kind in "OUS" or after.dtype.kind in "OUS":
            same = bool(np.array_equal(before, after))
            agree, top1 = agree and same, top1 and (same or index > 0)
            continue
        if before.size == 0:
            continue
        x, y = before.astype(np.float64), after.astype(np.float64)
        agree = agree and bool(np.allclose(y, x, rtol=rtol, atol=atol, equal_nan=True))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            difference = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(y - x))
            relative = np.where(difference == 0, 0.0, difference / np.abs(x))
        most_abs = max(most_abs, float(np.nan_to_num(difference, nan=np.inf).max()))
        most_rel = max(most_rel, float(np.nan_to_num(relative, nan=np.inf).max()))
        if index == 0:
            flat = (x, y) if x.ndim == 0 else (x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]))
            top1 = bool(np.array_equal(np.argmax(flat[0], axis=-1), np.argmax(flat[1], axis=-1)))
    return agree, top1, most_abs, most_rel
