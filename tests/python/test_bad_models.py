# SPDX-License-Identifier: Apache-2.0
"""Sources that are no model: refused with a typed error and words, and what serves goes on serving."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models.make_models import MODELS
from onnx import helper
from python.conftest import Load
from python.support import floats

import anya_engine as anya

GOOD = MODELS["unnamed_batch"]()


def zipped() -> bytes:
    """A zip file with a model in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", GOOD)
    return buffer.getvalue()


def ort_format(folder: Path) -> bytes:
    """The same model in ONNX Runtime's own format."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(GOOD, options, providers=["CPUExecutionProvider"])
    return (folder / "model.ort").read_bytes()


def unknown_operator() -> bytes:
    """A graph with an operator that does not exist."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Transmogrify", ["x"], ["y"], domain="com.example")],
        "graph",
        [value("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [value("y", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.example", 1)]
    return bytes(helper.make_model(graph, ir_version=10, opset_imports=opsets).SerializeToString())


def untouched(engine: anya.Engine) -> None:
    """One model is loaded, and it answers."""
    assert [(model.name, model.version, model.state) for model in engine.models()] == [
        ("unnamed_batch", "1", "serving")
    ]
    x = floats(2, 3)
    np.testing.assert_array_equal(engine.infer("unnamed_batch", x)["y"], x + x)


NO_MODELS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "truncated": (GOOD[: len(GOOD) // 2], ""),
    "one byte short": (GOOD[:-1], ""),
    "garbage": (bytes(range(256)) * 8, ""),
    "text": (b"<!DOCTYPE html><html>Not found</html>", ""),
    "zeros": (bytes(4096), ""),
    "zip": (zipped(), "zip"),
    "unknown operator": (unknown_operator(), "Transmogrify"),
}


@pytest.mark.parametrize("where", ["bytes", "file", "directory"])
@pytest.mark.parametrize("case", list(NO_MODELS))
def test_what_is_no_model_is_invalid(engine: anya.Engine, load: Load, tmp_path: Path, where: str, case: str) -> None:
    """Bytes that are no model are ModelInvalid, from memory, from a file and from a directory."""
    load("unnamed_batch")
    data, word = NO_MODELS[case]
    file = tmp_path / "model.onnx"
    file.write_bytes(data)
    source: bytes | Path = {"bytes": data, "file": file, "directory": tmp_path}[where]  # type: ignore[assignment]
    for name in ("new", "unnamed_batch"):
        with pytest.raises(anya.ModelInvalid) as caught:
            engine.load(name, source)
        assert caught.value.code == "MODEL_INVALID"
        assert word.lower() in str(caught.value).lower()
        assert len(str(caught.value)) < 2000
    untouched(engine)


def test_onnx_runtimes_own_format_is_refused(engine: anya.Engine, load: Load, tmp_path: Path) -> None:
    """A model in ORT format is ModelInvalid and the message says what it is: its bytes cannot be walked before."""
    load("unnamed_batch")
    data = ort_format(tmp_path)
    with pytest.raises(anya.ModelInvalid, match="(?i)ort"):
        engine.load("new", data)
    untouched(engine)


@pytest.mark.parametrize("case", ["missing", "missing folder", "empty folder", "file under a file"])
def test_what_is_not_there_is_named(engine: anya.Engine, load: Load, tmp_path: Path, case: str) -> None:
    """A path that leads nowhere, and a directory without a model, are ModelLoadError with the path."""
    load("unnamed_batch")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    source = (
        tmp_path
        / {
            "missing": "none.onnx",
            "missing folder": "none/model.onnx",
            "empty folder": "empty",
            "file under a file": "file/model.onnx",
        }[case]
    )
    with pytest.raises(anya.ModelLoadError, match=str(tmp_path)):
        engine.load("new", source)
    untouched(engine)


@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_what_is_no_plain_file_is_unsafe(engine: anya.Engine, load: Load, tmp_path: Path, kind: str) -> None:
    """A pipe, a device or a symbolic link in a model's place is refused at once, without waiting on it."""
    load("unnamed_batch")
    file = tmp_path / "model.onnx"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        (tmp_path / "other.onnx").write_bytes(GOOD)
        file.symlink_to("other.onnx")
    source = "/dev/zero" if kind == "device" else tmp_path
    with pytest.raises(anya.TrustError):
        engine.load("new", source)
    untouched(engine)


@pytest.mark.parametrize("source", [None, 5, ["model.onnx"], bytearray(GOOD), "nul\0byte.onnx"])
def test_a_source_is_a_path_or_bytes(engine: anya.Engine, load: Load, source: object) -> None:
    """Anything else as a source is a typed error or a TypeError, and changes nothing."""
    load("unnamed_batch")
    with pytest.raises((anya.ModelLoadError, TypeError, ValueError)):
        engine.load("new", source)  # type: ignore[arg-type]
    untouched(engine)


@pytest.mark.parametrize("field", ["name", "version"])
@pytest.mark.parametrize("value", ["", " padded", "new\nline", "nul\0", "n" * 257, 5])
def test_a_name_is_a_name(engine: anya.Engine, load: Load, field: str, value: object) -> None:
    """Names and versions that could not be shown, logged or typed are refused as configuration."""
    load("unnamed_batch")
    arguments = {"name": "fine", "version": "fine", field: value}
    with pytest.raises(anya.ConfigError) as caught:
        engine.load(arguments["name"], GOOD, version=arguments["version"])  # type: ignore[arg-type]
    assert caught.value.field == field
    untouched(engine)


def test_a_provider_that_is_not_there_is_a_config_error(engine: anya.Engine, load: Load) -> None:
    """A provider that this ONNX Runtime does not have is refused in words, unless another one follows it."""
    load("unnamed_batch")
    with pytest.raises(anya.AnyaError, match="NoSuchExecutionProvider"):
        engine.load("new", GOOD, config=anya.ModelConfig(providers=("NoSuchExecutionProvider",)))
    untouched(engine)


def test_bfloat16_without_ml_dtypes(engine: anya.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of bfloat16 says which package it needs, and nothing of it stays loaded."""
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(anya.ConfigError, match="pip install ml_dtypes"):
        engine.load("brain", MODELS["identity_bfloat16"]())
    assert engine.models() == []
