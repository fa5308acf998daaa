# SPDX-License-Identifier: Apache-2.0
"""Which asyncio loops an engine serves, and the descriptor through which each hears of finished batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from . import _core

__all__ = ["EventLoops"]

Loop = asyncio.AbstractEventLoop


class EventLoops:
    """The core's side of every loop that has asked. Thread-safe; each entry is used on its own loop's thread only."""

    def __init__(self, core: _core.Engine) -> None:
        self._core = core
        self._lock = threading.Lock()
        self._closed = False
        # Read without the lock by the hot path; changed under it.
        self._by_loop: dict[Loop, _core.EventLoop] = {}
        self.door = _core.AsyncDoor(self._running)

    def _running(self) -> _core.EventLoop:
        loop = asyncio.get_running_loop()
        return self._by_loop.get(loop) or self._attach(loop)

    def _attach(self, loop: Loop) -> _core.EventLoop:
        """Serve a loop that asks for the first time; runs on its thread."""
        with self._lock:
            served = self._of_a_closed_loop() or _core.EventLoop()
            served.attach(loop)
            served.bind(served.flush)
            loop.add_reader(served.descriptor, self._drain_for(loop, served))
            self._by_loop[loop] = served
            return served

    def close(self) -> None:
        """Let go of the loops; what is still to be delivered is delivered first, by each loop itself."""
        with self._lock:
            self._closed = True
            served_loops = list(self._by_loop.items())
        for loop, served in served_loops:
            if loop.is_closed():
                # Nobody else will: requests that never went in, and outcomes that nobody waits for any more.
                served.abandon_turn()
                served.drain_later()
                self._forget(loop, served)
                continue
            try:
                here = asyncio.get_running_loop() is loop
            except RuntimeError:
                here = False
            drain = self._drain_for(loop, served)
            try:
                # From a task of that loop too: no task can be stepped while this one runs.
                (loop.call_soon if here else loop.call_soon_threadsafe)(drain)
            except RuntimeError:  # closed this very moment
                self._forget(loop, served)

    def _drain_for(self, loop: Loop, served: _core.EventLoop) -> Callable[[], None]:
        def drain() -> None:
            served.drain()
            if self._closed and served.outstanding == 0 and loop in self._by_loop:
                loop.remove_reader(served.descriptor)
                self._forget(loop, served)

        return drain

    def _forget(self, loop: Loop, served: _core.EventLoop) -> None:
        with self._lock:
            if self._by_loop.pop(loop, None) is not None:
                served.detach()

    def _of_a_closed_loop(self) -> _core.EventLoop | None:
        """A served loop that has been closed leaves its core part to the next one: descriptors do not pile up."""
        if not self._core.is_owner_process:
            return None  # its descriptor is the parent's too: reading it would take the parent's news away
        for loop, served in list(self._by_loop.items()):
            if loop.is_closed():
                served.abandon_turn()
                served.drain_later()
                if served.outstanding == 0:
                    del self._by_loop[loop]
                    served.detach()
                    return served
        return None
