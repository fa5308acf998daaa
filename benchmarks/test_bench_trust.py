# SPDX-License-Identifier: Apache-2.0
"""What trust costs: verified loads against the sum of their parts, the memory they take, Magika against a load by path.

The parts are timed in the same repeat: the files read into memory, hashed one after the other, and plain ONNX Runtime's
session from that memory. Answers are compared with that session's.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from interleave import Bar
from models.parts import model, value
from onnx import TensorProto, helper, numpy_helper
from subjects import subject
from versus import Versus, in_turn

import anya_engine as anya
from anya_engine import _signing

WIDTH, ROWS = 512, 25_600
PARTS, PATH, MODE_OFF = "read + hash + session from memory", "session from the path", "the same load, nothing verified"


def tables(rows: int) -> onnx.ModelProto:
    """y = the sum of four tables' rows `ids`: all weights and hardly a run, so that warm-up hides nothing."""
    rng = np.random.default_rng(3)
    names = [f"t{index}" for index in range(4)]
    weights = [numpy_helper.from_array(rng.standard_normal((rows, WIDTH), np.float32), name) for name in names]
    nodes = [helper.make_node("Gather", [name, "ids"], [f"{name}_rows"]) for name in names]
    nodes.append(helper.make_node("Sum", [f"{name}_rows" for name in names], ["y"]))
    made = model(nodes, [value("ids", ["N", 4], TensorProto.INT64)], [value("y", ["N", 4, WIDTH])], weights)
    return onnx.load_from_string(made)


def saved(place: Path, form: str, rows: int) -> Path:
    """The model in a signed folder: one file, or its weights in four files of their own."""
    folder = place / form
    folder.mkdir()
    apart = form == "four files of weights"
    onnx.save(tables(rows), str(folder / "model.onnx"), save_as_external_data=apart, all_tensors_to_one_file=False)
    return folder


def signed(folder: Path) -> anya.ModelConfig:
    """Signed by a key of its own, and what believes it."""
    key = folder.with_suffix(".key")
    _signing.generate_key(str(key))
    _signing.sign(str(folder), (str(key), ""))
    return anya.ModelConfig(trust=anya.TrustConfig(mode="signature", keys=(f"{key}.pub",)))


def plain_options() -> ort.SessionOptions:
    """One thread, as the engine runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def in_parts(folder: Path, hash_it: bool = True) -> ort.InferenceSession:
    """What a careful service would write: read, hash, open from the very bytes."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in {".sig", ".key"}}
    if hash_it:
        for content in files.values():
            hashlib.sha256(content).digest()
    options = plain_options()
    weights = [name for name in files if name != "model.onnx"]
    if weights:
        contents = [files[name] for name in weights]
        options.add_external_initializers_from_files_in_memory(weights, contents, [len(each) for each in contents])
    return ort.InferenceSession(files["model.onnx"], options, providers=["CPUExecutionProvider"])


def by_path(path: Path) -> ort.InferenceSession:
    """Plain ONNX Runtime, which maps the file."""
    return ort.InferenceSession(str(path), plain_options(), providers=["CPUExecutionProvider"])


def seconds(call: Callable[[], Any]) -> Callable[[], dict[str, float]]:
    """How long one call takes; what it made is gone before the next one."""

    def measure() -> dict[str, float]:
        before = perf_counter()
        made = call()
        took = perf_counter() - before
        del made
        return {"s": took}

    return measure


def loading(engine: anya.Engine, source: Path, config: anya.ModelConfig) -> Callable[[], dict[str, float]]:
    """How long one load takes; unloaded before the next."""

    def measure() -> dict[str, float]:
        took = seconds(lambda: engine.load("m", source, config=config))()
        engine.unload("m")
        return took

    return measure


def printed(script: str, *arguments: str) -> list[float]:
    """The numbers that a script prints in a process of its own."""
    environment = {"PYTHONPATH": str(Path(anya.__file__).parents[1])}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


@pytest.mark.parametrize("form", ["one file", "four files of weights"])
def test_verified_load(versus: Versus, engine: anya.Engine, tmp_path: Path, form: str) -> None:
    """A verified load of 200 MB takes at most 1.15 times the sum of its parts, the hash overlapped with the reading."""
    folder = saved(tmp_path, form, 256 if versus.quick else ROWS)
    config = signed(folder)
    ids = np.arange(8).reshape(2, 4)
    engine.load("checked", folder, config=config)
    np.testing.assert_array_equal(engine.infer("checked", ids)["y"], in_parts(folder).run(None, {"ids": ids})[0])
    engine.unload("checked")
    sides = {
        PARTS: seconds(lambda: in_parts(folder)),
        PATH: seconds(lambda: by_path(folder / "model.onnx")),
        MODE_OFF: loading(engine, folder, anya.ModelConfig(trust=anya.TrustConfig(mode="off"))),
        "ours": loading(engine, folder, config),
    }
    took = versus.measure(in_turn(sides), repeats=1 if versus.quick else 5)
    name = f"verified load of 200 MB, {form}"
    bar = Bar(limit=1.15, better="lower")
    versus.compare(name, took["ours"]["s"], {PARTS: took[PARTS]["s"]}, unit="s", bar=bar)
    versus.compare(f"{name}, to a load by path", took["ours"]["s"], {PATH: took[PATH]["s"]}, unit="s", better="lower")
    versus.compare(
        f"{name}, to one without", took["ours"]["s"], {MODE_OFF: took[MODE_OFF]["s"]}, unit="s", better="lower"
    )


FIRST = """
import sys
from time import perf_counter

import onnxruntime as ort
import anya_engine as anya

side, small, folder, key = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
trust = anya.TrustConfig(mode="signature", keys=(key,))
with anya.Engine() as engine:
    # Both have opened a session before: what a process does once is nobody's load.
    before = ort.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    engine.load("small", small, config=anya.ModelConfig(trust=anya.TrustConfig(mode="off")))
    began = perf_counter()
    if side == "ours":
        info = engine.load("m", folder, config=anya.ModelConfig(trust=trust))
        took = perf_counter() - began
        print(took - info.warm_up_seconds, took)
    else:
        ort.InferenceSession(f"{folder}/model.onnx", options, providers=["CPUExecutionProvider"])
        took = perf_counter() - began
        print(took, took)
"""


def test_magika(versus: Versus, tmp_path: Path) -> None:
    """A verified load of Magika, up to the session, takes at most 1.3 times plain ONNX Runtime's load by path.

    Each load in a process of its own, as a service loads a model once: the second of two equal loads finds its memory
    in what the first one has freed, and whose allocator kept more of it is not what is asked.
    """
    folder = tmp_path / "magika"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(subject("magika", 1).model)
    signed(folder)
    small = tmp_path / "small.onnx"
    small.write_bytes(subject("tiny", 1).model)

    def one(side: str) -> Callable[[], dict[str, float]]:
        arguments = (side, str(small), str(folder), f"{folder.with_suffix('.key')}.pub")
        return lambda: dict(zip(("s", "whole"), printed(FIRST, *arguments), strict=True))

    took = versus.measure(in_turn({PATH: one(PATH), "ours": one("ours")}), repeats=1 if versus.quick else 9)
    bar = Bar(limit=1.3, better="lower")
    context = {"with warm-up and checks, s": float(np.median(took["ours"]["whole"]))}
    versus.compare(
        "verified load of Magika, to its session", took["ours"]["s"], {PATH: took[PATH]["s"]}, unit="s", bar=bar,
        context=context,
    )  # fmt: skip


def test_magika_again(versus: Versus, engine: anya.Engine, tmp_path: Path) -> None:
    """The same, loaded and unloaded in turn in one process."""
    folder = tmp_path / "magika"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(subject("magika", 1).model)
    config = signed(folder)

    def verified() -> dict[str, float]:
        info = engine.load("m", folder, config=config)
        engine.unload("m")
        return {"s": info.load_seconds - info.warm_up_seconds}

    sides = {PATH: seconds(lambda: by_path(folder / "model.onnx")), "ours": verified}
    took = versus.measure(in_turn(sides), repeats=1 if versus.quick else 9)
    name = "verified load of Magika, to its session, again and again in one process"
    versus.compare(name, took["ours"]["s"], {PATH: took[PATH]["s"]}, unit="s", better="lower", headline=False)


MEMORY = """
import gc, sys
import anya_engine as anya

def kilobytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))

folder, key, megabytes = sys.argv[1:]
with anya.Engine() as engine:
    gc.collect()
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = kilobytes("VmRSS")
    trust = anya.TrustConfig(mode="signature", keys=(key,))
    engine.load("m", folder, config=anya.ModelConfig(trust=trust))
    of = 1024 * float(megabytes)
    print((kilobytes("VmHWM") - before) / of, (kilobytes("VmRSS") - before) / of)
"""


@pytest.mark.parametrize("form", ["one file", "four files of weights"])
def test_memory(versus: Versus, tmp_path: Path, form: str) -> None:
    """A verified load takes at most 2.4 times the model's size while it goes on, and 1.3 times when it is done."""
    folder = saved(tmp_path, form, 256 if versus.quick else ROWS)
    signed(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / (1 << 20)

    def one() -> dict[str, float]:
        arguments = (str(folder), f"{folder.with_suffix('.key')}.pub", str(size))
        return dict(zip(("peak", "after"), printed(MEMORY, *arguments), strict=True))

    took = versus.measure(in_turn({"ours": one}), repeats=1 if versus.quick else 3)
    for figure, most in (("peak", 2.4), ("after", 1.3)):
        values = took["ours"][figure]
        bar = Bar(limit=1.0, better="lower")
        name = f"memory of a verified load of 200 MB, {form}, {figure}"
        versus.compare(name, values, {"promised": [most] * len(values)}, unit="× the model", bar=bar, headline=False)
