# SPDX-License-Identifier: Apache-2.0
"""Versions whose device is lost are opened again in the background, on the CPU where their providers end with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ._info import ModelHealth
from ._log import Log
from ._records import facts
from ._retire import retire
from .errors import AnyaError

if TYPE_CHECKING:
    from . import _core
    from ._state import Key

__all__ = ["Repairs"]

_log = Log("anya_engine")
_PERIOD = 0.5  # seconds between looks
_LONGEST = 60.0  # between attempts at one version


class Table(Protocol):
    """What `ModelTable` is to repairs."""

    @property
    def loaded(self) -> dict[Key, _core.Model]:
        """Every version."""

    def reopen(self, key: Key) -> _core.Model:
        """Open a version again."""

    def replace(self, key: Key, old: _core.Model, new: _core.Model) -> bool:
        """Let one take the other's place, if that still has it."""


class Repairs:
    """One thread, started by the first model that runs on a device. Thread-safe.

    Attributes:
        refused: Why a version could not be opened again, by name and version, and when that is tried next.
    """

    def __init__(self, table: Table, replaced: Callable[[str], None]) -> None:
        self._table = table
        self._replaced = replaced
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.refused: dict[Key, tuple[str, float, float]] = {}  # why, next time, seconds between

    def begin(self) -> None:
        """Look after devices from now on."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="anya-repairs", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End; what is being opened is finished first. Idempotent."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Open again what has failed and is due."""
        for key in [key for key, model in self._table.loaded.items() if model.failed]:
            _, due, seconds = self.refused.get(key, ("", 0.0, _PERIOD))
            if now >= due and not self._stop.is_set():
                self._repair(key, now, min(2 * seconds, _LONGEST))

    def health(self, name: str, version: str) -> ModelHealth:
        """What to say of a version that has failed."""
        why = self.refused.get((name, version))
        reason = "the device is lost; the version is being opened again"
        if why is not None:
            reason = f"the device is lost, and the version could not be opened again: {why[0]}"
        return ModelHealth(live=why is None, ready=False, version=version, reason=reason)

    def _repair(self, key: Key, now: float, seconds: float) -> None:
        old = self._table.loaded.get(key)
        if old is None:
            return
        named = {"model": key[0], "version": key[1]}
        _log.error("device lost model=%s version=%s", *key, extra=facts("device lost", **named))
        try:
            new = self._table.reopen(key)
        except AnyaError as error:
            self.refused[key] = (str(error), now + seconds, seconds)
            # The message says it: no traceback.
            what = facts("not opened again", **named, why=str(error))
            _log.error("not opened again model=%s version=%s why=%s", *key, error, extra=what)
            return
        self.refused.pop(key, None)
        if not self._table.replace(key, old, new):
            new.unload()
            return
        self._replaced(key[0])
        providers = list(new.info()["providers"])
        what = facts("opened again", **named, providers=providers)
        _log.warning("opened again model=%s version=%s providers=%s", *key, ",".join(providers), extra=what)
        gone = [old]
        del old
        retire(gone)
