# SPDX-License-Identifier: Apache-2.0
"""Looks again and again at a configuration file and a model repository, and applies what has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ._apply import Applier
from ._goal import Found, goal, hold, hold_serving
from ._log import Log
from ._model_table import ModelTable
from ._plan import Plan
from ._repository import look, settled
from ._state import State
from .config import EngineConfig
from .errors import AnyaError

__all__ = ["Watch"]

_log = Log("anya_engine")

#: A change that has failed is tried again after 1, 2, 4 … looks, and at once when something has changed.
MOST_LOOKS_BETWEEN_TRIES = 64


class Watch:
    """Brings what changes on disk into an engine: made by `Engine.watch`. Thread-safe.

    A file is read once two looks in a row have found it the same, so that a copy in progress is not loaded. What serves
    a name is changed when the repository or the configuration says something new about it, so a watch never takes back
    what `deploy`, `promote` or `rollback` did; names with a rollout in progress wait for its end. A name that vanishes
    from the repository stays: `Engine.apply` takes it away.
    """

    def __init__(self, table: ModelTable, applier: Applier, read: Callable[[], EngineConfig], interval: float) -> None:
        self._table = table
        self._applier = applier
        self._read = read
        self._interval = interval
        self._lock = threading.Lock()  # of one look at a time
        self._stopped = threading.Event()
        self._before: tuple[EngineConfig, Found] | None = None
        self._done: tuple[EngineConfig, Found] | None = None  # what was found in order: nobody's changes are undone
        self._said: set[str] = set()
        self._pause = 0  # looks until a change that has failed is tried again
        self._tries = 0
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it still looks by itself."""
        return self._thread is not None and self._thread.is_alive() and not self._stopped.is_set()

    def step(self) -> Plan | None:
        """Look once and apply what has changed: what the watch does by itself every `interval`.

        Returns:
            The plan that was carried out; None when there was nothing to do, it is not settled yet, or it failed. A
            failure is logged once; everything is as it was.
        """
        with self._lock, self._applier.lock:  # what somebody applies meanwhile must not be taken back
            try:
                return self._step()
            except AnyaError as error:
                if not self._stopped.is_set():
                    self._failed(error)
            except Exception:  # noqa: BLE001  # logged, and the thread lives on
                _log.exception("watch: a look failed; the next one may not")
            return None

    def end(self) -> None:
        """Begin no further look."""
        self._stopped.set()

    def stop(self) -> None:
        """Look no more. Waits for a look that is going on, from any thread but the watch's own. Idempotent."""
        self.end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def start(self) -> None:
        """Begin to look by itself, on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="anya-watch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.step()
            self._stopped.wait(self._interval)

    def _step(self) -> Plan | None:
        config = self._read()
        seen = (config, look(config))
        before, self._before = self._before, seen
        if before != seen:
            self._pause = self._tries = 0
        if before is None or before[0] != config:
            return None  # the file may be half-written
        found, changing = settled(before[1], seen[1])
        if (config, found) == self._done:
            return None
        if self._pause > 0:
            self._pause -= 1
            return None
        now = self._table.state()
        wanted = goal(now, config, found)
        vanished, busy = self._vanished(now, wanted), frozenset(self._applier.rollouts.in_progress())
        still = vanished | changing | busy
        meant = self._applier.meant
        unchanged = [name for name, version in wanted.serving.items() if meant.get(name) == version]
        meant = {**wanted.serving, **{name: meant[name] for name in still if name in meant}}
        wanted = hold(hold_serving(wanted, now, unchanged), now, still)
        done = self._applier.carry_out(config, found, now, wanted, meant)
        self._tries = 0
        self._said.clear()
        self._done = None if changing or busy else (config, found)
        for name in sorted(vanished):
            self._say(f"'{name}' is no longer in the repository; it stays loaded until the next Engine.apply")
        if not done:
            return None
        _log.info("applied what has changed on disk:\n%s", done)
        return done

    def _vanished(self, now: State, wanted: State) -> frozenset[str]:
        """Names that were in the repository and are not: a disk that is away for a moment must not end a service."""
        models = self._applier.config.models
        gone = [name for name in now.serving if name not in wanted.serving]
        return frozenset(name for name in gone if name not in models or models[name].source is None)

    def _failed(self, error: AnyaError) -> None:
        self._say(f"{error.code}: {error}")
        self._pause = min(1 << self._tries, MOST_LOOKS_BETWEEN_TRIES)
        self._tries = min(self._tries + 1, 16)

    def _say(self, sentence: str) -> None:
        """Log a sentence, once for as long as nothing succeeds."""
        if sentence not in self._said:
            self._said.add(sentence)
            _log.warning("watch: %s", sentence)
