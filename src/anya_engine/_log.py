# SPDX-License-Identifier: Apache-2.0
"""The engine's log records, given to the service's handlers by one thread: one that blocks or raises stops nobody else.

Every record of the package goes this way. The queue and its thread are the process's, as the state of `logging` is.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import os
import threading
import time
from collections import Counter
from queue import SimpleQueue
from typing import Any

from ._records import facts

__all__ = ["LIMIT", "Log", "flush", "take_dropped", "waiting"]

#: Records that may wait for handlers; one more is dropped, and counted.
LIMIT = 1024
#: Seconds that a caller waits for its record to be handled, and that the end of the process waits for all of them.
PATIENCE, LAST_PATIENCE = 0.1, 2.0


class Log(logging.Logger):
    """Says what `logging.getLogger(name)` would, by its levels, filters and handlers. Thread-safe; never raises.

    Records keep their order, and the context variables of who said them. A caller finds its record handled when a call
    of the engine returns, unless a handler has blocked for `PATIENCE` seconds: then nobody waits until it comes back.
    Event loops and the engine's own threads, all of them named `anya-…`, never wait.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._target = logging.getLogger(name)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the base class calls it that
        """As the service has set it."""
        return self._target.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        """Leave it to the thread."""
        _queue.put(self._target, record)

    def makeRecord(self, *arguments: Any, **more: Any) -> logging.LogRecord:  # noqa: N802
        """As the service makes them; a plain one where that fails."""
        try:
            return super().makeRecord(*arguments, **more)
        except Exception:  # noqa: BLE001  # a factory of the service's
            return logging.LogRecord(*arguments[:8])


class _Queue:
    """Records on their way to handlers, and the thread that brings them there. Thread-safe."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Empty, and without a thread; so it is in a forked child, too, whoever had the lock."""
        self._entries: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._lock = threading.Lock()  # of the thread's start and of the counts, for nanoseconds
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._is_blocked = False  # somebody has waited in vain, and no handler has come back since
        self._dropped: Counter[str] = Counter()  # by reason, until somebody takes it
        self._untold = 0  # dropped since a record said so
        self._ends_at: float | None = None  # of the process, by time.monotonic()

    def put(self, target: logging.Logger, record: logging.LogRecord) -> None:
        if self._entries.qsize() >= LIMIT:
            self._drop("full")
            return
        done = threading.Lock() if self._waits() else None
        if done is not None:
            done.acquire()
        self._entries.put((target, record, contextvars.copy_context(), done))
        self._start()
        if done is not None and not done.acquire(timeout=self._patience()):
            self._is_blocked = True

    def flush(self, timeout: float) -> bool:
        done = threading.Lock()
        done.acquire()
        self._entries.put((None, None, None, done))
        self._start()
        return done.acquire(timeout=timeout)

    def end(self) -> None:
        self._ends_at = time.monotonic() + LAST_PATIENCE
        if self._thread is not None:
            self.flush(LAST_PATIENCE)

    def waiting(self) -> int:
        return self._entries.qsize() + self._is_busy

    def take_dropped(self) -> Counter[str]:
        with self._lock:
            taken, self._dropped = self._dropped, Counter()
        return taken

    def _waits(self) -> bool:
        if self._is_blocked or threading.current_thread().name.startswith("anya-"):
            return False
        return asyncio._get_running_loop() is None

    def _patience(self) -> float:
        return PATIENCE if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._run, name="anya-log", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is ending
                self._thread = None

    def _run(self) -> None:
        while True:
            target, record, context, done = self._entries.get()
            self._is_busy = True
            try:
                if target is not None:
                    context.run(target.handle, record)
                if self._untold and self._entries.empty():
                    self._tell()
            except Exception:  # noqa: BLE001  # a handler of the service's
                self._drop("error")
                logging.Handler().handleError(record)  # on stderr, as logging does it
            finally:
                self._is_busy = self._is_blocked = False
                if done is not None:
                    done.release()
            del target, record, context, done  # of what a record holds nothing is kept alive

    def _tell(self) -> None:
        with self._lock:
            count, self._untold = self._untold, 0
        _target.warning("log records dropped count=%d", count, extra=facts("log records dropped", count=count))

    def _drop(self, reason: str) -> None:
        with self._lock:
            self._dropped[reason] += 1
            self._untold += reason == "full"


_target = logging.getLogger("anya_engine")
_queue = _Queue()


def flush(timeout: float) -> bool:
    """Wait until what was said before has been handled; whether it has been."""
    return _queue.flush(timeout)


def waiting() -> int:
    """Records that have not been handled yet: more than none for seconds means a handler that blocks."""
    return _queue.waiting()


def take_dropped() -> Counter[str]:
    """Records that no handler got since somebody asked, by reason: full, error. Each is given to one who asks."""
    return _queue.take_dropped()


os.register_at_fork(after_in_child=_queue.begin)
atexit.register(_queue.end)
