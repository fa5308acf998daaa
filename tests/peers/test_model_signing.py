# SPDX-License-Identifier: Apache-2.0
"""Signatures against the reference tool `model_signing`, both ways, and what only we refuse.

The tool lives in an environment of its own; ANYA_MODEL_SIGNING is the path of its program (`nox -s peers` sets it).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from python.trust_support import (
    Statement,
    folder_of,
    private,
    public,
    resign,
    signed,
)

import anya_engine as anya
from anya_engine import _signing

TOOL = os.environ.get("ANYA_MODEL_SIGNING", "")
pytestmark = pytest.mark.skipif(not TOOL, reason="`nox -s peers` names the tool")


def reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reference tool."""
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=300, check=False)


def takes(path: Path, signature: Path, key: str = "release") -> bool:
    """Whether the reference tool verifies it."""
    done = reference("verify", "key", str(path), "--signature", str(signature), "--public_key", public(key))
    return done.returncode == 0


def model(place: Path) -> Path:
    """A directory with what directories hold: folders, names that sort one way by bytes and another by path components,
    an empty file, a name that is no ASCII, git's own.
    """
    folder = folder_of(place, readme_md=b"hello", empty_txt=b"")
    for name in ("weights/w.bin", "weights/deep/é 重.bin", "weights-a", "weights.b", "B", ".git/config", ".gitignore"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


@pytest.mark.parametrize("key", ["release", "p384"])
def test_what_we_sign_the_reference_verifies(tmp_path: Path, key: str) -> None:
    """A directory and a single file; and neither after one byte has changed."""
    folder = signed(model(tmp_path), key)
    assert takes(folder, folder / "model.sig", key)
    (folder / "weights/w.bin").write_bytes(b"other")
    assert not takes(folder, folder / "model.sig", key)
    file = tmp_path / "single.onnx"
    file.write_bytes(b"a model")
    _signing.sign(str(file), (private(key), ""))
    assert takes(file, tmp_path / "single.onnx.sig", key)


@pytest.mark.parametrize("key", ["release", "p384"])
def test_what_the_reference_signs_we_verify_and_load(engine: anya.Engine, tmp_path: Path, key: str) -> None:
    """A directory and a single file, on two curves; and not after one byte has changed."""
    folder = model(tmp_path)
    trust = anya.ModelConfig(trust=anya.TrustConfig(mode="signature", keys=(public(key),)))
    for name, path, signature in (
        ("folder", folder, folder / "model.sig"),
        ("file", folder / "model.onnx", folder / "model.onnx.sig"),
    ):
        done = reference("sign", "key", str(path), "--signature", str(signature), "--private_key", private(key))
        assert done.returncode == 0, done.stderr
        assert _signing.verify(str(path), [public(key)])["signer"] == _signing.key_ids([public(key)])[0]
        assert engine.load(name, path, config=trust).trust == "signature"
        if name == "file":
            signature.unlink()
    (folder / "readme.md").write_bytes(b"other")
    with pytest.raises(anya.HashMismatch):
        _signing.verify(str(folder), [public(key)])


def ignoring(statement: Statement) -> None:
    """The signer ignores whatever it likes."""
    statement["predicate"]["serialization"]["ignore_paths"].append("nothing-there")


def swapped(statement: Statement) -> None:
    """Files in another order."""
    statement["predicate"]["resources"].reverse()


def linked(statement: Statement) -> None:
    """Links are allowed."""
    statement["predicate"]["serialization"]["allow_symlinks"] = True


def doubled(statement: Statement) -> None:
    """A file listed twice, with a wrong digest first."""
    files = statement["predicate"]["resources"]
    files.insert(0, {**files[0], "digest": "0" * 64})


def wrong_root(statement: Statement) -> None:
    """The sum is another."""
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def climbing(statement: Statement) -> None:
    """A file outside."""
    statement["predicate"]["resources"][0]["name"] = "../x"


CHANGES: dict[str, Callable[[Statement], None]] = {
    each.__name__: each for each in (ignoring, swapped, linked, doubled, wrong_root, climbing)
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_whatever_we_accept_the_reference_accepts(tmp_path: Path, name: str) -> None:
    """Each change is signed again: ours is the stricter of the two, never the other way round."""
    folder = resign(signed(model(tmp_path)), CHANGES[name])
    try:
        _signing.verify(str(folder), [public()])
    except anya.TrustError:
        assert name != "ignoring"
    else:
        assert takes(folder, folder / "model.sig")
        assert name == "ignoring"
