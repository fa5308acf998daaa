# SPDX-License-Identifier: Apache-2.0
"""The thread that runs done-callbacks of futures, started by the first one that needs it."""

from __future__ import annotations

import threading

from . import _core

__all__ = ["CallbackThread"]


class CallbackThread:
    """Thread-safe. Knows nothing of the engine, so that an engine which nobody holds can end."""

    def __init__(self, core: _core.Engine) -> None:
        self._core = core
        self._queue = _core.CallbackQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def queue(self) -> _core.CallbackQueue:
        """Where futures put their callbacks; somebody runs them from now on."""
        if self._thread is None:
            self._start()
        return self._queue

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and self._core.is_owner_process:
                thread = threading.Thread(target=self._queue.run, name="anya-callbacks", daemon=True)
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Run out what is there, then end. Idempotent; may be called by a callback."""
        self._queue.stop()
        self.join()

    def join(self) -> None:
        """Wait until it has ended: one that the interpreter's end meets in the core would take the process with it."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
