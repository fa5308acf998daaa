# SPDX-License-Identifier: Apache-2.0
"""The test models do in plain ONNX Runtime what their names and docstrings say."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models import awkward, make_models, parts

ROWS = np.random.default_rng(11)


def open_session(name: str) -> ort.InferenceSession:
    """A plain session over the model's bytes, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(make_models.MODELS[name](), options, providers=["CPUExecutionProvider"])


def run(name: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """One run, the outputs by name."""
    session = open_session(name)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def floats(*shape: int) -> Any:
    """Random float32 numbers of a shape."""
    return ROWS.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", list(make_models.MODELS))
def test_bytes_are_the_same_every_time(name: str) -> None:
    """A model's bytes do not change from one call to the next."""
    assert make_models.MODELS[name]() == make_models.MODELS[name]()


@pytest.mark.parametrize("name", list(make_models.MODELS))
def test_formats_are_old_enough_for_the_oldest_runtime(name: str) -> None:
    """Every model keeps to the IR version and the operator set that ONNX Runtime 1.28 reads."""
    model = onnx.load_from_string(make_models.MODELS[name]())
    assert model.ir_version == parts.IR_VERSION
    assert [entry.version for entry in model.opset_import] == [parts.OPSET]


def test_build_all_writes_what_a_directory_load_needs(tmp_path: Path) -> None:
    """The script writes each model as a directory that plain ONNX Runtime can open, data files included."""
    script = Path(make_models.__file__)
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(make_models.MODELS)
    session = ort.InferenceSession(tmp_path / "external" / "model.onnx", providers=["CPUExecutionProvider"])
    x = floats(2, 8)
    content = (tmp_path / "external" / make_models.EXTERNAL_FILE).read_bytes()
    weights = np.frombuffer(content[16:], dtype=np.float32).reshape(8, 4)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], x @ weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "sizes"), [("tiny", make_models.TINY), ("medium", make_models.MEDIUM)])
def test_mlp_rows_are_independent(name: str, sizes: tuple[int, ...]) -> None:
    """The measured models give a row the same answer alone and in a batch."""
    session = open_session(name)
    x = floats(5, sizes[0])
    together = session.run(["y"], {"x": x})[0]
    assert together.shape == (5, sizes[-1])
    alone = np.concatenate([session.run(["y"], {"x": x[row : row + 1]})[0] for row in range(5)])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-5)


def test_models_of_every_axis_kind_compute() -> None:
    """Models with shared, unlike, unnamed, fixed, missing and free axes give the documented answers."""
    a, b = floats(2, 3), floats(2, 3)
    np.testing.assert_array_equal(run("two_inputs", {"a": a, "b": b})["diff"], a - b)
    longer = floats(4, 3)
    assert run("unlike_batch", {"a": a, "b": longer})["minus_b"].shape == (4, 3)
    np.testing.assert_array_equal(run("unnamed_batch", {"x": a})["y"], a + a)
    assert open_session("unnamed_batch").get_inputs()[0].shape == [None, 3]
    assert open_session("fixed_batch").get_inputs()[0].shape == [1, 4]
    with pytest.raises(Exception, match=r"(?i)invalid dimensions"):
        run("fixed_batch", {"x": floats(2, 4)})
    assert run("scalar", {"x": np.array(1.5, np.float32)})["y"] == np.float32(2.5)
    assert run("total", {"x": np.ones((3, 4), np.float32)})["y"] == np.float32(12)
    answer = run("sequence", {"x": np.ones((2, 7), np.float32)})
    assert answer["y"].shape == (2, 7)
    assert answer["total"].tolist() == [7.0, 7.0]
    assert open_session("unused_symbol").get_outputs()[0].shape == ["N", "K"]
    np.testing.assert_array_equal(run("unused_symbol", {"x": a})["y"], a[:, ::2])
    several = run("several_outputs", {"x": np.array([[1, -2, 3, 0]], np.float32)})
    assert several["best"].tolist() == [2]
    assert several["positive"].tolist() == [[True, False, True, False]]
    np.testing.assert_array_equal(run("overridable", {"x": a})["y"], a * np.float32(3))


@pytest.mark.parametrize("dtype", list(make_models.ELEMENT_TYPES))
def test_identity_keeps_every_bit(dtype: str) -> None:
    """Each element type comes back bit for bit."""
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    raw = ROWS.integers(0, 2 if dtype == "bool" else 100, (2, 3)).astype(kind)
    value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, make_models.ELEMENT_TYPES[dtype])
    back = open_session(f"identity_{dtype}").run_with_ort_values(["y"], {"x": value})[0]
    assert back.element_type() == make_models.ELEMENT_TYPES[dtype]
    if dtype != "bfloat16":  # ONNX Runtime has no NumPy form for it
        np.testing.assert_array_equal(back.numpy(), raw)


def test_strings_go_in_and_out() -> None:
    """Text, with UTF-8 and the empty string, is echoed and made loud."""
    answer = run("strings", {"text": np.array(["a", "", "é→"], dtype=object)})
    assert answer["echo"].tolist() == ["a", "", "é→"]
    assert answer["loud"].tolist() == ["a!", "!", "é→!"]


@pytest.mark.parametrize("name", ["softmax_axis0", "centred", "quantised_mlp", "reversed_rows"])
def test_coupled_models_are_coupled(name: str) -> None:
    """A row's answer changes with its company in the models that say so."""
    session = open_session(name)
    x = floats(3, session.get_inputs()[0].shape[1]) * np.array([[1], [5], [20]], np.float32)
    alone = session.run(["y"], {"x": x[:1]})[0]
    together = session.run(["y"], {"x": x})[0][:1]
    assert not np.allclose(alone, together, rtol=1e-3, atol=1e-5)


def test_rows_are_coupled_where_few_would_look() -> None:
    """One model changes a row from the ninth on, another the first where its second value is above 1.1."""
    x = np.ones((9, 16), np.float32)
    y = run("late_rows", {"x": x})["y"]
    np.testing.assert_array_equal(y[:8], x[:8])
    assert y[8].tolist() == [0.0] + [1.0] * 15
    x = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.float32)
    np.testing.assert_array_equal(run("first_row_capped", {"x": x})["y"], x)
    assert run("first_row_capped", {"x": x[::-1]})["y"][0].tolist() == [2.0, np.float32(1.1), 2.0, 2.0]


def test_shapes_can_be_other_than_stated_and_be_told_by_a_value() -> None:
    """One model gives less than the three rows that it states, and one as much as its input says."""
    assert run("first_three", {"x": floats(4, 2)})["y"].shape == (3, 2)
    assert run("first_three", {"x": floats(2, 2)})["y"].shape == (2, 2)
    assert run("padded", {"x": floats(3, 4, 5), "pads": np.arange(6)})["y"].shape == (6, 9, 12)


def test_rows_can_get_lost_and_noise_is_noise() -> None:
    """One model returns fewer rows than it was given, and one gives no answer twice."""
    x = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], np.float32)
    assert run("positive_rows", {"x": x})["y"].shape == (1, 4)
    session = open_session("noise")
    assert not np.array_equal(session.run(["y"], {"x": x})[0], session.run(["y"], {"x": x})[0])


def test_one_poisoned_row_fails_the_whole_run() -> None:
    """Good indices are answered; one bad one among them makes ONNX Runtime fail the run."""
    assert run("poison", {"i": np.array([0, 9], np.int64)})["y"].tolist() == [[0, 1, 2, 3], [36, 37, 38, 39]]
    with pytest.raises(Exception, match="out of data bounds"):
        run("poison", {"i": np.array([0, 9, awkward.POISON_ROWS], np.int64)})


def test_slow_takes_as_long_as_it_is_told_and_can_be_ended() -> None:
    """More spins cost more time for the same answer, and an endless run obeys the terminate flag."""
    session = open_session("slow")
    x = floats(2, 4)

    def seconds(spins: int) -> float:
        begin = time.perf_counter()
        answer = session.run(["y"], {"x": x, "spins": np.array([1, spins], np.int64)})[0]
        np.testing.assert_array_equal(answer, x + x)
        return time.perf_counter() - begin

    assert min(seconds(1) for _ in range(3)) < min(seconds(2000) for _ in range(3))
    options = ort.RunOptions()
    timer = threading.Timer(0.05, lambda: setattr(options, "terminate", True))
    timer.start()
    with pytest.raises(Exception, match="terminate"):
        session.run(["y"], {"x": x, "spins": np.array([1, 1 << 62], np.int64)}, options)
    timer.join()


def test_version_models_tell_their_version() -> None:
    """Each version model answers with its own number, one per row."""
    for number in (1, 2, 3):
        assert run(f"version_{number}", {"x": floats(2, 1)})["version"].tolist() == [number, number]
