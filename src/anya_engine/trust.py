# SPDX-License-Identifier: Apache-2.0
"""Which models may run: whose signatures and which registry are believed, and what a model may consist of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal, TypeAlias, get_args

from . import _checks as check
from ._frozen import FrozenMapping
from ._registry import is_digest
from ._tables import FromTable

__all__ = ["ModelLimits", "TrustConfig"]

TrustMode: TypeAlias = Literal["enforce", "registry", "signature", "off"]
OnRevoked: TypeAlias = Literal["alert", "drain"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig(FromTable):
    """What must hold of a model's origin before a byte of it is parsed. Nothing is detected, nothing falls back.

    Attributes:
        mode: "signature": a valid signature by one of `keys` over all that is there. "registry": the registry lists the
            model's digest as active. "enforce": both. "off": nothing is checked, and no record is left; as
            a model's own `ModelConfig.trust` it excepts that model from the engine's.
        keys: PEM files of the public keys whose signatures are believed: elliptic curves P-256, P-384, P-521.
        registry: The registry file, for "enforce" and "registry".
        registry_keys: PEM files of the public keys that sign the registry; (): `keys`.
        registry_threshold: How many different ones of them must have signed it.
        floor: Where the newest version seen of the registry is kept, so that an older one is refused; None: beside the
            registry, with ".floor" added. Name a place that whoever writes the registry cannot write.
        on_revoked: What becomes of a loaded model that the registry lets run no longer. "alert": it goes on, with a
            warning in the audit log, and `ModelInfo.trust` says "revoked". "drain": it takes no more requests, and what
            it has accepted still ends.
        recheck_interval: Seconds between two looks at the registry for the sake of loaded models.
    """

    mode: TrustMode = "enforce"
    keys: tuple[str | PathLike[str], ...] = ()
    registry: str | PathLike[str] | None = None
    registry_keys: tuple[str | PathLike[str], ...] = ()
    registry_threshold: int = 1
    floor: str | PathLike[str] | None = None
    on_revoked: OnRevoked = "alert"
    recheck_interval: float = 60.0

    def __post_init__(self) -> None:
        check.choice("mode", self.mode, get_args(TrustMode))
        for field in ("keys", "registry_keys"):
            _set(self, field, _paths(field, getattr(self, field)))
        for field in ("registry", "floor"):
            if getattr(self, field) is not None:
                _set(self, field, check.path(field, getattr(self, field)))
        most = max(1, len(self.registry_keys or self.keys))
        _set(self, "registry_threshold", check.integer("registry_threshold", self.registry_threshold, 1, most))
        check.choice("on_revoked", self.on_revoked, get_args(OnRevoked))
        _set(self, "recheck_interval", check.number("recheck_interval", self.recheck_interval, 0.001, 86_400.0))
        if self.mode in ("enforce", "signature") and not self.keys:
            check.refuse("keys", f"the mode '{self.mode}' needs at least one public key", self.keys)
        if self.has_registry:
            if self.registry is None:
                check.refuse("registry", f"the mode '{self.mode}' needs a registry", self.registry)
            if not (self.registry_keys or self.keys):
                check.refuse("registry_keys", "a registry needs at least one public key that signs it", ())

    @property
    def has_registry(self) -> bool:
        """Whether a registry is looked at."""
        return self.mode in ("enforce", "registry")

    def anchored(self, folder: PathLike[str]) -> TrustConfig:
        """The same with every relative path below a folder."""
        return dataclasses.replace(
            self,
            keys=tuple(check.below(folder, path) for path in self.keys),
            registry=None if self.registry is None else check.below(folder, self.registry),
            registry_keys=tuple(check.below(folder, path) for path in self.registry_keys),
            floor=None if self.floor is None else check.below(folder, self.floor),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits(FromTable):
    """What a model may consist of, held against its bytes before ONNX Runtime sees them; else `ModelInvalid`.

    Attributes:
        max_model_bytes: Of the .onnx file; protobuf can hold 2 GiB less one byte.
        max_tensor_bytes: Of all tensors together, external ones included.
        max_nodes: In all graphs together.
        max_graph_depth: Of graphs inside graphs: the bodies of If, Loop, Scan.
        domains: Operators may be of these domains ("ai.onnx" is ONNX's own), or be functions that the model itself
            defines. Operators that load code or files (`PyOp`, `EPContext` and their like) are never run.
        operators: Nothing but these operators, such as "Relu" or "com.microsoft.Gelu"; (): all of `domains`.
        custom_op_libraries: Shared libraries that bring operators, as absolute path and SHA-256 in hex: they are code
            that runs in this process. Their operators' domain must be one of `domains`. Under a registry the library
            must be registered too.
    """

    max_model_bytes: int = (1 << 31) - 1
    max_tensor_bytes: int = 64 << 30
    max_nodes: int = 1_000_000
    max_graph_depth: int = 32
    domains: tuple[str, ...] = (
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "com.microsoft",
    )
    operators: tuple[str, ...] = ()
    custom_op_libraries: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)

    def __post_init__(self) -> None:
        _set(self, "max_model_bytes", check.integer("max_model_bytes", self.max_model_bytes, 1, (1 << 31) - 1))
        _set(self, "max_tensor_bytes", check.integer("max_tensor_bytes", self.max_tensor_bytes, 1, 1 << 50))
        _set(self, "max_nodes", check.integer("max_nodes", self.max_nodes, 1, 1 << 32))
        _set(self, "max_graph_depth", check.integer("max_graph_depth", self.max_graph_depth, 1, 64))
        _set(self, "domains", _words("domains", check.sequence("domains", self.domains)))
        _set(self, "operators", _words("operators", self.operators))
        _set(self, "custom_op_libraries", _libraries("custom_op_libraries", self.custom_op_libraries))


def _set(config: object, field: str, value: object) -> None:
    # The one way a frozen dataclass may normalise what it was given.
    object.__setattr__(config, field, value)


def _libraries(field: str, value: Any) -> FrozenMapping[str, str]:
    check.mapping(field, value)
    libraries: dict[str, str] = {}
    for library, sha256 in value.items():
        path = check.path(field, library)
        if not path.startswith("/"):
            check.refuse(field, "must name each library by its absolute path", path)
        digits = sha256.removeprefix("sha256:").lower() if isinstance(sha256, str) else ""
        if not is_digest(digits):
            check.refuse(f"{field}.{check.key(path)}", "must be a SHA-256: 64 hexadecimal digits", sha256)
        libraries[path] = digits
    return FrozenMapping(libraries)


def _paths(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, PathLike)):
        check.refuse(field, "must be a sequence of paths", value)
    return tuple(check.path(f"{field}[{index}]", path) for index, path in enumerate(value))


def _words(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)):
        check.refuse(field, "must be a sequence of names", value)
    return tuple(check.name(f"{field}[{index}]", word) for index, word in enumerate(value))
