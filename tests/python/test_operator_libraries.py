# SPDX-License-Identifier: Apache-2.0
"""Libraries of operators: a real one, `onnxruntime_extensions`, let in by its hash, kept out by everything else."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_extensions
import pytest
from onnx import TensorProto, helper
from python.trust_support import believing, folder_of, private, signed

import anya_engine as anya
from anya_engine import _registry, _signing
from anya_engine.cli import main

LIBRARY = Path(onnxruntime_extensions.get_library_path())
SHA256 = hashlib.sha256(LIBRARY.read_bytes()).hexdigest()
DOMAIN = "ai.onnx.contrib"
WORDS = np.array(["abc", "Ü"], object)


def upper_model() -> bytes:
    """u = t in capitals, by an operator that ONNX Runtime does not have."""
    graph = helper.make_graph(
        [helper.make_node("StringUpper", ["t"], ["u"], domain=DOMAIN)],
        "g",
        [helper.make_tensor_value_info("t", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("u", TensorProto.STRING, ["N"])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def with_libraries(libraries: dict[str, str], **more: Any) -> anya.ModelConfig:
    """A configuration that lets these libraries in."""
    return anya.ModelConfig(
        model_limits=anya.ModelLimits(domains=("ai.onnx", DOMAIN), custom_op_libraries=libraries), **more
    )


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copy(LIBRARY, tmp_path / "ops.so"))


def sealed() -> int:
    """Descriptors of sealed memory in this process."""
    links = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
    return sum("memfd:" in link for link in links)


def registry_with(place: Path, *models: Path, **library: Any) -> Path:
    """A registry of some models and, if said, of a library."""
    payload = _registry.created(_signing.timestamp(-1), _signing.timestamp(1))
    for model in models:
        payload = _registry.with_model(payload, *_signing.identify(str(model)))
    if library:
        payload = _registry.with_model(payload, *_signing.identify(str(library.pop("path"))), **library)
    _signing.write_registry(str(place), payload, [(private("root"), "")])
    return place


def test_a_library_with_the_configured_hash_brings_its_operators(engine: anya.Engine) -> None:
    """The answers are those of plain ONNX Runtime with that library; the hash may carry the prefix that tools print."""
    engine.load("upper", upper_model(), config=with_libraries({str(LIBRARY): f"sha256:{SHA256.upper()}"}))
    assert list(engine.infer("upper", WORDS)["u"]) == ["ABC", "Ü"]


def test_without_the_library_or_its_domain_the_model_is_refused(engine: anya.Engine) -> None:
    """An allowed domain brings no operators, and a library allows no domain."""
    with pytest.raises(anya.ModelInvalid):
        engine.load("m", upper_model(), config=with_libraries({}))
    limits = anya.ModelLimits(custom_op_libraries={str(LIBRARY): SHA256})
    with pytest.raises(anya.ModelInvalid, match=DOMAIN):
        engine.load("m", upper_model(), config=anya.ModelConfig(model_limits=limits))


def test_another_library_at_its_place_is_never_opened(engine: anya.Engine, library: Path) -> None:
    """Changed by one byte it is a HashMismatch, before anything of it is mapped."""
    content = bytearray(library.read_bytes())
    content[-1] ^= 1
    library.write_bytes(content)
    with pytest.raises(anya.HashMismatch, match=r"ops\.so"):
        engine.load("m", upper_model(), config=with_libraries({str(library): SHA256}))
    assert "ops.so" not in Path("/proc/self/maps").read_text()


def test_what_was_verified_is_what_runs(engine: anya.Engine, library: Path) -> None:
    """The file may go, or become another, once the model is loaded; versions loaded again use the same sealed bytes."""
    config = with_libraries({str(library): SHA256})
    engine.load("m", upper_model(), config=config)
    kept = sealed()
    engine.load("m", upper_model(), config=config)
    assert sealed() == kept
    library.write_bytes(b"nothing")
    assert list(engine.infer("m", WORDS)["u"]) == ["ABC", "Ü"]
    with pytest.raises(anya.HashMismatch):
        engine.load("m", upper_model(), config=config)


def test_a_link_a_folder_and_nothing_are_refused(engine: anya.Engine, library: Path) -> None:
    """A name that somebody can point elsewhere is no name of a file."""
    link = library.with_name("link.so")
    link.symlink_to(library)
    for path, error in ((link, anya.UnsafeFile), (library.parent, anya.UnsafeFile), (Path("/nowhere.so"), None)):
        with pytest.raises(error or anya.ModelLoadError):
            engine.load("m", upper_model(), config=with_libraries({str(path): SHA256}))


def test_a_library_that_is_none_is_a_typed_error(engine: anya.Engine, library: Path) -> None:
    """ONNX Runtime cannot open it: the error names the file, not the descriptor."""
    library.write_bytes(b"\x7fELF and no more")
    sha256 = hashlib.sha256(library.read_bytes()).hexdigest()
    with pytest.raises(anya.ModelLoadError, match=r"library of operators 'ops\.so'"):
        engine.load("m", upper_model(), config=with_libraries({str(library): sha256}))


@pytest.mark.parametrize(
    ("libraries", "field"),
    [
        ({"ops.so": SHA256}, "custom_op_libraries"),
        ({"/ops.so": SHA256[1:]}, "custom_op_libraries./ops.so"),
        ({"/ops.so": None}, "custom_op_libraries./ops.so"),
        ({7: SHA256}, "custom_op_libraries"),
        ("/ops.so", "custom_op_libraries"),
    ],
)
def test_a_relative_path_or_half_a_hash_is_refused_at_once(libraries: Any, field: str) -> None:
    """The configuration says which field is at fault."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.ModelLimits(custom_op_libraries=libraries)
    assert caught.value.field == field


@pytest.mark.parametrize("mode", ["registry", "enforce"])
def test_under_a_registry_the_library_must_be_registered_too(
    engine: anya.Engine, tmp_path: Path, library: Path, mode: str
) -> None:
    """Registered it runs; not registered, known by another name, or revoked it does not."""
    model = signed(folder_of(tmp_path, upper_model()))
    place = tmp_path / "registry.json"
    config = with_libraries({str(library): SHA256}, trust=believing(place, mode))

    def refused(error: type[anya.AnyaError]) -> None:
        # Another floor each time: these registries are not successors of each other.
        place.with_suffix(".json.floor").unlink(missing_ok=True)
        with pytest.raises(error, match=r"library of operators 'ops\.so'"):
            engine.load("m", model, config=config)

    registry_with(place, model)
    refused(anya.HashMismatch)
    registry_with(place, model, path=library, name="others.so")
    refused(anya.TrustError)
    registry_with(place, model, path=library, status="revoked")
    refused(anya.Revoked)
    place.with_suffix(".json.floor").unlink(missing_ok=True)
    registry_with(place, model, path=library, name="ops.so")
    engine.load("m", model, config=config)
    assert list(engine.infer("m", WORDS)["u"]) == ["ABC", "Ü"]


def test_a_library_that_is_revoked_reaches_loaded_models(
    engine: anya.Engine, tmp_path: Path, library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Registered and revoked on the command line; the next look at the registry finds the model that uses it."""
    model = signed(folder_of(tmp_path, upper_model()))
    place = str(tmp_path / "registry.json")
    key = ["--key", private("root")]
    assert main(["registry", "init", place, *key]) == 0
    assert main(["registry", "add", place, str(model), *key]) == 0
    assert main(["registry", "add", place, str(library), "--name", "ops.so", *key]) == 0
    engine.load(
        "m", model, config=with_libraries({str(library): SHA256}, trust=believing(Path(place), recheck_interval=3600.0))
    )
    assert engine.check_trust() == {}
    assert main(["registry", "revoke", place, "--name", "ops.so", "--reason", "leaks", *key]) == 0
    (error,) = engine.check_trust().values()
    assert isinstance(error, anya.Revoked) and "leaks" in str(error)
    capsys.readouterr()
