# SPDX-License-Identifier: Apache-2.0
"""The thread that does things later: attempts of futures that wait for their backoff."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

from ._log import Log

__all__ = ["Timer"]

_log = Log("anya_engine")


class Timer:
    """Calls functions when their time has come, on one thread that the first of them starts. Thread-safe.

    Knows nothing of the engine, so that an engine which nobody holds can end.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()  # first come, first served
        self._thread: threading.Thread | None = None
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """It waits for nothing any more."""
        return self._stopped

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call this after so many seconds; after `stop`, at once and here."""
        with self._changed:
            if not self._stopped:
                heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), call))
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="anya-timer", daemon=True)
                    self._thread.start()
                self._changed.notify()
                return
        call()

    def stop(self) -> None:
        """Call at once what is still to come, then end. Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001  # the others still have to be called
                _log.exception("a delayed call failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._due:
                if self._stopped:
                    return None
                self._changed.wait()
            while not self._stopped and (left := self._due[0][0] - time.monotonic()) > 0:
                self._changed.wait(left)
            return heapq.heappop(self._due)[2]
