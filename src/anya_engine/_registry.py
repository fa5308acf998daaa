# SPDX-License-Identifier: Apache-2.0
"""What a trust registry holds, and how it changes: from one payload to the next. Pure; the core signs and checks it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeAlias

from .errors import ConfigError

__all__ = [
    "Payload",
    "created",
    "is_digest",
    "raised",
    "revoked_digest",
    "revoked_key",
    "revoked_models",
    "with_least",
    "with_model",
]

#: What is signed, as JSON holds it.
Payload: TypeAlias = dict[str, Any]

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


def created(issued: str, expires: str) -> Payload:
    """A registry of nothing; times as 2026-01-31T23:59:59Z."""
    return {
        "version": 1,
        "issued": issued,
        "expires": expires,
        "models": [],
        "revoked_keys": [],
        "revoked_digests": [],
        "min_version": {},
    }


def raised(payload: Payload, issued: str, expires: str) -> Payload:
    """The same as the next version."""
    return {**payload, "version": payload["version"] + 1, "issued": issued, "expires": expires}


def with_model(
    payload: Payload,
    digest: str,
    files: Iterable[tuple[str, int, str]],
    *,
    name: str = "",
    version: int = 1,
    signers: Collection[str] = (),
    status: str = "active",
) -> Payload:
    """With a model, in the place of what was said of the same bytes under the same name.

    Raises:
        ConfigError: These bytes were revoked; they do not come back.
    """
    if digest in payload["revoked_digests"] or any(
        model["digest"] == digest and model["status"] == "revoked" for model in payload["models"]
    ):
        raise ConfigError(f"the digest {digest} was revoked; revoked bytes do not come back", value=digest)
    entry = {
        "name": name,
        "version": version,
        "digest": digest,
        "files": [{"name": file, "size": size, "sha256": sha256} for file, size, sha256 in files],
        "signers": sorted(signers),
        "status": status,
        "reason": "",
    }
    others = [model for model in payload["models"] if (model["name"], model["digest"]) != (name, digest)]
    return {**payload, "models": [*others, entry]}


def revoked_models(payload: Payload, reason: str, *, name: str, version: int | None = None) -> Payload:
    """With a name's models revoked, or one version of it.

    Raises:
        ConfigError: There is none.
    """

    def meant(model: Mapping[str, Any]) -> bool:
        return model["name"] == name and version in (None, model["version"])

    if not any(map(meant, payload["models"])):
        what = f"{name!r}" if version is None else f"{name!r} version {version}"
        nameless = sum(not model["name"] for model in payload["models"])
        hint = f"; {nameless} of its models have no name, revoke such a one by its digest" if nameless else ""
        raise ConfigError(f"the registry has no model {what}{hint}", value=name)
    models = [
        {**model, "status": "revoked", "reason": reason} if meant(model) else model for model in payload["models"]
    ]
    return {**payload, "models": models}


def revoked_digest(payload: Payload, reason: str, digest: str) -> Payload:
    """With these bytes revoked, under whatever name, registered or not."""
    models = [
        {**model, "status": "revoked", "reason": reason} if model["digest"] == digest else model
        for model in payload["models"]
    ]
    return {**payload, "models": models, "revoked_digests": sorted({*payload["revoked_digests"], digest})}


def revoked_key(payload: Payload, key: str) -> Payload:
    """With all that a key has signed revoked."""
    return {**payload, "revoked_keys": sorted({*payload["revoked_keys"], key})}


def with_least(payload: Payload, name: str, version: int) -> Payload:
    """With the versions of a name below this one refused; it is never lowered.

    Raises:
        ConfigError: More is asked for already.
    """
    there = payload["min_version"].get(name, 0)
    if version < there:
        raise ConfigError(f"the least version of {name!r} is {there} already, it does not go back", value=version)
    return {**payload, "min_version": {**payload["min_version"], name: version}}
