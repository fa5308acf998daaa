# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets of what is signed: bundles, statements, registries, broken by bytes and signed again where that matters.

The oracle reads the same text with Python's own JSON and decides by rules written down once more. What the core takes
must be what the oracle takes: nothing that the oracle refuses may load.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anya_engine as anya
from anya_engine import _core, _signing

CORPUS = Path(__file__).parent / "corpus"
#: What an edit puts in: marks of JSON, escapes, numbers, names, bytes that are no UTF-8.
PIECES = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\\u0041", b"\n", b"\0", b"\xff"),
    *(b"null", b"true", b"false", b"0", b"-1", b"1e9", b"NaN", b"sha256", b"files", b"../", b"/", b".", b"=", b"AAAA"),
    *(b'"name":"x",', b'"version":8,', b'"keyid":"",', b'{"sig":"AAAA"},', b"\xef\xbb\xbf", b"[" * 40),
)


def broken(data: bytes, text: bytes) -> bytes:
    """The text after the edits that the bytes ask for: cut, doubled, replaced, put in; none for no bytes."""
    out = bytearray(text)
    for start in range(0, len(data) - 4, 5):
        what, place, size, which, _ = data[start : start + 5]
        at = (place * 257 + size) % (len(out) + 1)
        end = min(len(out), at + size % 24)
        piece = PIECES[which % len(PIECES)]
        if what % 4 == 0:
            del out[at:end]
        elif what % 4 == 1:
            out[at:at] = piece
        elif what % 4 == 2:
            out[at:at] = out[at:end]
        elif at < len(out):
            out[at] ^= 1 << (which % 8)
        if start > 40:
            break
    return bytes(out)


def strict(text: bytes | str) -> Any:
    """JSON with every member once; ValueError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def constant(word: str) -> Any:
        raise ValueError(word)

    if isinstance(text, bytes):
        text = text.decode()  # no BOM, no surrogates
    return json.loads(text, object_pairs_hook=once, parse_constant=constant)


def payload_of(envelope: Any, kind: str) -> bytes:
    """The payload of an envelope, by the rules."""
    if envelope["payloadType"] != kind:
        raise ValueError("another type")
    payload = base64.b64decode(envelope["payload"], validate=True)
    if base64.b64encode(payload).decode() != envelope["payload"]:
        raise ValueError("not canonical")
    return payload


class Signed:
    """What the three have in common: a folder, a key, a text to break."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory()
        self.folder = Path(self._home.name)
        self.key, self.public = str(self.folder / "k"), str(self.folder / "k.pub")
        _signing.generate_key(self.key)
        self.model = self.folder / "m"
        self.model.mkdir()
        (self.model / "model.onnx").write_bytes(b"graph")
        (self.model / "w.bin").write_bytes(b"weights")
        _signing.sign(str(self.model), (self.key, ""))
        self.signature = self.model / "model.sig"
        self.bundle = self.signature.read_bytes()
        self.statement = base64.b64decode(json.loads(self.bundle)["dsseEnvelope"]["payload"])

    def close(self) -> None:
        """Nothing stays."""
        self._home.cleanup()

    def verdict(self, oracle: Callable[[], bool], core: Callable[[], object]) -> str:
        """Both ask; what the core takes the oracle takes."""
        try:
            taken = oracle()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, binascii.Error):
            taken = False
        try:
            core()
        except anya.TrustError as error:
            assert len(str(error)) < 2000
            return error.code
        assert taken, "taken, and the oracle refuses it"
        return "taken"

    def verify(self) -> object:
        """What the core says of the model as it lies there."""
        return _signing.verify(str(self.model), [self.public])


class Bundles(Signed):
    """The signature file, broken: only what says the same in the same words is taken."""

    def __call__(self, data: bytes) -> str:
        """One bundle."""
        text = broken(data, self.bundle)
        self.signature.write_bytes(text)

        def oracle() -> bool:
            bundle = strict(text)
            payload = payload_of(bundle["dsseEnvelope"], "application/vnd.in-toto+json")
            return payload == self.statement and len(bundle["dsseEnvelope"]["signatures"]) == 1

        return self.verdict(oracle, self.verify)


class Statements(Signed):
    """The statement, broken and signed again: only a whole account of the very files is taken."""

    def __call__(self, data: bytes) -> str:
        """One statement."""
        text = broken(data, self.statement)
        self.signature.write_text(_core.sign_statement(text, self.key, ""))

        def oracle() -> bool:
            statement = strict(text)
            files = {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}
            there = {
                name: hashlib.sha256((self.model / name).read_bytes()).hexdigest() for name in ("model.onnx", "w.bin")
            }
            root = hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest()
            settings = statement["predicate"]["serialization"]
            return (
                files == there
                and len(statement["predicate"]["resources"]) == 2
                and [each["digest"]["sha256"] for each in statement["subject"]] == [root]
                and statement["_type"] == "https://in-toto.io/Statement/v1"
                and statement["predicateType"] == "https://model_signing/signature/v1.0"
                and (settings["method"], settings["hash_type"]) == ("files", "sha256")
                and settings["allow_symlinks"] is False
            )

        return self.verdict(oracle, self.verify)


class Registries(Signed):
    """The payload of a registry, broken and signed again: only a registry is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.payload = (CORPUS / "registry.json").read_bytes()
        self.file = self.folder / "r.json"

    def __call__(self, data: bytes) -> str:
        """One registry."""
        text = broken(data, self.payload)

        def oracle() -> bool:
            registry = strict(text)
            return (
                isinstance(registry["version"], int)
                and registry["version"] >= 0
                and all(len(each["digest"]) == 64 for each in registry["models"])
                and {each["status"] for each in registry["models"]} <= {"active", "deprecated", "revoked"}
                and isinstance(registry["min_version"], dict)
            )

        return self.verdict(oracle, lambda: _core.sign_registry(text, [(self.key, "")]))
