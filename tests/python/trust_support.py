# SPDX-License-Identifier: Apache-2.0
"""Signed models to break: whatever is changed in a signature or a registry is signed again afterwards."""

from __future__ import annotations

import atexit
import base64
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models.make_models import MODELS
from onnx import TensorProto, helper, numpy_helper

import anya_engine as anya
from anya_engine import _core, _registry, _signing

Statement = dict[str, Any]


@functools.cache
def keys() -> Path:
    """A folder of keys: release, other, root, root2; made once."""
    folder = Path(tempfile.mkdtemp(prefix="anya-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in ("release", "other", "root", "root2"):
        _signing.generate_key(str(folder / name))
    _signing.generate_key(str(folder / "p384"), curve="P-384")
    return folder


def private(name: str = "release") -> str:
    """Path of a private key."""
    return str(keys() / name)


def public(name: str = "release") -> str:
    """Path of its public half."""
    return str(keys() / f"{name}.pub")


SIGNATURE = anya.TrustConfig(mode="signature", keys=(public(),))


def weights_model(value: float = 7.0, **external: str) -> bytes:
    """y = x + w, where the six weights lie in w.bin unless said otherwise."""
    weights = numpy_helper.from_array(np.full((2, 3), value, np.float32), "w")
    values = {"location": "w.bin", "offset": "0", "length": "24", **external}
    externalise(weights, **values)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    return model_of(graph)


def externalise(tensor: TensorProto, **values: str) -> None:
    """Move a tensor's data out of the model; the file is somebody else's."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in values.items():
        tensor.external_data.add(key=key, value=value)


def model_of(graph: onnx.GraphProto, *opsets: onnx.OperatorSetIdProto, **more: Any) -> bytes:
    """A graph as a model's bytes."""
    imports = [helper.make_opsetid("", 21), *opsets]
    return bytes(helper.make_model(graph, ir_version=10, opset_imports=imports, **more).SerializeToString())


def folder_of(place: Path, model: bytes | None = None, **files: bytes) -> Path:
    """A model directory, unsigned."""
    folder = place / "m"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(MODELS["unnamed_batch"]() if model is None else model)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def signed(folder: Path, key: str = "release") -> Path:
    """Signed as it is."""
    _signing.sign(str(folder), (private(key), ""))
    return folder


def statement_of(folder: Path) -> Statement:
    """What a folder's signature says."""
    bundle = json.loads((folder / "model.sig").read_text())
    return dict(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])))


def resign(folder: Path, change: Callable[[Statement], object]) -> Path:
    """Change what a signature says, and sign that."""
    statement = statement_of(folder)
    change(statement)
    return write_signature(folder, json.dumps(statement).encode())


def write_signature(folder: Path, statement: bytes, key: str = "release") -> Path:
    """Sign a statement as it stands."""
    (folder / "model.sig").write_text(_core.sign_statement(statement, private(key), ""))
    return folder


def registry_of(
    place: Path,
    *models: Path,
    change: Callable[[_registry.Payload], _registry.Payload] = lambda payload: payload,
    by: tuple[str, ...] = ("root",),
    days: float = 30.0,
    **entry: Any,
) -> Path:
    """A registry with these models in it, changed, signed by these keys."""
    payload = _registry.created(_signing.timestamp(-60), _signing.timestamp(days))
    for model in models:
        payload = _registry.with_model(payload, *_signing.identify(str(model)), **entry)
    path = place / "trusted_models.json"
    _signing.write_registry(str(path), change(payload), [(private(key), "") for key in by])
    return path


def believing(registry: Path, mode: str = "enforce", **more: Any) -> anya.TrustConfig:
    """A policy over a registry signed by `root`, and signatures by `release`."""
    return anya.TrustConfig(
        mode=mode,  # type: ignore[arg-type]
        keys=(public(),),
        registry=registry,
        **{"registry_keys": (public("root"),), **more},
    )


def load(engine: anya.Engine, source: Path | bytes, trust: anya.TrustConfig | None = SIGNATURE) -> anya.ModelInfo:
    """Load it as `m`."""
    return engine.load("m", source, config=anya.ModelConfig(trust=trust))
