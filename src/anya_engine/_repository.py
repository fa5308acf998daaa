# SPDX-License-Identifier: Apache-2.0
"""Looks at the files of models from outside: what lies in a repository, and whether it has changed.

Nothing is opened here. What is loaded is read, checked and hashed by the core, which also refuses links.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

from . import _checks as check
from ._frozen import FrozenMapping
from ._goal import Files, Found
from .config import EngineConfig
from .errors import ConfigError, UnsafeFile
from .repository import is_version

__all__ = ["full", "look", "settled", "stamp_of"]

#: Files of one version at most; a directory with more is no model.
MOST_FILES = 10_000


def look(config: EngineConfig) -> Found:
    """What lies where a configuration points to, at this moment.

    Raises:
        ConfigError: The repository cannot be read.
        UnsafeFile: A name or a version in it is a link.
    """
    paths = {name: full(model.source) for name, model in config.models.items() if model.source is not None}
    notes: list[str] = []
    versions = {} if config.repository is None else dict(_names(full(config.repository.path), notes))
    return Found(
        versions=FrozenMapping(versions),
        sources=FrozenMapping({name: Files(path, stamp_of(path)) for name, path in paths.items()}),
        missing=frozenset(name for name, path in paths.items() if not os.path.lexists(path)),
        notes=tuple(notes),
    )


def full(path: str | PathLike[str]) -> str:
    """A path that means the same wherever the process goes, and that two spellings of one place share."""
    return str(Path(path).absolute())


def settled(before: Found, now: Found) -> tuple[Found, frozenset[str]]:
    """What two looks agree on.

    Returns:
        What is there now, where versions of the repository that have changed since are not to be read yet; and the
        names whose own `source` has changed.
    """
    versions = {}
    for name, those in now.versions.items():
        earlier = before.versions.get(name, {})
        versions[name] = FrozenMapping(
            {
                number: files if earlier.get(number) == files else Files(files.path, None)
                for number, files in those.items()
            }
        )
    names = {*before.sources, *now.sources}
    changing = frozenset(name for name in names if before.sources.get(name) != now.sources.get(name))
    return dataclasses.replace(now, versions=FrozenMapping(versions)), changing


def stamp_of(path: str) -> str | None:
    """Sizes and times of a file, or of all files below a directory, as one text; None when they cannot be had."""
    facts: list[tuple[str, int, int, int]] = []
    try:
        for name, status in _files(path):
            inside = stat.S_ISDIR(status.st_mode)  # of a directory counts what is in it
            facts.append((name, status.st_mode, *((0, 0) if inside else (status.st_size, status.st_mtime_ns))))
            if len(facts) > MOST_FILES:
                return None
    except OSError:
        return None  # gone or changing while it is looked at
    return hashlib.sha256(repr(sorted(facts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _names(root: str, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Files]]]:
    try:
        with os.scandir(root) as found:
            names = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            f"repository.path: {root}: {error.strerror or error}", field="repository.path", value=root
        ) from error
    for entry in names:
        if entry.name.startswith("."):
            continue
        try:
            check.name("name", entry.name)
        except ConfigError:
            notes.append(f"{root}/{check.key(entry.name)} is left alone: this is no name for a model")
            continue
        _refuse_link(entry)
        if not entry.is_dir():
            notes.append(f"{entry.path} is left alone: a repository holds directories only")
        elif versions := dict(_versions(entry.path, notes)):
            yield entry.name, FrozenMapping(versions)
        else:
            notes.append(f"{entry.path} is left alone: it has no version with a model.onnx")


def _versions(folder: str, notes: list[str]) -> Iterator[tuple[str, Files]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        notes.append(f"{folder} is left alone: {error.strerror or error}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if not is_version(entry.name):
            notes.append(f"{folder}/{check.key(entry.name)} is left alone: a version is a whole number")
            continue
        _refuse_link(entry)
        if not os.path.lexists(f"{entry.path}/model.onnx"):
            notes.append(f"{entry.path} is left alone: it holds no model.onnx")
        else:
            stamp = stamp_of(entry.path)
            if stamp is None:
                notes.append(f"{entry.path} is left alone: it cannot be read, or holds more than {MOST_FILES} files")
            yield entry.name, Files(entry.path, stamp)


def _refuse_link(entry: os.DirEntry[str]) -> None:
    if entry.is_symlink():
        message = f"{entry.path} is a symbolic link; a repository holds directories only"
        raise UnsafeFile(message, field="repository.path", value=entry.path)


def _files(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything at and below a path, links as what they are."""
    status = os.lstat(path)
    yield "", status
    if not stat.S_ISDIR(status.st_mode):
        return
    waiting = [(path, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as found:
            for entry in found:
                status = entry.stat(follow_symlinks=False)
                yield prefix + entry.name, status
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
