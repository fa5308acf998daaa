# SPDX-License-Identifier: Apache-2.0
"""The model repository: a directory of models and their versions, and which of them an engine loads.

A repository holds `NAME/VERSION/model.onnx`, with whatever else a model directory may hold beside it. `VERSION` is a
whole number without leading zeros; the greatest is the newest. Everything else in it is left alone. Versions are
written under another name first and renamed, or simply copied: a version counts once it has stopped changing.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias

from . import _checks as check
from ._frozen import FrozenMapping
from ._tables import FromTable, build, table
from .errors import ConfigError

__all__ = ["RepositoryConfig", "Transition", "VersionPolicy"]

#: How a name goes from one version to the next.
Transition: TypeAlias = Literal["availability_preserving", "resource_preserving"]

#: The label whose version answers requests that name none.
STABLE = "stable"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def is_version(text: str) -> bool:
    """Whether a directory of this name is a version of a repository."""
    return _NUMBER.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionPolicy(FromTable):
    """Which versions of a name in the repository are loaded; the choices are Triton's and TensorFlow Serving's.

    Give one of the three; none means `latest=2`, so that the version before the newest stays warm (Triton: 1). A
    version that a label names is loaded besides.

    Attributes:
        latest: So many of the newest.
        specific: These and no others.
        all: Every one.
    """

    latest: int | None = None
    specific: tuple[str, ...] | None = None
    all: bool = False

    def __post_init__(self) -> None:
        check.boolean("all", self.all)
        if self.latest is None and self.specific is None and not self.all:
            object.__setattr__(self, "latest", 2)
        if (self.latest is not None) + (self.specific is not None) + self.all > 1:
            raise ConfigError("latest: give one of latest, specific and all", field="latest", value=self.latest)
        if self.latest is not None:
            object.__setattr__(self, "latest", check.integer("latest", self.latest, 1, 1_000_000))
        if self.specific is not None:
            object.__setattr__(self, "specific", _versions("specific", self.specific))

    def choose(self, versions: Collection[str]) -> list[str]:
        """The versions to load of those there are, oldest first. One of `specific` that is not there is left out."""
        ordered = sorted(versions, key=int)
        if self.specific is not None:
            return [version for version in ordered if version in self.specific]
        return ordered if self.latest is None else ordered[-self.latest :]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryConfig:
    """A model repository that an engine serves from.

    Every name in it is a model of the engine. How a name is run, and its own version policy and labels, are in
    `EngineConfig.models` under that name, without a `source`.

    Attributes:
        path: The directory; in a TOML file relative to the file's folder.
        version_policy: Which versions are loaded of a name that has no policy of its own.
    """

    path: str | PathLike[str]
    version_policy: VersionPolicy = dataclasses.field(default_factory=VersionPolicy)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", check.path("path", self.path))
        check.instance("version_policy", self.version_policy, VersionPolicy)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RepositoryConfig:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        if "path" not in table(values):
            raise ConfigError("path: is missing", field="path")
        return build(cls, values, {"version_policy": VersionPolicy.from_dict})


def labels(field: str, value: object) -> FrozenMapping[str, str]:
    """Labels and the versions they name. A label never looks like a version of a repository."""
    check.mapping(field, value)
    assert isinstance(value, Mapping)
    result: dict[str, str] = {}
    for label, version in value.items():
        check.name(field, label)
        if label.isdecimal():
            check.refuse(f"{field}.{label}", "a label must not be a number, which is what versions are", label)
        result[label] = check.name(f"{field}.{check.key(label)}", version)
    return FrozenMapping(result)


def _versions(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        check.refuse(field, "must be a sequence of at least one version", value)
    for version in value:
        if not isinstance(version, str) or not is_version(version):
            check.refuse(field, "a version of a repository must be a whole number, as text", version)
    return tuple(sorted(set(value), key=int))
