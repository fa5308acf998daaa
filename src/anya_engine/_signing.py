# SPDX-License-Identifier: Apache-2.0
"""Keys, signatures and registry files, made and checked by the core that loads models."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from os.path import realpath
from pathlib import Path
from typing import Any

from . import _core
from ._registry import Payload
from .errors import TrustError, UntrustedKey

__all__ = [
    "KeyFile",
    "add_signatures",
    "generate_key",
    "identify",
    "key_ids",
    "open_registry",
    "own_registry",
    "sign",
    "timestamp",
    "verify",
    "write_registry",
]

#: Path of a private key and its password, "" for none.
KeyFile = tuple[str, str]

#: A registry file above it is not read.
MOST_BYTES = 16 << 20


def generate_key(path: str, *, curve: str = "P-256", password: str = "") -> str:
    """Write a new key and, beside it, its public half as `path`.pub; return its id."""
    return _core.generate_key(path, curve, password)


def key_ids(paths: Sequence[str]) -> list[str]:
    """The ids of public keys."""
    return list(_core.key_ids(list(paths)))


def sign(path: str, key: KeyFile) -> dict[str, Any]:
    """Sign a file or a directory; what was written, as "path", "signer", "files"."""
    return dict(_core.sign_model(path, *key))


def verify(path: str, keys: Sequence[str]) -> dict[str, Any]:
    """Hold a file or a directory against its signature.

    Raises:
        TrustError: It is not what was signed; the class says what is wrong.
    """
    return dict(_core.verify_model(path, list(keys)))


def identify(path: str) -> tuple[str, list[tuple[str, int, str]]]:
    """A model's digest, and name, size and SHA-256 of each file parsed of it; of a library of operators likewise."""
    if _is_library(path):
        digest, files = _core.identify_operator_library(realpath(path))
    else:
        digest, files = _core.identify_model(path)
    return digest, list(files)


def _is_library(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:  # a directory, or nothing: the core says which
        return False


def open_registry(path: str, *, keys: Sequence[str] = (), private: Sequence[KeyFile] = ()) -> tuple[Payload, list[str]]:
    """What a registry file says, and the ids of those keys that have signed it."""
    payload, signers = _core.open_registry(_content(path), list(keys), list(private))
    found: Payload = json.loads(payload)
    return found, list(signers)


def write_registry(path: str, payload: Payload, private: Sequence[KeyFile]) -> None:
    """Sign and write, in one step."""
    text = json.dumps(payload, indent=1, ensure_ascii=False)
    _core.write_file(path, _core.sign_registry(text.encode(), list(private)), 0o644)


def add_signatures(path: str, private: Sequence[KeyFile]) -> None:
    """Let more keys sign what is there."""
    _core.write_file(path, _core.add_signatures(_content(path), list(private)), 0o644)


def own_registry(path: str, private: Sequence[KeyFile]) -> Payload:
    """What a registry file says, if one of these keys has signed it: what somebody slipped in is not signed again."""
    payload, signers = open_registry(path, private=private)
    if not signers:
        raise UntrustedKey(f"{path} is not signed by the key that is to sign its next version", value=path)
    return payload


def timestamp(days: float = 0.0) -> str:
    """Now, or so many days later, as registries write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86_400))


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TrustError(f"{path}: {error.strerror or error}", value=path) from error
    if len(content) > MOST_BYTES:
        raise TrustError(f"{path} holds more than {MOST_BYTES} bytes", value=path, limit=MOST_BYTES)
    return content
