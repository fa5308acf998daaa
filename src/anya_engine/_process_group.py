# SPDX-License-Identifier: Apache-2.0
"""What the processes of one group share: a folder of small files. Knows nothing of what is in them.

    members             held by every live process; who finds nobody there clears away what a dead group has left
    NAME.lock           held while NAME's state is changed; the kernel frees it when its holder is killed
    NAME.state          replaced as a whole, by renaming: whoever is killed while writing leaves the state as it was
    NAME.N.counts       mapped into every process: counters that stand for themselves

All processes run on one machine, as one user. `flock` belongs to the open file, so two groups in one process are two
members.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import re
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from .errors import ConfigError, Unavailable

__all__ = ["LOCK", "ProcessGroup", "SharedState", "refuse_foreign"]

#: `field` of the error that says that another process is at it.
LOCK = "process_group.lock"

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_OURS = re.compile(r".+\.(lock|state|new|[0-9]+\.counts)")
#: More than any state has.
_LARGEST_STATE = 64 << 20
#: Seconds between two tries to have a lock that another process holds.
_RETRY = 0.002


class ProcessGroup:
    """A process's membership. Not thread-safe: who uses it has a lock.

    Raises:
        ConfigError: The folder cannot be made, belongs to somebody else, or others may write in it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._states: dict[str, SharedState] = {}
        self._descriptors: list[int] = []
        try:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._at = self._keep(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            refuse_foreign("process_group", folder, os.fstat(self._at))
            self._join()
        except OSError as error:
            self.leave()
            message = f"process_group: {folder}: {error.strerror or error}"
            raise ConfigError(message, field="process_group", value=folder) from error
        except ConfigError:
            self.leave()
            raise
        # A forked child must not hold what its dead parent held.
        os.register_at_fork(after_in_child=_Leave(self))

    def state(self, name: str) -> SharedState:
        """What the group shares under a name."""
        state = self._states.get(name)
        if state is None:
            readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
            stem = f"{readable}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
            state = self._states[name] = SharedState(self._folder, self._at, stem)
        return state

    def forget(self, name: str) -> None:
        """Share nothing under a name any more."""
        if (state := self._states.pop(name, None)) is not None:
            state.close()

    def leave(self) -> None:
        """Be no member any more. Idempotent."""
        for name in list(self._states):
            self.forget(name)
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _keep(self, descriptor: int) -> int:
        self._descriptors.append(descriptor)
        return descriptor

    def _join(self) -> None:
        members = self._keep(os.open("members", os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=self._at))
        if _locked(members):
            # Nobody else is a member, and nobody touches these files before being one.
            for name in _names(self._at):
                if _OURS.fullmatch(name):
                    os.unlink(name, dir_fd=self._at)
        # Who clears lets go for a moment here; another may then find nobody and clear again: nothing is there yet.
        fcntl.flock(members, fcntl.LOCK_SH)


class SharedState:
    """Bytes that the processes of a group replace one at a time, and counters beside them.

    Attributes:
        path: Where the bytes are.
        lost: Somebody has taken them away since they were last read or written.
    """

    def __init__(self, folder: str, at: int, stem: str) -> None:
        self.path = str(Path(folder, f"{stem}.state"))
        self._at = at
        self._stem = stem
        self._seen: bytes | None = None
        self.lost = False
        with self._words("cannot be opened"):
            self._lock = os.open(f"{stem}.lock", os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=at)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)

    @contextlib.contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Keep the other processes from changing it. Raises Unavailable when another does so for `patience` seconds."""
        end = time.monotonic() + patience
        with self._words("cannot be locked"):
            while not _locked(self._lock):
                if time.monotonic() >= end:
                    raise Unavailable(
                        f"another process of the group has been changing {self.path} for {patience:g} s; try again",
                        field=LOCK,
                    )
                time.sleep(_RETRY)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def news(self) -> bytes | None:
        """The state, where it is not the one last `seen`; None: nothing new. Raises ConfigError: unreadable."""
        with self._words("cannot be read"):
            try:
                descriptor = os.open(f"{self._stem}.state", os.O_RDONLY | _FLAGS, dir_fd=self._at)
            except FileNotFoundError:
                self.lost, self._seen = self.lost or self._seen is not None, None
                return None
            self.lost = False
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_STATE:
                    raise self.refused("it is no file of ours")
                content = file.read(found.st_size + 1) or b""
        return None if content == self._seen else content

    def seen(self, content: bytes | None) -> None:
        """This is what it is now; None: nobody knows."""
        self._seen = content

    def write(self, content: bytes) -> None:
        """Replace it; whoever calls has the lock."""
        if content == self._seen:
            return
        self._seen = None
        new, state = f"{self._stem}.new", f"{self._stem}.state"
        with self._words("cannot be written"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS
            with os.fdopen(os.open(new, flags, 0o600, dir_fd=self._at), "wb") as file:
                file.write(content)
            os.replace(new, state, src_dir_fd=self._at, dst_dir_fd=self._at)
        self._seen, self.lost = content, False

    def new_counts(self, generation: int, size: int) -> mmap.mmap:
        """Counters at zero that `counts` of every process finds; those of other generations are history."""
        with self._words("has no room for counts"):
            for name in _names(self._at):
                if name.startswith(f"{self._stem}.") and name.endswith(".counts"):
                    os.unlink(name, dir_fd=self._at)  # who has mapped it keeps it
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS
            descriptor = os.open(f"{self._stem}.{generation}.counts", flags, 0o600, dir_fd=self._at)
            try:
                os.posix_fallocate(descriptor, 0, size)  # a full disk is found here, not when somebody counts
                return mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)

    def counts(self, generation: int, size: int) -> mmap.mmap:
        """The counters of a generation."""
        with self._words("has lost its counts"):
            descriptor = os.open(f"{self._stem}.{generation}.counts", os.O_RDWR | _FLAGS, dir_fd=self._at)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    raise self.refused(f"its counts are {found.st_size} bytes instead of {size}")
                return mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)

    def refused(self, why: str) -> ConfigError:
        """What is there cannot be used: where, why, and the way out."""
        return ConfigError(
            f"process_group: {self.path} is not usable: {why}; requests are answered as before. Remove the file, and "
            "the processes write it anew from what they know",
            field="process_group",
            value=self.path,
        )

    @contextlib.contextmanager
    def _words(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"process_group: {self.path} {what}: {error.strerror or error}") from error


def refuse_foreign(field: str, folder: str, found: os.stat_result) -> None:
    """Refuse a folder that others could change, or make us change what is theirs."""
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"{field}: {folder} must belong to the user that runs the processes (uid {os.geteuid()}, not "
            f"{found.st_uid}) and be writable by nobody else (mode {stat.S_IMODE(found.st_mode):o}), since they map "
            "what is in it into their memory",
            field=field,
            value=folder,
        )


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Leave:
    """Makes a forked child let go, and keeps nothing alive for that."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = weakref.ref(group)

    def __call__(self) -> None:
        if (group := self._group()) is not None:
            group.leave()
