# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad packages, cases 28 to 33: old, expired and damaged registries, and what is revoked.

Each rule by itself, on payloads signed again, is held by tests/cpp/integrity/registry_test.cc.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from python.support import said
from python.trust_support import believing, folder_of, load, registry_of, signed

import anya_engine as anya
from anya_engine import _registry

ONES = np.ones((2, 3), np.float32)


def test_28_an_older_registry_is_refused(engine: anya.Engine, tmp_path: Path) -> None:
    """A registry that was rolled back, properly signed, is refused, by a new engine too."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder)
    old = registry.read_bytes()
    registry_of(tmp_path, folder, change=lambda p: {**p, "version": 9})
    load(engine, folder, believing(registry))
    registry.write_bytes(old)
    with anya.Engine() as other, pytest.raises(anya.RegistryRollback, match="version 9"):
        load(other, folder, believing(registry))


def test_29_an_expired_registry_is_refused(engine: anya.Engine, tmp_path: Path) -> None:
    """Whoever withholds the newest registry does not win for ever."""
    folder = signed(folder_of(tmp_path))
    with pytest.raises(anya.RegistryExpired):
        load(engine, folder, believing(registry_of(tmp_path, folder, days=-0.0001)))


@pytest.mark.parametrize("how", ["the entry", "the digest", "the key", "the least version"])
@pytest.mark.parametrize("policy", ["alert", "drain"])
def test_30_what_is_revoked_is_refused_and_what_is_loaded_is_alerted_or_drained(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, policy: str
) -> None:
    """A newer registry keeps it from loading, and reaches what is loaded by the policy that was chosen."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder, name="m")
    trust = believing(registry, on_revoked=policy)
    info = load(engine, folder, trust)
    assert engine.check_trust() == {}

    def revoke(payload: _registry.Payload) -> _registry.Payload:
        payload = {**payload, "version": 2}
        if how == "the entry":
            return _registry.revoked_models(payload, "leaked", name="m")
        if how == "the digest":
            return _registry.revoked_digest(payload, "leaked", info.digest)
        if how == "the key":
            return _registry.revoked_key(payload, str(info.signer))
        return _registry.with_least(payload, "m", 2)

    registry_of(tmp_path, folder, name="m", change=revoke)
    code = "REGISTRY_ROLLBACK" if how == "the least version" else "REVOKED"
    found = engine.check_trust()
    assert {key: error.code for key, error in found.items()} == {("m", "1"): code}
    assert [record.getMessage().split(" key=")[0] for record in said(caplog) if record.name.endswith("audit")] == [
        f"model='m' version='1' verdict={code} mode=enforce digest={info.digest}"
    ]
    if policy == "alert":
        assert [model.trust for model in engine.models()] == ["revoked"]
        assert engine.health().ready and code in engine.health().models["m"].reason
        engine.infer("m", ONES)
    else:
        assert engine.models() == []
        with pytest.raises(anya.ModelNotFound):
            engine.infer("m", ONES)
    with anya.Engine() as other, pytest.raises(anya.TrustError) as caught:
        load(other, folder, trust)
    assert caught.value.code == code


def test_32_a_clock_that_went_back_makes_nothing_young(engine: anya.Engine, tmp_path: Path) -> None:
    """The latest time at which the registry was believed counts, not a clock that says less."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder)
    trust = believing(registry)
    load(engine, folder, trust)
    floor = Path(f"{registry}.floor")
    kept = json.loads(floor.read_text())
    floor.write_text(json.dumps({**kept, "seen": kept["seen"] + 86_400 * 3650}))  # ten years from the clock of now
    with pytest.raises(anya.RegistryExpired):
        engine.load("again", folder, config=anya.ModelConfig(trust=trust))


def test_33_what_cannot_be_read_or_kept_fails_closed(engine: anya.Engine, tmp_path: Path) -> None:
    """No descriptor, no registry, no place for the floor: a typed error each, and afterwards everything works."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder)
    with pytest.raises(anya.TrustError, match=r"TrustConfig\.floor"):
        load(engine, folder, believing(registry, floor=tmp_path / "no" / "floor"))
    with pytest.raises(anya.TrustError, match="cannot be opened"):
        load(engine, folder, believing(tmp_path / "none.json"))
    load(engine, folder)  # its keys have been read
    engine.unload("m")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(anya.ModelLoadError):
            load(engine, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    Path(f"{registry}.floor").write_text("garbage")
    with pytest.raises(anya.TrustError, match="damaged"):
        load(engine, folder, believing(registry))
    assert Path(f"{registry}.floor").read_text() == "garbage"
    Path(f"{registry}.floor").unlink()
    assert load(engine, folder, believing(registry)).trust == "enforce"
