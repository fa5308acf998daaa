# SPDX-License-Identifier: Apache-2.0
"""TrustConfig, ModelLimits, the audit log, policies of engines and of models; what loads is the catalogue's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from python.support import said, until
from python.trust_support import (
    SIGNATURE,
    believing,
    folder_of,
    load,
    private,
    public,
    registry_of,
    signed,
)

import anya_engine as anya
from anya_engine import _registry, _signing

OFF = anya.TrustConfig(mode="off")


def audited(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the audit log says."""
    return [record.getMessage() for record in said(caplog) if record.name == "anya_engine.audit"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "keys"),
        ({"mode": "signature"}, "keys"),
        ({"mode": "enforce", "keys": ("k",)}, "registry"),
        ({"mode": "registry", "registry": "r"}, "registry_keys"),
        ({"mode": "registry_only", "keys": ("k",)}, "mode"),
        ({"mode": "signature", "keys": "k.pub"}, "keys"),
        ({"mode": "signature", "keys": (7,)}, "keys[0]"),
        ({"mode": "registry", "keys": ("k",), "registry": "r", "registry_threshold": 2}, "registry_threshold"),
        ({"mode": "signature", "keys": ("k",), "on_revoked": "stop"}, "on_revoked"),
        ({"mode": "signature", "keys": ("k",), "recheck_interval": 0}, "recheck_interval"),
    ],
)
def test_a_policy_that_could_let_things_through_is_refused(values: dict[str, Any], field: str) -> None:
    """What is missing or misspelt is a ConfigError that names the field; there is no lesser policy to fall back to."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.TrustConfig(**values)
    assert caught.value.field == field


@pytest.mark.parametrize("values", [{"max_nodes": 0}, {"domains": ()}, {"domains": "ai.onnx"}, {"operators": (1,)}])
def test_limits_that_are_none_are_refused(values: dict[str, Any]) -> None:
    """A limit must be one."""
    with pytest.raises(anya.ConfigError):
        anya.ModelLimits(**values)


def test_without_a_policy_a_load_works_and_leaves_one_record(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The record says that the model is unsigned; with the mode "off" there is none."""
    caplog.set_level(logging.INFO)
    info = load(engine, folder_of(tmp_path), None)
    assert (info.signer, info.trust) == (None, "unverified")
    (record,) = audited(caplog)
    assert "unsigned" in record and info.digest in record and "model='m' version='1'" in record
    engine.load("quiet", tmp_path / "m", config=anya.ModelConfig(trust=OFF))
    assert len(audited(caplog)) == 1
    assert verdicts(engine) == {"UNVERIFIED": 1}
    assert engine.models()[1].trust == "off"


def test_every_decision_is_written_down_without_paths(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Model, verdict, mode, digest and key, once for each load, good or bad; the metric counts the same."""
    caplog.set_level(logging.INFO)
    folder = folder_of(tmp_path)
    with pytest.raises(anya.SignatureMissing):
        load(engine, folder)
    info = load(engine, signed(folder))
    (folder / "extra").touch()
    with pytest.raises(anya.UnsignedFile):
        engine.load("again", folder, config=anya.ModelConfig(trust=SIGNATURE))
    digest, key = info.digest, _signing.key_ids([public()])[0]
    assert audited(caplog) == [
        f"model='m' version='1' verdict=SIGNATURE_MISSING mode=signature digest={digest} key=-",
        f"model='m' version='1' verdict=OK mode=signature digest={digest} key={key}",
        f"model='again' version='1' verdict=UNSIGNED_FILE mode=signature digest={digest} key={key}",
    ]
    assert not any(str(tmp_path) in line for line in audited(caplog))
    assert verdicts(engine) == {"SIGNATURE_MISSING": 1, "OK": 1, "UNSIGNED_FILE": 1}


def verdicts(engine: anya.Engine) -> dict[str, float]:
    """What `anya_trust_verdicts_total` says."""
    (found,) = (family for family in engine._metrics.families() if family.name == "anya_trust_verdicts")
    return {labels[0]: count for labels, count in found.samples}


def test_an_engines_policy_holds_for_every_model_that_has_none(tmp_path: Path) -> None:
    """From the file, with paths relative to it; a model's own policy goes before the engine's."""
    folder_of(tmp_path)
    (tmp_path / "k.pub").write_text(Path(public()).read_text())
    config = '[trust]\nmode = "signature"\nkeys = ["k.pub"]\n[models.m]\nsource = "m"\n'
    (tmp_path / "engine.toml").write_text(config)
    with pytest.raises(anya.SignatureMissing):
        anya.Engine.from_file(tmp_path / "engine.toml")
    (tmp_path / "engine.toml").write_text(config + '[models.m.trust]\nmode = "off"\n')
    with anya.Engine.from_file(tmp_path / "engine.toml") as engine:
        assert engine.models()[0].trust == "off"
        with pytest.raises(anya.SignatureMissing):
            engine.load("other", tmp_path / "m")
        signed(tmp_path / "m")
        (tmp_path / "engine.toml").write_text(config)
        plan = engine.apply(tmp_path / "engine.toml")
        assert "trust" in str(plan)
        assert engine.models()[0].trust == "signature"
        assert anya.EngineConfig.from_toml(tmp_path / "engine.toml").to_toml().count("k.pub") == 1


def test_a_registry_needs_as_many_different_keys_as_were_asked_for(engine: anya.Engine, tmp_path: Path) -> None:
    """Two of two: neither one signature, nor one key named twice, is enough."""
    folder = signed(folder_of(tmp_path))
    roots = (public("root"), public("root2"))
    two = believing(registry_of(tmp_path, folder), registry_keys=roots, registry_threshold=2)
    with pytest.raises(anya.UntrustedKey, match="1 of the 2"):
        load(engine, folder, two)
    with pytest.raises(anya.ConfigError, match="different keys"):
        same = (public("root"), public("root"))
        load(engine, folder, believing(two.registry, registry_keys=same, registry_threshold=2))  # type: ignore[arg-type]
    registry_of(tmp_path, folder, by=("root", "root2"))
    assert load(engine, folder, two).trust == "enforce"


def test_a_name_in_the_registry_binds(engine: anya.Engine, tmp_path: Path) -> None:
    """Trusted bytes under another model's name are refused: one model cannot be put in the place of another."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder, name="ranker")
    with pytest.raises(anya.TrustError, match="as 'ranker', not as 'm'"):
        load(engine, folder, believing(registry))
    engine.load("ranker", folder, config=anya.ModelConfig(trust=believing(registry)))


def test_signers_of_an_entry_bind(engine: anya.Engine, tmp_path: Path) -> None:
    """A key that is trusted for models in general is not for one whose registry entry names another."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder, signers=_signing.key_ids([public("other")]))
    with pytest.raises(anya.UntrustedKey, match="lets others sign"):
        load(engine, folder, believing(registry))
    assert load(engine, folder, believing(registry, "registry")).signer is None


def test_what_is_deprecated_runs_with_a_warning(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The audit log says DEPRECATED, as a warning."""
    folder = signed(folder_of(tmp_path))
    load(engine, folder, believing(registry_of(tmp_path, folder, status="deprecated")))
    assert [record.levelname for record in said(caplog) if "DEPRECATED" in record.getMessage()] == ["WARNING"]


def test_the_registry_decides_without_a_signature_when_it_is_asked_alone(engine: anya.Engine, tmp_path: Path) -> None:
    """Mode "registry" loads what is registered, signed or not, and nothing else."""
    folder = folder_of(tmp_path)
    trust = believing(registry_of(tmp_path, folder), "registry", registry_keys=(public("root"),))
    assert load(engine, folder, trust).trust == "registry"
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(anya.HashMismatch, match="knows no model"):
        engine.load("again", folder, config=anya.ModelConfig(trust=trust))


def test_a_registry_signed_by_strangers_is_refused(engine: anya.Engine, tmp_path: Path) -> None:
    """Keys that sign models do not sign registries, unless nothing else is configured."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder, by=("release",))
    with pytest.raises(anya.UntrustedKey, match="the registry is signed by 0"):
        load(engine, folder, believing(registry))
    assert load(engine, folder, believing(registry, registry_keys=())).trust == "enforce"


def test_the_engine_looks_at_the_registry_by_itself(tmp_path: Path) -> None:
    """Without a call, a revocation reaches a loaded model; one that serves beside others stays, closed."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder)
    trust = believing(registry, on_revoked="drain", recheck_interval=0.001)
    with anya.Engine(anya.EngineConfig(trust=trust)) as engine:
        info = engine.load("m", folder)
        engine.load("m", folder, version="2")
        x = np.zeros((1, 3), np.float32)
        engine.infer("m", x)
        payload, _ = _signing.open_registry(str(registry))
        payload = _registry.revoked_digest({**payload, "version": 2}, "leaked", info.digest)
        _signing.write_registry(str(registry), payload, [(private("root"), "")])
        until(lambda: not engine.health().ready, "the second look")
        with pytest.raises(anya.Unavailable):
            engine.infer("m", x)
        until(lambda: [model.version for model in engine.models()] == ["1"], "the warm version to go")
        assert "REVOKED" in engine.health().models["m"].reason
        assert verdicts(engine) == {"OK": 2, "REVOKED": 2}


def test_a_registry_that_is_not_to_be_believed_revokes_nothing(
    engine: anya.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a warning, once; whoever can damage the file cannot end a service."""
    folder = signed(folder_of(tmp_path))
    registry = registry_of(tmp_path, folder)
    load(engine, folder, believing(registry, on_revoked="drain"))
    registry.write_text("{}")
    assert engine.check_trust() == {} == engine.check_trust()
    assert sum("SIGNATURE_MALFORMED" in line for line in audited(caplog)) == 1
    assert [model.trust for model in engine.models()] == ["enforce"]


def test_the_metric_says_what_is_loaded(engine: anya.Engine, tmp_path: Path) -> None:
    """anya_model_info carries digest, signer, quantization and trust of every loaded version."""
    info = load(engine, signed(folder_of(tmp_path)))
    registry = CollectorRegistry()
    registry.register(engine.collector())
    labels = {"model": "m", "version": "1", "sha256": info.digest, "signer": info.signer, "quantization": "none"}
    labels["trust"] = "signature"
    assert registry.get_sample_value("anya_model_info", {k: str(v) for k, v in labels.items()}) == 1
