# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad packages, cases 1 to 27 and 31: each by its number, with its error, and nothing is loaded.

What can be wrong inside a bundle, a statement or a registry is held in depth, each case signed again, by
tests/cpp/integrity/bundle_test.cc and registry_test.cc. Here stands what a load makes of it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from python.trust_support import (
    SIGNATURE,
    Statement,
    believing,
    folder_of,
    load,
    private,
    public,
    registry_of,
    resign,
    signed,
    statement_of,
    weights_model,
    write_signature,
)

import anya_engine as anya
from anya_engine import _signing

ONES = np.ones((2, 3), np.float32)
WEIGHTS = b"\0\0\xe0\x40" * 6  # 7.0
#: What is done to a signed folder, and what is loaded then.
Case = Callable[[Path], "Path | None"]


def weighted(place: Path) -> Path:
    """A signed model with weights in a file of its own."""
    return signed(folder_of(place, weights_model(), w_bin=WEIGHTS))


def flipped(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def outer(change: Callable[[dict[str, Any]], object]) -> Case:
    """Change what the signature does not cover."""

    def case(folder: Path) -> None:
        bundle = json.loads((folder / "model.sig").read_text())
        change(bundle)
        (folder / "model.sig").write_text(json.dumps(bundle))

    return case


def envelope(change: Callable[[dict[str, Any]], object]) -> Case:
    """Change the envelope around what is signed."""
    return outer(lambda bundle: change(bundle["dsseEnvelope"]))


def material(**instead: Any) -> Case:
    """Another way to say who has signed."""
    return outer(lambda bundle: bundle.update(verificationMaterial={**instead, "tlogEntries": []}))


def statement(change: Callable[[Statement], object]) -> Case:
    """Change what is signed, and sign it again."""
    return lambda folder: resign(folder, change) and None


def serialization(**instead: Any) -> Case:
    """Another way to hash."""
    return statement(lambda s: s["predicate"]["serialization"].update(instead))


def duplicate_outside(folder: Path) -> None:
    """The same member twice around what is signed."""
    text('{"mediaType":1,' + (folder / "model.sig").read_text()[1:])(folder)


def of_another_curve(folder: Path) -> None:
    """A signature on P-384 that says it is by our key, on P-256."""
    signed(folder, "p384")
    material(publicKey={"hint": _signing.key_ids([public()])[0]})(folder)


def removed(name: str) -> Case:
    """A file is gone."""
    return lambda folder: (folder / name).unlink()


def sparse_file(folder: Path) -> None:
    """1 GiB that nobody must read."""
    with (folder / "model.sig").open("wb") as file:
        file.truncate(1 << 30)


def text(content: str | bytes) -> Case:
    """Another signature file altogether."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / "model.sig").write_bytes(data) and None


def renamed(name: str) -> Case:
    """A listed file of another name, signed."""
    return statement(lambda s: s["predicate"]["resources"][0].update(name=name))


def twice(folder: Path) -> None:
    """A resource listed with a wrong digest first and the right one after it."""
    resign(
        folder, lambda s: s["predicate"]["resources"].insert(0, {**s["predicate"]["resources"][0], "digest": "0" * 64})
    )


def nothing_signed(folder: Path) -> None:
    """A signature over nothing that ignores everything."""

    def change(statement: dict[str, Any]) -> None:
        statement["predicate"]["resources"] = []
        statement["predicate"]["serialization"]["ignore_paths"] = ["."]
        statement["subject"][0]["digest"]["sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    resign(folder, change)


def duplicate_key(folder: Path) -> None:
    """The same member twice in what is signed."""
    write_signature(folder, json.dumps(statement_of(folder)).replace("{", '{"_type": "x", ', 1).encode())


def swapped_for_link(folder: Path) -> None:
    """The weights are a link to the same bytes elsewhere."""
    (folder / "w.bin").rename(folder.parent / "w.bin")
    (folder / "w.bin").symlink_to(folder.parent / "w.bin")


def linked_parent(folder: Path) -> Path:
    """The weights lie behind a linked directory."""
    (folder.parent / "n").mkdir()
    inner = folder_of(folder.parent / "n", weights_model(location="d/w.bin"))
    (inner / "d").mkdir()
    (inner / "d" / "w.bin").write_bytes(WEIGHTS)
    signed(inner)
    (inner / "d").rename(folder.parent / "d")
    (inner / "d").symlink_to(folder.parent / "d")
    return inner


def socket_there(folder: Path) -> None:
    """A socket in the place of a file."""
    (folder / "w.bin").unlink()
    here = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("w.bin")
    finally:
        os.chdir(here)


def fifo_there(folder: Path) -> None:
    """A pipe nobody writes into."""
    (folder / "w.bin").unlink()
    os.mkfifo(folder / "w.bin")


def unsigned_weights(folder: Path) -> Path:
    """The model asks for weights that lie where version control keeps its own: unsigned."""
    (folder.parent / "g").mkdir()
    inner = folder_of(folder.parent / "g", weights_model(location=".git/w.bin"))
    (inner / ".git").mkdir()
    (inner / ".git" / "w.bin").write_bytes(WEIGHTS)
    return signed(inner)


MALFORMED = "SIGNATURE_MALFORMED"
CASES: dict[str, tuple[Case, str]] = {
    "1 no signature": (removed("model.sig"), "SIGNATURE_MISSING"),
    "2 empty": (text(""), MALFORMED),
    "2 truncated": (lambda folder: os.truncate(folder / "model.sig", 500), MALFORMED),
    "2 garbage": (text(bytes(range(256))), MALFORMED),
    "3 1 GiB": (sparse_file, MALFORMED),
    "4 200 000 brackets": (text("[" * 200_000), MALFORMED),
    "5 duplicate key outside": (duplicate_outside, MALFORMED),
    "5 duplicate key inside": (duplicate_key, MALFORMED),
    "6 invalid UTF-8": (lambda folder: write_signature(folder, b'{"_type":"\xff"}') and None, MALFORMED),
    "6 lone surrogate": (renamed("\ud800"), MALFORMED),
    "6 NUL in a name": (renamed("a\0b"), MALFORMED),
    "7 base64 with a blank": (envelope(lambda e: e.update(payload=e["payload"] + "\n")), MALFORMED),
    "7 base64 without padding": (envelope(lambda e: e.update(payload=e["payload"][:-1])), MALFORMED),
    "8 mediaType": (outer(lambda bundle: bundle.update(mediaType="application/json")), MALFORMED),
    "8 payloadType": (envelope(lambda e: e.update(payloadType="text/plain")), MALFORMED),
    "8 _type": (statement(lambda s: s.update(_type="x")), MALFORMED),
    "8 predicateType": (statement(lambda s: s.update(predicateType="x")), MALFORMED),
    "9 no signature inside": (envelope(lambda e: e.update(signatures=[])), MALFORMED),
    "9 two signatures": (envelope(lambda e: e["signatures"].append({"sig": "AAAA"})), MALFORMED),
    "10 another key": (lambda folder: signed(folder, "other") and None, "UNTRUSTED_KEY"),
    "11 of another curve": (of_another_curve, "SIGNATURE_INVALID"),
    "13 before 1.0": (statement(lambda s: s.update(predicateType="https://model_signing/Digests/v0.1")), MALFORMED),
    "14 a certificate": (material(x509CertificateChain={"certificates": []}), "UNTRUSTED_KEY"),
    "15 a bit of the model": (lambda folder: flipped(folder / "model.onnx"), "HASH_MISMATCH"),
    "15 a bit of the weights": (lambda folder: flipped(folder / "w.bin"), "HASH_MISMATCH"),
    "16 a file is missing": (removed("note.txt"), "FILE_MISSING"),
    "17 an extra file": (lambda folder: (folder / "extra.so").touch(), "UNSIGNED_FILE"),
    "18 unsigned weights under .git": (unsigned_weights, "UNSIGNED_FILE"),
    "19 ../x": (renamed("../x"), MALFORMED),
    "19 /x": (renamed("/x"), MALFORMED),
    "19 a//b": (renamed("a//b"), MALFORMED),
    "19 a\\b": (renamed("a\\b"), MALFORMED),
    "19 10 kB": (renamed("x" * 10_240), MALFORMED),
    "20 a name twice": (twice, MALFORMED),
    "21 ignores everything": (nothing_signed, MALFORMED),
    "22 shards": (serialization(method="shards"), "TRUST_ERROR"),
    "22 blake3": (serialization(hash_type="blake3"), "TRUST_ERROR"),
    "23 a linked file": (swapped_for_link, "UNSAFE_FILE"),
    "23 a linked directory": (linked_parent, "UNSAFE_FILE"),
    "25 a fifo": (fifo_there, "UNSAFE_FILE"),
    "25 a socket": (socket_there, "UNSAFE_FILE"),
    "25 a directory": (lambda folder: (folder / "w.bin").unlink() or (folder / "w.bin").mkdir(), "UNSAFE_FILE"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_package_is_refused(engine: anya.Engine, tmp_path: Path, case: str) -> None:
    """It has its own typed error, which is a TrustError, names no path outside of the model, and nothing is loaded."""
    folder = signed(folder_of(tmp_path, weights_model(), w_bin=WEIGHTS, note_txt=b"hello"))
    change, code = CASES[case]
    source = change(folder)
    with pytest.raises(anya.TrustError) as caught:
        load(engine, source if isinstance(source, Path) and source.name == "m" else folder)
    assert caught.value.code == code, caught.value
    assert "/etc" not in str(caught.value) and str(tmp_path / "d") not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert engine.models() == []


def test_the_signed_package_loads(engine: anya.Engine, tmp_path: Path) -> None:
    """What the cases start from is loaded, with the key that signed it and the policy that it was held against."""
    info = load(engine, weighted(tmp_path))
    assert (info.signer, info.trust) == (_signing.key_ids([public()])[0], "signature")
    assert engine.infer("m", ONES)["y"].tolist() == [[8.0] * 3] * 2


@pytest.mark.parametrize("change", ["model.onnx", "w.bin"])
def test_15_the_changed_file_is_named(engine: anya.Engine, tmp_path: Path, change: str) -> None:
    """HashMismatch says which file it was."""
    folder = weighted(tmp_path)
    flipped(folder / change)
    with pytest.raises(anya.HashMismatch, match=f"'{change}'"):
        load(engine, folder)


@pytest.mark.parametrize("kind", ["ed25519", "nothing", "a private key"])
def test_12_a_key_of_another_kind_is_refused_when_it_is_configured(tmp_path: Path, kind: str) -> None:
    """Before any model is looked at, an engine whose key cannot be taken does not start."""
    key = tmp_path / "k.pub"
    if kind == "ed25519":
        key.write_text(
            "-----BEGIN PUBLIC KEY-----\n"
            "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
            "-----END PUBLIC KEY-----\n"
        )
    elif kind == "a private key":
        key.write_text(Path(private()).read_text())
    with pytest.raises(anya.ConfigError, match="k.pub"):
        anya.Engine(anya.EngineConfig(trust=anya.TrustConfig(mode="signature", keys=(key,))))


def test_24_a_hard_link_gives_the_bytes_that_were_signed_or_none(engine: anya.Engine, tmp_path: Path) -> None:
    """A hard link to a file outside is no way around the signature: its bytes are hashed like any others."""
    folder = weighted(tmp_path)
    outside = tmp_path / "outside.bin"
    outside.write_bytes(b"\0\0\x80\xbf" * 6)  # -1.0
    (folder / "w.bin").unlink()
    (folder / "w.bin").hardlink_to(outside)
    with pytest.raises(anya.HashMismatch, match=r"'w\.bin'"):
        load(engine, folder)
    outside.write_bytes(WEIGHTS)
    assert load(engine, folder).trust == "signature"


def test_26_a_file_that_changes_after_it_was_read_changes_nothing(engine: anya.Engine, tmp_path: Path) -> None:
    """The answers are those of the bytes that were verified, whatever lies on the disk afterwards."""
    folder = weighted(tmp_path)
    load(engine, folder)
    (folder / "w.bin").write_bytes(b"\0\0\x80\xbf" * 6)
    (folder / "model.onnx").write_bytes(b"")
    assert engine.infer("m", ONES)["y"].tolist() == [[8.0] * 3] * 2


@pytest.mark.parametrize("size", [0, 23])
def test_27_a_file_that_was_truncated_is_an_error(engine: anya.Engine, tmp_path: Path, size: int) -> None:
    """Bytes that are not there are neither made up nor a SIGBUS."""
    folder = weighted(tmp_path)
    os.truncate(folder / "w.bin", size)
    with pytest.raises(anya.HashMismatch):
        load(engine, folder)


def test_31_a_certificate_is_never_enough(engine: anya.Engine, tmp_path: Path) -> None:
    """Signatures by certificates are refused whatever they hold: keys alone are trusted, so none can be expired."""
    folder = weighted(tmp_path)
    for material in (
        {"certificate": {"rawBytes": "AAAA"}},
        {"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}},
    ):
        outer(lambda b, m=material: b.update(verificationMaterial=m))(folder)  # type: ignore[misc]
        with pytest.raises(anya.UntrustedKey, match="certificate"):
            load(engine, folder)


def test_bytes_have_no_signature_but_may_be_registered(engine: anya.Engine, tmp_path: Path) -> None:
    """Bytes are refused where a signature is asked for, and load where the registry alone decides."""
    content = MODELS["unnamed_batch"]()
    with pytest.raises(anya.SignatureMissing):
        load(engine, content, SIGNATURE)
    trust = believing(registry_of(tmp_path, folder_of(tmp_path)), "registry")
    assert load(engine, content, trust).trust == "registry"
