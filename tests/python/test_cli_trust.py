# SPDX-License-Identifier: Apache-2.0
"""keygen, sign, verify and registry on the command line: what they write, say and return."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest
from python.cli_support import Capture, run
from python.trust_support import folder_of

import anya_engine as anya


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """A working directory with a model and a key in it."""
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path)
    assert run(capsys, "keygen", "k")[0] == 0
    return tmp_path


def as_json(capsys: Capture, *arguments: object, status: int = 0) -> dict[str, object]:
    """What a command prints with --json."""
    done, out, err = run(capsys, *arguments, "--json")
    assert (done, err) == (status, "")
    found: dict[str, object] = json.loads(out)
    return found


def test_keygen_writes_a_private_and_a_public_file_and_never_over_others(place: Path, capsys: Capture) -> None:
    """Mode 0600 of both, and a second run changes nothing and says so in one line."""
    before = (place / "k").read_bytes()
    assert [stat.S_IMODE((place / name).stat().st_mode) for name in ("k", "k.pub")] == [0o600, 0o600]
    status, out, err = run(capsys, "keygen", "k")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "CONFIG_ERROR" in err and "exists" in err
    assert (place / "k").read_bytes() == before
    made = as_json(capsys, "keygen", "k384", "--curve", "P-384")
    assert made["id"] and b"BEGIN PRIVATE KEY" in (place / "k384").read_bytes()


def test_a_password_is_asked_for_and_never_said(place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is protected is used with its password alone; a wrong one is exit status 2 without the password in it."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
    assert run(capsys, "keygen", "locked", "--password")[0] == 0
    assert b"ENCRYPTED" in (place / "locked").read_bytes()
    assert run(capsys, "sign", "m", "--key", "locked")[0] == 2
    for words, status in (("wrong horse", 2), ("correct horse", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{words}\n"))
        done, out, err = run(capsys, "sign", "m", "--key", "locked", "--password")
        assert done == status
        assert "horse" not in out + err
    assert run(capsys, "verify", "m", "--key", "locked.pub")[0] == 0


def test_sign_and_verify_say_yes_and_no(place: Path, capsys: Capture) -> None:
    """0 for what was signed, 1 for what was changed, 2 for what is not there."""
    facts = as_json(capsys, "sign", "m", "--key", "k")
    assert facts["signature"] == "m/model.sig"
    assert as_json(capsys, "verify", "m", "--key", "k.pub")["verified"] is True
    (place / "m" / "model.onnx").write_bytes(b"other")
    status, out, err = run(capsys, "verify", "m", "--key", "k.pub")
    assert (status, err) == (1, "") and out.startswith("HASH_MISMATCH: ") and out.count("\n") == 1
    assert as_json(capsys, "verify", "m", "--key", "k.pub", status=1)["code"] == "HASH_MISMATCH"
    assert run(capsys, "verify", "nothing", "--key", "k.pub")[0] == 2
    assert run(capsys, "verify", "m", "--key", "nothing.pub")[0] == 2
    (place / "m" / "link").symlink_to("model.onnx")
    status, _, err = run(capsys, "sign", "m", "--key", "k")
    assert status == 2 and "UNSAFE_FILE" in err


def test_a_file_is_signed_by_itself(place: Path, capsys: Capture) -> None:
    """FILE.sig beside it, and the engine takes it."""
    assert run(capsys, "sign", "m/model.onnx", "--key", "k")[0] == 0
    assert run(capsys, "verify", "m/model.onnx", "--key", "k.pub")[0] == 0
    trust = anya.TrustConfig(mode="signature", keys=("k.pub",))
    with anya.Engine(anya.EngineConfig(trust=trust)) as engine:
        assert engine.load("m", "m/model.onnx").trust == "signature"


def test_a_registry_from_its_beginning_to_a_revocation(place: Path, capsys: Capture) -> None:
    """init, add, verify and show; then the model loads; then it is revoked and does not."""
    run(capsys, "keygen", "root")
    run(capsys, "sign", "m", "--key", "k")
    assert as_json(capsys, "registry", "init", "r.json", "--key", "root")["version"] == 1
    assert run(capsys, "registry", "init", "r.json", "--key", "root")[0] == 2
    added = as_json(capsys, "registry", "add", "r.json", "m", "--name", "m", "--version", "3", "--key", "root")
    shown = as_json(capsys, "registry", "show", "r.json")
    assert [model["digest"] for model in shown["models"]] == [added["digest"]]  # type: ignore[attr-defined]
    assert run(capsys, "registry", "show", "r.json")[0] == 0
    assert as_json(capsys, "registry", "verify", "r.json", "--key", "root.pub")["verified"] is True
    assert run(capsys, "registry", "verify", "r.json", "--key", "k.pub")[0] == 1
    trust = anya.TrustConfig(keys=("k.pub",), registry="r.json", registry_keys=("root.pub",))
    with anya.Engine(anya.EngineConfig(trust=trust)) as engine:
        assert engine.load("m", "m").digest == added["digest"]
    by_digest = ["--digest", f"sha256:{added['digest']}"]
    for how in (["--name", "m"], by_digest, ["--signer", "k.pub"], ["--name", "m", "--below", "4"]):
        before = (place / "r.json").read_bytes()
        assert run(capsys, "registry", "revoke", "r.json", *how, "--reason", "leaked", "--key", "root")[0] == 0
        with anya.Engine(anya.EngineConfig(trust=trust)) as engine, pytest.raises(anya.TrustError) as caught:
            engine.load("m", "m")
        assert caught.value.code == ("REGISTRY_ROLLBACK" if "--below" in how else "REVOKED")
        (place / "r.json").write_bytes(before)
        (place / "r.json.floor").unlink()
    for how in (["--name", "m"], ["--digest", str(added["digest"])]):
        before = (place / "r.json").read_bytes()
        run(capsys, "registry", "revoke", "r.json", *how, "--key", "root")
        status, _, err = run(capsys, "registry", "add", "r.json", "m", "--key", "root")
        assert status == 2 and "do not come back" in err
        (place / "r.json").write_bytes(before)


def test_what_has_no_name_is_revoked_by_its_digest_and_that_is_said(place: Path, capsys: Capture) -> None:
    """A revocation by a name that no entry has points to --digest where entries have none; their own bytes go so."""
    run(capsys, "registry", "init", "r.json", "--key", "k")
    digest = as_json(capsys, "registry", "add", "r.json", "m", "--key", "k")["digest"]
    status, _, err = run(capsys, "registry", "revoke", "r.json", "--name", "m", "--key", "k")
    assert status == 2 and "by its digest" in err
    assert run(capsys, "registry", "revoke", "r.json", "--digest", f"sha256:{digest}", "--key", "k")[0] == 0
    (entry,) = as_json(capsys, "registry", "show", "r.json")["models"]  # type: ignore[misc, attr-defined]
    assert entry["status"] == "revoked"  # type: ignore[has-type]
    run(capsys, "registry", "add", "r.json", "m/model.onnx", "--name", "other", "--key", "k")
    status, _, err = run(capsys, "registry", "show", "nothing.json")
    assert status == 2 and "TRUST_ERROR: nothing.json: No such file" in err


def test_two_holders_sign_one_after_the_other_and_nobody_elses_text(place: Path, capsys: Capture) -> None:
    """`registry sign` adds a signature; a change by a key that has not signed what is there is refused."""
    run(capsys, "keygen", "root2")
    run(capsys, "registry", "init", "r.json", "--key", "k")
    two = ("registry", "verify", "r.json", "--key", "k.pub", "--key", "root2.pub", "--threshold", "2")
    assert run(capsys, *two)[0] == 1
    status, _, err = run(capsys, "registry", "add", "r.json", "m", "--key", "root2")
    assert status == 2 and "UNTRUSTED_KEY" in err
    assert run(capsys, "registry", "sign", "r.json", "--key", "root2")[0] == 0
    assert run(capsys, "registry", "sign", "r.json", "--key", "root2")[0] == 0  # again is no second signature
    assert len(as_json(capsys, *two)["signers"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "m"],
        ["sign", "m", "--key", "k", "--key", "k"],
        ["keygen", "x", "--curve", "P-192"],
        ["registry"],
        ["registry", "revoke", "r.json", "--key", "k"],
        ["registry", "revoke", "r.json", "--digest", "abc", "--key", "k"],
        ["registry", "revoke", "r.json", "--digest", "a" * 64, "--version", "1", "--key", "k"],
        ["registry", "show", "nothing.json"],
        ["registry", "show", "m/model.onnx"],
    ],
)
def test_what_cannot_be_done_is_one_line(place: Path, capsys: Capture, arguments: list[str]) -> None:
    """Exit status 2, nothing on stdout, one line on stderr."""
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1


@pytest.mark.parametrize("command", ["keygen", "sign", "verify", "registry", "registry add", "registry revoke"])
def test_help_has_an_example(capsys: Capture, command: str) -> None:
    """Every command shows how it is used."""
    status, out, _ = run(capsys, *command.split(), "--help")
    assert status == 0
    assert f"example:\n  anya-engine {command}" in out
