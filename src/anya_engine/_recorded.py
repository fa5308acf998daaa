# SPDX-License-Identifier: Apache-2.0
"""Requests written down beside a model, to warm up and compare the versions that come."""

from __future__ import annotations

import os
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from . import _core
from ._log import Log
from .errors import AnyaError, ConfigError, InvalidInput, ModelLoadError

__all__ = ["Recorder", "read_recorded", "recorded_path", "replay"]

_log = Log("anya_engine")

Inputs: TypeAlias = dict[str, Any]

#: A file above it is not read, and a recording stops before it.
MOST_BYTES = 256 << 20


def recorded_path(source: str) -> Path:
    """Where a model's requests are: beside its file or folder, never in it, since a folder is signed as a whole."""
    place = Path(source)
    return place.with_name(place.name + ".requests.npz")


class Recorder:
    """A tap that keeps copies of the inputs of the next so many requests that are answered, then writes them.

    Thread-safe.
    """

    def __init__(self, path: Path, names: list[str], count: int, done: Callable[[], None]) -> None:
        self._path = path
        self._names = names
        self._count = count
        self._done = done
        self._lock = threading.Lock()
        self._kept: list[Inputs] = []
        self._bytes = 0

    def wants(self, _stable: _core.Model) -> bool:
        """Every one until there are enough."""
        return len(self._kept) < self._count

    def ask(self, inputs: Any, _outputs: Any, _key: Any, _tenant: Any) -> _Copies:
        """Copy."""
        if not isinstance(inputs, Mapping):
            inputs = {self._names[0]: inputs}
        return _Copies(self, {name: _plain(inputs[name]) for name in self._names})

    def keep(self, copies: Inputs) -> None:
        """Take the inputs of a request that had an answer."""
        with self._lock:
            size = sum(array.nbytes for array in copies.values())
            if len(self._kept) >= self._count or self._bytes + size > MOST_BYTES:
                return
            self._kept.append(copies)
            self._bytes += size
            complete = len(self._kept) == self._count
        if complete:
            # Not on the thread of the request that happened to be the last.
            threading.Thread(target=self._write, name="anya-record", daemon=True).start()

    def _write(self) -> None:
        try:
            write_recorded(self._path, self._kept)
            _log.info("recorded %d requests into %s", len(self._kept), self._path)
        except OSError as error:
            _log.error("could not write %s: %s", self._path, error)
        finally:
            self._done()


class _Copies:
    """The inputs of a request whose answer is not known yet."""

    def __init__(self, recorder: Recorder, inputs: Inputs) -> None:
        self._recorder = recorder
        self._inputs = inputs

    def answered(self, _answer: object, *, computed: bool) -> None:  # noqa: ARG002
        """Worth keeping."""
        self._recorder.keep(self._inputs)

    def forget(self) -> None:
        """A request that fails is none to warm up with."""


def _plain(given: Any) -> Any:
    """Return a copy; text as NumPy's own kind, since objects would have to be pickled."""
    array = np.array(given)
    if array.dtype.kind != "O":
        return array
    return array.astype(np.bytes_ if all(isinstance(each, bytes) for each in array.flat) else np.str_)


def write_recorded(path: Path, requests: list[Inputs]) -> None:
    """Write requests; the file is there whole or not at all."""
    arrays = {f"{number}/{name}": array for number, inputs in enumerate(requests) for name, array in inputs.items()}
    handle, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_recorded(path: Path) -> list[Inputs]:
    """Return the requests of a file; none when there is no such file.

    Raises:
        ConfigError: The file is too large, or not one of ours.
    """
    try:
        requests: dict[int, Inputs] = {}
        with path.open("rb") as opened:
            with zipfile.ZipFile(opened) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES + (1 << 20):
                raise ConfigError(
                    f"{path} holds {size} bytes of requests", field="requests", limit=MOST_BYTES, value=size
                )
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            for member in file.files:
                number, _, name = member.partition("/")
                requests.setdefault(int(number), {})[name] = file[member]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} holds no recorded requests: {error}", field="requests", value=str(path)) from error
    return [requests[number] for number in sorted(requests)]


def replay(model: _core.Model, path: Path) -> int:
    """Let a version answer the requests that were recorded, before anybody asks it; return how many there were.

    Raises:
        ModelLoadError: It fails for one that an earlier version answered.
    """
    try:
        requests = read_recorded(path)
    except ConfigError as error:
        _log.warning("no warm-up with recorded requests: %s", error)
        return 0
    for number, inputs in enumerate(requests):
        try:
            model.rehearse(inputs)
        except InvalidInput as error:  # the schema has changed since
            _log.warning("no warm-up with recorded requests: request %d of %s: %s", number, path, error)
            return 0
        except AnyaError as error:
            raise ModelLoadError(
                f"model '{model.name}:{model.version}' fails in warm-up, for request {number} of {path}: {error}",
                field="requests",
                value=number,
            ) from error
    return len(requests)
