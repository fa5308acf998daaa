# SPDX-License-Identifier: Apache-2.0
"""What the processes of one folder show beside the core's counters: caches, rules, retries, rollouts, drift, spans.

    NAME.engine     locked by one engine for as long as it lives
    NAME.families   what it shows, replaced as a whole once a second, at each scrape and at its end
    dead.families   the counters of engines that are gone, and which files those were

Counters never go down: what an engine stops showing, with a version that is unloaded, it goes on to have counted. An
engine that is killed loses at most the last second of these, and of what `_shared_counts` maps nothing. A version that
no living engine shows is left out, and forgotten after a day; gauges are those of the living.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from ._core import MetricFamily, merge_families, metric_families
from ._log import Log
from ._shared_counts import FEW, FLAGS, KEPT, is_held, layout, locked, totals_in

__all__ = ["SharedFamilies", "families_of"]

_log = Log("anya_engine")

#: Seconds between two writes.
INTERVAL = 1.0
_DEAD = "dead.families"
_VERSION = ["model", "version"]

_Series = dict[tuple[str, ...], float]
_Sample = tuple[list[str], float]
_Version = tuple[str, ...]


class SharedFamilies:
    """One engine's part of the folder, and the thread that writes it. Thread-safe."""

    def __init__(self, folder: str, families: Callable[[], list[MetricFamily]]) -> None:
        """`families`: what to show; histograms are not."""
        self._families = families
        self._trouble = ""  # as last logged
        self._lock = threading.RLock()  # garbage may be collected, and with it the engine closed, while it writes
        self._path = Path(folder, f"{uuid4().hex}.families")
        self._kept: dict[str, _Kept] = {}  # by family
        self._seen: dict[_Version, float] = {}  # when a version was last shown
        self._held: int | None = os.open(self._path.with_suffix(".engine"), os.O_RDWR | os.O_CREAT | FLAGS, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=_run, args=(self._ended, weakref.ref(self)), daemon=True)
        self._thread.name = "anya-families"
        self._thread.start()
        os.register_at_fork(after_in_child=_LetGo(self))

    def write(self) -> None:
        """Say how things stand. Raises OSError."""
        with self._lock:
            if self._held is None:
                return
            shown = {family.name: family for family in self._families() if family.kind != "histogram"}
            for name, family in shown.items():
                self._kept.setdefault(name, _Kept(family)).take(family)
            for name in self._kept.keys() - shown.keys():
                self._kept[name].missed()
            kept = self._kept.values()
            versions = {labels[:2] for each in kept if each.of_versions for labels in each.now}
            for version in _too_old(self._seen, versions):
                for each in kept:
                    each.forget(version)
            rows = [_row(each.family, each.samples()) for each in kept]
            facts = {"layout": layout(), "pid": os.getpid(), "versions": sorted(versions), "families": rows}
            _replace(self._path, facts)

    def close(self) -> None:
        """Write a last time, and let go. Idempotent."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        with contextlib.suppress(OSError):  # the disk is full: the last second is lost
            self.write()
        with self._lock:
            self.let_go()

    def let_go(self) -> None:
        """Live no longer."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def tick(self) -> None:
        """What the thread does once a second."""
        try:
            self.write()
        except Exception as error:  # noqa: BLE001  # the next one may go well
            if self._trouble != (trouble := f"{type(error).__name__}: {error}"):
                self._trouble = trouble
                _log.warning("metrics cannot be shared, the next second may do: %s", trouble)
        else:
            self._trouble = ""


class _Kept:
    """A family as it was last seen, and what its counters had come to before they began anew. Not thread-safe."""

    def __init__(self, family: MetricFamily) -> None:
        self.family = family
        self.of_versions = family.label_names[:2] == _VERSION
        self.now: _Series = {}
        self._gone: _Series = {}

    def take(self, family: MetricFamily) -> None:
        now = {tuple(labels): value for labels, value in family.samples}
        if family.kind == "counter":
            for labels, value in self.now.items():
                if now.get(labels, 0) < value:
                    self._gone[labels] = self._gone.get(labels, 0) + value
        self.now = now

    def missed(self) -> None:
        """Its source failed: counters stand still, gauges are not known."""
        if self.family.kind != "counter":
            self.now = {}

    def forget(self, version: _Version) -> None:
        if self.of_versions:
            self._gone = {labels: value for labels, value in self._gone.items() if labels[:2] != version}

    def samples(self) -> list[_Sample]:
        return [(list(key), self.now.get(key, 0) + self._gone.get(key, 0)) for key in {**self.now, **self._gone}]


def families_of(folder: str) -> list[MetricFamily]:
    """Everything that the processes of a folder show, as one."""
    totals = totals_in(folder)
    versions: set[_Version] = {(each.name, each.version) for each in totals}
    return merge_families([metric_families([], totals), *_families_in(folder, versions)])


def _families_in(folder: str, versions: set[_Version]) -> list[list[MetricFamily]]:
    place = Path(folder)
    with locked(place, fcntl.LOCK_SH):
        dead_before = _read(place / _DEAD)
        folded = set(dead_before["files"]) if dead_before else set()
        found = [(path, _is_alive(path), facts) for path in _engines(place) if (facts := _read(path)) is not None]
    dead = [facts for path, is_alive, facts in found if not is_alive and path.name not in folded]
    living = [facts for _, is_alive, facts in found if is_alive]
    if sum(not is_alive for _, is_alive, _ in found) > FEW:
        _fold(place)
    versions = versions | {tuple(each) for facts in living for each in facts["versions"]}
    past = _counters([*([dead_before] if dead_before else []), *dead])
    return [_families(facts["families"], versions) for facts in [*living, {"families": past}]]


def _too_old(seen: dict[_Version, float], shown: set[_Version]) -> set[_Version]:
    """Keep in mind when versions were last shown; forget and return those that have not been for `KEPT` seconds."""
    now = time.time()
    seen.update(dict.fromkeys(shown, now))
    gone = {version for version, when in seen.items() if version not in shown and now - when > KEPT}
    for version in gone:
        del seen[version]
    return gone


def _counters(of: Iterable[dict[str, Any]], without: Collection[_Version] = ()) -> list[Any]:
    parts = [_families([row for row in each["families"] if row["kind"] == "counter"]) for each in of]
    rows = []
    for family in merge_families(parts):
        of_versions = family.label_names[:2] == _VERSION
        kept = [each for each in family.samples if not of_versions or tuple(each[0][:2]) not in without]
        rows.append(_row(family, kept))
    return rows


def _families(rows: list[dict[str, Any]], versions: set[_Version] | None = None) -> list[MetricFamily]:
    made = []
    for row in rows:
        family = MetricFamily(row["name"], row["kind"], row["help"], row["labels"], row["merge"])
        of_version = row["labels"][:2] == _VERSION
        for labels, value in row["samples"]:
            if versions is None or not of_version or tuple(labels[:2]) in versions:
                family.add(labels, value)
        made.append(family)
    return made


def _row(family: MetricFamily, samples: list[_Sample]) -> dict[str, Any]:
    facts = {"name": family.name, "kind": family.kind, "help": family.help, "merge": family.merge}
    return {**facts, "labels": family.label_names, "samples": samples}


def _fold(place: Path) -> None:
    """Make one file of those of the dead. Whoever is killed meanwhile has counted nothing twice."""
    with locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_ours:
        if not is_ours:
            return
        before = _read(place / _DEAD)
        folded = set(before["files"]) if before else set()
        dead = {path: facts for path in _engines(place) if not _is_alive(path) and (facts := _read(path)) is not None}
        fresh = [facts for path, facts in dead.items() if path.name not in folded]
        seen = {tuple(version): when for version, when in (before["seen"] if before else [])}
        living = [facts for path in _engines(place) if path not in dead and (facts := _read(path)) is not None]
        gone = _too_old(seen, {tuple(each) for facts in [*fresh, *living] for each in facts["versions"]})
        rows = _counters([*([before] if before else []), *fresh], without=gone)
        facts = {"layout": layout(), "families": rows, "files": [path.name for path in dead], "seen": [*seen.items()]}
        _replace(place / _DEAD, facts)
        for path in dead:
            path.unlink(missing_ok=True)
            path.with_suffix(".engine").unlink(missing_ok=True)


def _engines(place: Path) -> list[Path]:
    return [path for path in sorted(place.glob("*.families")) if path.name != _DEAD]


def _is_alive(path: Path) -> bool:
    try:
        descriptor = os.open(path.with_suffix(".engine"), os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return False
    try:
        return is_held(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return facts if facts.get("layout") == layout() else None


def _replace(path: Path, facts: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | FLAGS, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(facts, file)
    new.replace(path)


def _run(ended: threading.Event, engine: weakref.ref[SharedFamilies]) -> None:
    while not ended.is_set():
        if (shared := engine()) is None:
            return
        shared.tick()
        del shared
        ended.wait(INTERVAL)


class _LetGo:
    """Makes a forked child let go, and keeps nothing alive for that."""

    def __init__(self, shared: SharedFamilies) -> None:
        self._shared = weakref.ref(shared)

    def __call__(self) -> None:
        if (shared := self._shared()) is not None:
            shared._lock = threading.RLock()  # whoever had it does not live here
            shared.let_go()
