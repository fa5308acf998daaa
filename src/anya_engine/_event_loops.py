# SPDX-License-Identifier: Apache-2.0
"""Which asyncio loops an engine serves, and the descriptor through which each hears of finished batches."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from functools import partial

from . import _core
from .errors import Unavailable

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
        self.door = _core.AsyncDoor(_serving(self._by_loop, weakref.WeakMethod(self._attach)))

    def _attach(self, loop: Loop) -> _core.EventLoop:
        """Serve a loop that asks for the first time; runs on its thread."""
        with self._lock:
            served = self._of_a_closed_loop() or _core.EventLoop()
            served.attach(loop)
            served.bind(served.flush)
            loop.add_reader(served.descriptor, served.drain)
            self._by_loop[loop] = served
            if self._closed:
                loop.call_soon(self._let_go_when_idle, loop, served)
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
            let_go = partial(self._let_go_when_idle, loop, served)
            try:
                # From a task of that loop too: no task can be stepped while this one runs.
                (loop.call_soon if here else loop.call_soon_threadsafe)(let_go)
            except RuntimeError:  # closed this very moment
                self._forget(loop, served)

    def _let_go_when_idle(self, loop: Loop, served: _core.EventLoop) -> None:
        """After the engine's end: deliver what has ended, and leave the loop when that was all."""
        served.drain()
        if served.outstanding > 0:
            loop.call_soon(self._let_go_when_idle, loop, served)
        elif loop in self._by_loop:
            loop.remove_reader(served.descriptor)
            self._forget(loop, served)

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


def _serving(
    by_loop: dict[Loop, _core.EventLoop], attach: weakref.WeakMethod[Callable[[Loop], _core.EventLoop]]
) -> Callable[[Loop], _core.EventLoop]:
    """What the door asks. It holds nothing of the engine: what an object of the core holds, no collector sees."""

    def serving(loop: Loop) -> _core.EventLoop:
        served = by_loop.get(loop)
        if served is not None:
            return served
        if (first_time := attach()) is None:
            raise Unavailable("the engine is gone")
        return first_time(loop)

    return serving
