# SPDX-License-Identifier: Apache-2.0
"""Counters of several worker processes in one folder, summed by whoever is scraped.

    NAME.counts     one version in one process: a page that says what it is, then the core's counters, mapped. Its
                    maker holds a lock on it, which the kernel frees with the process: a file nobody holds is of a dead
                    worker, or of a version that was unloaded
    NAME.sum        what files of the dead came to, of one version, and which files those were
    lock            shared by readers; who folds files into a sum has it alone

Whoever dies, at whatever instant, leaves counters that are whole: they are words that stand for themselves. What is
counted never goes down. A version is shown as long as one live process has it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from . import _core
from ._process_group import refuse_foreign
from .errors import ConfigError

__all__ = ["FEW", "FLAGS", "HEAD", "KEPT", "SharedCounts", "is_held", "layout", "locked", "totals_in"]

#: Bytes before the counters: what they are.
HEAD = 4096
#: How files of the folder are opened.
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
#: Files of the dead that are left alone until there are more: folding costs a write.
FEW = 8
#: Seconds that counts of a version are kept for when nobody has it: it may come back, but not all that ever were stay.
KEPT = 86400.0


class SharedCounts:
    """A process's part of the folder. Thread-safe for distinct versions; the engine loads one version at a time.

    Raises:
        ConfigError: The folder cannot be made, belongs to somebody else, or others may write in it.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._held: dict[int, Path] = {}  # open files, each with its lock
        try:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_foreign("metrics_directory", folder, Path(folder).stat())
        except OSError as error:
            message = f"metrics_directory: {folder}: {error.strerror or error}"
            raise ConfigError(message, field="metrics_directory", value=folder) from error
        # A forked child must not hold what its dead parent held.
        os.register_at_fork(after_in_child=_LetGo(self))

    def new(self) -> tuple[int, mmap.mmap]:
        """Memory for one version's counters, and a number for `describe` and `forget`."""
        path = Path(self.folder, f"{uuid4().hex}.counts")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = HEAD + _core.counters_size()
            os.posix_fallocate(descriptor, 0, size)  # a full disk is found here, not when somebody counts
            # Mapped through a file of its own: a mapping keeps its file open, with the lock, in a forked child, too.
            with path.open("r+b") as mapped:
                memory = mmap.mmap(mapped.fileno(), size)
        except BaseException:
            os.close(descriptor)
            path.unlink()
            raise
        self._held[descriptor] = path
        return descriptor, memory

    def describe(self, memory: mmap.mmap, facts: dict[str, Any]) -> None:
        """Say what is counted there; nobody reads it before."""
        memory[:HEAD] = _head({"layout": layout(), "pid": os.getpid(), **facts})

    def forget(self, number: int, *, unused: bool = False) -> None:
        """Nobody counts there any more; `unused`: nobody ever did."""
        path = self._held.pop(number, None)
        if path is not None:
            os.close(number)
            if unused:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        for number in list(self._held):
            self.forget(number)


def totals_in(folder: str) -> list[_core.ModelStats]:
    """What all processes that share a folder have counted, by version; gauges are those of the living."""
    place = Path(folder)
    with locked(place, fcntl.LOCK_SH):
        files = [file for path in sorted(place.glob("*.counts")) if (file := _read(path)) is not None]
        sums = [file for path in sorted(place.glob("*.sum")) if (file := _read(path)) is not None]
    done = {name for _, each, _, _ in sums for name in each["files"]}
    versions: dict[tuple[str, str], list[_File]] = {}
    for file in [*sums, *(each for each in files if each[0].name not in done)]:
        versions.setdefault((file[1]["name"], file[1]["version"]), []).append(file)
    dead = [file for file in files if not file[3]]
    if len(dead) > FEW:
        _fold(place)
    return [_total(found) for found in versions.values() if any(alive for *_, alive in found)]


_File = tuple[Path, dict[str, Any], Any, bool]  # where, what it is, counters, whether somebody counts there


def _total(found: list[_File]) -> _core.ModelStats:
    living = [file for file in found if file[3]]
    newest = living[-1][1]
    everything: Any = np.sum([counters for _, _, counters, _ in found], axis=0, dtype=np.uint64)
    alive: Any = np.sum([counters for _, _, counters, _ in living], axis=0, dtype=np.uint64)
    return _core.stats_of_counters(
        newest["name"],
        newest["version"],
        everything,
        alive,
        instances=sum(each["instances"] for _, each, _, _ in living),
        max_queue_size=sum(each["max_queue_size"] for _, each, _, _ in living),
        memory_bytes=sum(each["memory"] for _, each, _, _ in living),
        classes=newest["classes"],
    )


def _fold(place: Path) -> None:
    """Make one file of those of the dead, version by version. Whoever is killed meanwhile has counted nothing twice."""
    with locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_ours:
        if not is_ours:
            return
        versions: dict[str, list[_File]] = {}
        for path in sorted(place.glob("*.counts")):
            if (file := _read(path)) is not None and not file[3]:
                key = json.dumps([file[1]["name"], file[1]["version"]])
                versions.setdefault(hashlib.sha256(key.encode()).hexdigest()[:32], []).append(file)
        for stem, files in versions.items():
            target = place / f"{stem}.sum"
            before = _read(target) if target.exists() else None
            done = set() if before is None else set(before[1]["files"])
            fresh = [file for file in files if file[0].name not in done]
            counters = np.sum([each[2] for each in ([before] if before else []) + fresh], axis=0, dtype=np.uint64)
            facts = {**files[0][1], "files": [file[0].name for file in files]}
            new = place / f"{stem}.new"
            new.write_bytes(_head(facts) + counters.tobytes())
            new.replace(target)  # from here on they are counted there, and no longer where they lie
            for file in files:
                file[0].unlink(missing_ok=True)
        shown = {(file[1]["name"], file[1]["version"]) for path in place.glob("*.counts") if (file := _read(path))}
        for path in place.glob("*.sum"):
            file = _read(path)
            is_shown = file is not None and (file[1]["name"], file[1]["version"]) in shown
            if not is_shown and time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


def _read(path: Path) -> _File | None:
    """A file, unless it is not ready, of another layout, or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        alive = False
        if path.suffix == ".counts":
            alive = is_held(descriptor)
        content = file.read(HEAD + _core.counters_size()) or b""
    head = content[:HEAD].rstrip(b"\0")
    if not head:
        return None
    facts = json.loads(head)
    if facts.get("layout") != layout() or len(content) != HEAD + _core.counters_size():
        return None
    return path, facts, np.frombuffer(content, np.uint64, offset=HEAD), alive


def _head(facts: dict[str, Any]) -> bytes:
    text = json.dumps(facts).encode()
    if len(text) > HEAD:  # class names, above all
        text = json.dumps({**facts, "classes": []}).encode()
    return text.ljust(HEAD, b"\0")


def layout() -> str:
    """Of what processes share: those with unlike ones do not read each other's."""
    return _core.counters_layout()


def is_held(descriptor: int) -> bool:
    """Whether a living process holds this file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # others may look at the same time
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def locked(place: Path, how: int) -> Iterator[bool]:
    """Hold the folder's lock; False: `how` says not to wait, and somebody else has it."""
    descriptor = os.open(place / "lock", os.O_RDWR | os.O_CREAT | FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


class _LetGo:
    """Makes a forked child let go, and keeps nothing alive for that."""

    def __init__(self, counts: SharedCounts) -> None:
        self._counts = weakref.ref(counts)

    def __call__(self) -> None:
        if (counts := self._counts()) is not None:
            counts.close()
