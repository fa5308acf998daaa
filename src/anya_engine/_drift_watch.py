# SPDX-License-Identifier: Apache-2.0
"""The models of an engine whose inputs and outputs are watched, and the thread that closes their windows."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from . import _core
from ._drift import MOST_PARTS, Counts, Rule, close_all, estimated_accuracy, glance, worst
from ._drift_counts import counts_of_core
from ._drift_plan import plan_of
from ._drift_report import report_of
from ._log import Log
from ._records import facts
from ._tables import with_message
from .drift import DriftConfig, DriftReport
from .errors import ConfigError
from .profile import Profile

__all__ = ["DriftWatches", "WatchedModel"]

_log = Log("anya_engine")

#: Seconds between two looks at how many rows there were; a window is closed by the first look that finds it full.
LOOK = 1.0


class WatchedModel:
    """One version and what was counted of it. Thread-safe."""

    def __init__(self, model: _core.Model, profile: Profile, config: DriftConfig, reference: str) -> None:
        info = model.info()
        self.name, self.version = model.name, model.version
        self.profile, self.reference = profile, reference
        self.note = ""
        if profile.digest != info["digest"]:
            self.note = f"the reference was made from {profile.model}:{profile.version}, digest {profile.digest[:12]}…"
        self._plan, self.watches, self._sizes = plan_of(profile, info, config)
        self._rule = Rule(
            alpha=config.alpha,
            psi_floor=config.psi_floor,
            consecutive=config.consecutive,
            features=sum(watch.feature.n > 0 for watch in self.watches),
        )
        self._config = config
        self._lock = threading.Lock()
        self._model: Callable[[], _core.Model | None] = weakref.ref(model)
        self._open = [Counts(np.zeros(size, np.int64)) for size, _ in self._sizes]
        self._below: deque[tuple[int, int]] = deque(maxlen=MOST_PARTS)
        self._rows = self._sampled_rows = 0
        self._window_began, self._window_rows = time.monotonic(), 0

    def begin(self, model: _core.Model, before: WatchedModel | None) -> None:
        """Let the core count by this plan; who watched before keeps what it has, and takes nothing of ours."""
        with nullcontext() if before is None else before._lock:
            model.watch_drift(self._plan)
            self._window_rows = model.stats().rows
            if before is not None:
                before._model = lambda: None

    def poll(self, now: float) -> None:
        """Close the window if it is over."""
        with self._lock:
            model = self._model()
            if model is None:
                return
            is_over = now - self._window_began >= self._config.window
            if not is_over and model.stats().rows - self._window_rows < self._config.window_rows:
                return
            self._take(model)
            before = worst([watch.state for watch in self.watches])
            close_all(self.watches, self._open[: len(self.watches)], self._rule, time.time())
            self._below.append(self._confident())
            self._open = [Counts(np.zeros(size, np.int64)) for size, _ in self._sizes]
            self._window_began, self._window_rows = now, model.stats().rows
            after = worst([watch.state for watch in self.watches])
        if before != after and "DRIFT" in (before, after):
            level = logging.WARNING if after == "DRIFT" else logging.INFO
            known = {"model": self.name, "version": self.version, "state": after, "why": self.report().why}
            _log.log(level, "drift model=%s version=%s state=%s: %s", *known.values(), extra=facts("drift", **known))

    def report(self, capturing: str = "") -> DriftReport:
        """How things stand, this moment's counts included; `capturing`: how far the next reference is, or ""."""
        with self._lock:
            if (model := self._model()) is not None:
                self._take(model)
            found = glance(self.watches, self._open[: len(self.watches)], self._rule)
            below = [sum(each) for each in zip(*self._below, self._confident(), strict=True)]
            return report_of(
                name=self.name,
                version=self.version,
                profile=self.profile,
                reference=self.reference,
                note="; ".join(filter(None, (self.note, capturing))),
                rows=self._rows,
                sampled_rows=self._sampled_rows,
                found=found,
                histories=[tuple(watch.history) for watch in self.watches],
                accuracy=estimated_accuracy(*below),
            )

    def _take(self, model: _core.Model) -> None:
        bins, odd, sums, rows, sampled_rows = model.take_drift()
        counts = counts_of_core(self._sizes, (bins, odd, sums))
        self._open = [one + more for one, more in zip(self._open, counts, strict=True)]
        self._rows += rows
        self._sampled_rows += sampled_rows

    def _confident(self) -> tuple[int, int]:
        """Answers of the open window below the confidence that counts as right, and all."""
        if len(self._open) == len(self.watches):
            return 0, 0
        counts = self._open[-1]
        return int(counts.bins[0]), counts.n


class DriftWatches:
    """The watched versions of an engine. Thread-safe.

    The thread starts with the first of them, and never stands in a request's way.
    """

    def __init__(self) -> None:
        self._watched: weakref.WeakKeyDictionary[_core.Model, WatchedModel] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, model: _core.Model, config: DriftConfig | None) -> None:
        """Watch a version that has just been loaded, if its configuration or its directory asks for it.

        Raises:
            ConfigError: The reference cannot be read, or is another model's.
        """
        own = model.take_profile()
        config = config or DriftConfig()
        if not config.enabled:
            return
        place = "profile.json" if config.reference is None else str(config.reference)
        try:
            content = own if config.reference is None else Path(place).read_bytes()
            if content is not None:
                self.watch(model, Profile.from_json(content, place), config, place)
        except OSError as error:
            message = f"model '{model.name}:{model.version}': drift.reference: {place}: {error.strerror}"
            raise ConfigError(message, field="drift.reference", value=place) from error
        except ConfigError as error:
            raise with_message(error, f"model '{model.name}:{model.version}': {error}") from error

    def watch(self, model: _core.Model, profile: Profile, config: DriftConfig, reference: str) -> None:
        """Compare a version with a profile from now on.

        Raises:
            ConfigError: It is the profile of another model.
        """
        watched = WatchedModel(model, profile, config, reference)
        with self._lock:
            watched.begin(model, self._watched.get(model))
            self._watched[model] = watched
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(
                    target=_run, args=(self._ended, weakref.ref(self)), name="anya-drift", daemon=True
                )
                self._thread.start()
        if watched.note:
            _log.warning("drift model=%s version=%s: %s", model.name, model.version, watched.note)

    def of(self, model: _core.Model) -> WatchedModel | None:
        """What is known of a version; None: it is not watched."""
        with self._lock:
            return self._watched.get(model)

    def poll(self, now: float) -> None:
        """Close the windows that are over."""
        with self._lock:
            watched = list(self._watched.values())
        for each in watched:
            each.poll(now)

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(ended: threading.Event, watches: Callable[[], DriftWatches | None]) -> None:
    while not ended.wait(LOOK):
        mine = watches()
        if mine is None:
            return
        try:
            mine.poll(time.monotonic())
        except Exception:  # noqa: BLE001  # watching must not end with one bad window
            _log.exception("drift: a window could not be judged")
        del mine
