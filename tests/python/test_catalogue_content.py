# SPDX-License-Identifier: Apache-2.0
"""The catalogue of bad ONNX content, cases 34 to 46: properly signed, and refused all the same.

How the bytes are walked is held in depth by tests/cpp/onnx/wire_walk_test.cc; files that are no model by
test_bad_models.py. Here stands what the catalogue promises of a load.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from models.make_models import MODELS
from onnx import TensorProto, helper, numpy_helper
from python.support import assert_clean, run_python
from python.trust_support import SIGNATURE, externalise, folder_of, load, model_of, signed, weights_model

import anya_engine as anya

GOOD = MODELS["unnamed_batch"]()
X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")


def outside(name: str = "w", location: str = "evil.bin") -> onnx.TensorProto:
    """A tensor whose data lies in a file that the working directory has."""
    tensor = numpy_helper.from_array(np.full((2, 3), 7, np.float32), name)
    externalise(tensor, location=location)
    return tensor


def graph(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    """x to y."""
    return helper.make_graph(list(nodes), "g", [X], [Y], list(weights))


def in_a_subgraph() -> bytes:
    """y = x + w, where w lies in the branch of an If."""
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3])
    branch = helper.make_graph([helper.make_node("Add", ["x", "w"], ["z"])], "b", [], [z], [outside()])
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    return model_of(graph(condition, helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)))


def in_a_sparse_tensor() -> bytes:
    """y = x + w, where the values of the sparse w lie outside."""
    values = numpy_helper.from_array(np.full(6, 7, np.float32), "w")
    externalise(values, location="evil.bin")
    indices = numpy_helper.from_array(np.arange(6, dtype=np.int64), "i")
    made = graph(helper.make_node("Add", ["x", "w"], ["y"]))
    made.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 3]))
    return model_of(made)


def in_an_attribute() -> bytes:
    """y = x + w, where w is a constant whose data lies outside."""
    constant = helper.make_node("Constant", [], ["w"], value=outside())
    return model_of(graph(constant, helper.make_node("Add", ["x", "w"], ["y"])))


def in_a_function() -> bytes:
    """The same in a function of the model."""
    constant = helper.make_node("Constant", [], ["w"], value=outside())
    nodes = [constant, helper.make_node("Add", ["a", "w"], ["b"])]
    function = helper.make_function("own", "f", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    call = helper.make_node("f", ["x"], ["y"], domain="own")
    return model_of(graph(call), helper.make_opsetid("own", 1), functions=[function])


def nested(depth: int) -> bytes:
    """Graphs inside graphs, as deep as nobody writes them."""

    # By hand: protobuf itself would not make it.
    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 0x7F:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    inner = b""
    for _ in range(depth):
        inner = field(1, field(5, field(6, inner)))
    return field(7, inner)


def of_domain(operator: str, domain: str) -> bytes:
    """One operator of a domain."""
    return model_of(graph(helper.make_node(operator, ["x"], ["y"], domain=domain)), helper.make_opsetid(domain, 1))


def cycle() -> bytes:
    """Two nodes that wait for each other."""
    return model_of(graph(helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Relu", ["y"], ["b"])))


def opset_99() -> bytes:
    """Operators of a far future."""
    return model_of(graph(helper.make_node("Relu", ["x"], ["y"])), helper.make_opsetid("", 99))


def endless() -> bytes:
    """A loop without a bound."""
    return MODELS["slow"]()


def sized(dims: list[int], raw: bytes) -> bytes:
    """A tensor that says one size and has another."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=raw)
    return model_of(graph(helper.make_node("Add", ["x", "w"], ["y"]), weights=(tensor,)))


def zipped() -> bytes:
    """A zip file called model.onnx."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", GOOD)
    return buffer.getvalue()


NO_LOOPS = anya.ModelLimits(operators=("Add", "Relu", "Constant", "If"))

CASES: dict[str, tuple[Callable[[], bytes], anya.ModelLimits, str]] = {
    "34 empty": (lambda: b"", anya.ModelLimits(), "empty"),
    "34 garbage": (lambda: bytes(range(256)), anya.ModelLimits(), ""),
    "34 truncated": (lambda: GOOD[:-3], anya.ModelLimits(), ""),
    "35 zip": (zipped, anya.ModelLimits(), "zip"),
    "35 ORT format": (lambda: b"\x1c\0\0\0ORTM" + bytes(64), anya.ModelLimits(), "ORT"),
    "36 20 000 nested graphs": (lambda: nested(20_000), anya.ModelLimits(), "limit of 32"),
    "36 a limit of one's own": (in_a_subgraph, anya.ModelLimits(max_graph_depth=1), "limit of 1"),
    "37 in a subgraph": (in_a_subgraph, anya.ModelLimits(), "evil.bin"),
    "37 in a sparse tensor": (in_a_sparse_tensor, anya.ModelLimits(), "evil.bin"),
    "37 in an attribute": (in_an_attribute, anya.ModelLimits(), "evil.bin"),
    "37 in a function": (in_a_function, anya.ModelLimits(), "evil.bin"),
    "38 ../": (lambda: weights_model(location="../w.bin"), anya.ModelLimits(), "component"),
    "38 absolute": (lambda: weights_model(location="/proc/self/environ"), anya.ModelLimits(), "absolute"),
    "38 past the end": (lambda: weights_model(offset="4"), anya.ModelLimits(), "24"),
    "38 negative": (lambda: weights_model(offset="-1"), anya.ModelLimits(), ""),
    "38 overflow": (lambda: weights_model(offset=str(2**64 - 1)), anya.ModelLimits(), ""),
    "39 memory address": (
        lambda: weights_model(location="*/_ORT_MEM_ADDR_/*"),
        anya.ModelLimits(),
        "an address in memory",
    ),
    "40 product overflows": (lambda: sized([1 << 33, 1 << 33], b""), anya.ModelLimits(), "dimensions"),
    "40 negative": (lambda: sized([-2, 3], bytes(24)), anya.ModelLimits(), "dimension -2"),
    "40 too short": (lambda: sized([2, 3], bytes(20)), anya.ModelLimits(), ""),
    "40 more than allowed": (lambda: weights_model(), anya.ModelLimits(max_tensor_bytes=23), "limit of 23"),
    "41 unknown domain": (lambda: of_domain("Relu", "com.example"), anya.ModelLimits(), "com.example"),
    "41 unknown operator": (lambda: of_domain("Transmogrify", "com.microsoft"), anya.ModelLimits(), "Transmogrify"),
    "41 opset 99": (opset_99, anya.ModelLimits(), ""),
    "41 cycle": (cycle, anya.ModelLimits(), ""),
    "42 PyOp": (lambda: of_domain("PyOp", "com.microsoft"), anya.ModelLimits(), "PyOp"),
    "42 EPContext": (lambda: of_domain("EPContext", "com.microsoft"), anya.ModelLimits(), "EPContext"),
    "42 Snpe": (lambda: of_domain("Snpe", "com.microsoft"), anya.ModelLimits(), "Snpe"),
    "42 Loop, not on the list": (endless, NO_LOOPS, "not allowed"),
    "42 Loop, in a branch": (in_a_subgraph, anya.ModelLimits(operators=("Constant", "If")), ""),
    "43 more nodes": (cycle, anya.ModelLimits(max_nodes=1), "limit of 1"),
    "43 more bytes": (lambda: GOOD, anya.ModelLimits(max_model_bytes=20), "20"),
}


@pytest.mark.parametrize("case", list(CASES))
def test_bad_content_is_invalid_though_it_is_signed(engine: anya.Engine, tmp_path: Path, case: str) -> None:
    """ModelInvalid, in a bounded sentence that names what is wrong; nothing is loaded, and the next model is."""
    make, limits, word = CASES[case]
    folder = signed(folder_of(tmp_path, make(), w_bin=bytes(24)))
    with pytest.raises(anya.ModelInvalid) as caught:
        engine.load("m", folder, config=anya.ModelConfig(trust=SIGNATURE, model_limits=limits))
    assert word in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert engine.models() == []


def test_the_limits_let_through_what_is_within_them(engine: anya.Engine, tmp_path: Path) -> None:
    """A model at its limits loads, and so does one whose operators are functions of its own."""
    limits = anya.ModelLimits(
        max_model_bytes=len(weights_model()), max_tensor_bytes=24, max_nodes=1, max_graph_depth=1, operators=("Add",)
    )
    folder = signed(folder_of(tmp_path, weights_model(), w_bin=bytes(24)))
    engine.load("m", folder, config=anya.ModelConfig(trust=SIGNATURE, model_limits=limits))
    function = helper.make_function(
        "own", "f", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    call = graph(helper.make_node("f", ["x"], ["y"], domain="own"))
    model = model_of(call, helper.make_opsetid("own", 1), functions=[function])
    engine.load("f", model, config=anya.ModelConfig(model_limits=anya.ModelLimits(operators=("Relu",))))
    with pytest.raises(anya.ModelInvalid, match="Relu"):
        engine.load("g", model, config=anya.ModelConfig(model_limits=anya.ModelLimits(operators=("Add",))))


@pytest.mark.parametrize("make", [in_a_subgraph, in_a_sparse_tensor])
def test_37_onnx_runtime_would_have_read_the_working_directory(
    engine: anya.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes]
) -> None:
    """The bypass is real: with verified bytes, plain ONNX Runtime computes with a file that lies about; we refuse."""
    import onnxruntime as ort

    (tmp_path / "evil.bin").write_bytes(b"\0\0\x80\xbf" * 6)  # -1.0, where 7.0 was signed
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.add_external_initializers_from_files_in_memory(["evil.bin"], [b"\0\0\xe0\x40" * 6], [24])
    try:
        session = ort.InferenceSession(make(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a release that has closed it
        assert "extern" in str(error).lower(), error
    else:
        assert session.run(None, {"x": np.zeros((2, 3), np.float32)})[0].tolist() == [[-1.0] * 3] * 2
    folder = signed(folder_of(tmp_path, make(), evil_bin=b"\0\0\xe0\x40" * 6))
    with pytest.raises(anya.ModelInvalid, match="only initializers of the main graph"):
        load(engine, folder)


def test_44_a_model_may_not_configure_its_session() -> None:
    """An environment that lets models set session options keeps the engine from starting."""
    done = run_python("""
        os.environ["ORT_LOAD_CONFIG_FROM_MODEL"] = "1"
        try:
            anya.Engine()
        except anya.ConfigError as error:
            print("ORT_LOAD_CONFIG_FROM_MODEL" in str(error))
    """)
    assert_clean(done, "True")


def test_45_rules_that_do_not_fit_the_model_are_invalid(engine: anya.Engine, tmp_path: Path) -> None:
    """A signed schema.toml that speaks of an input the model does not have ends the load."""
    folder = signed(folder_of(tmp_path, schema_toml=b"version = 1\n[inputs.nothing]\nmin = 0\n"))
    with pytest.raises(anya.ModelInvalid, match=r"schema\.toml"):
        load(engine, folder)


def test_46_a_swap_under_load_mixes_no_answers(engine: anya.Engine, tmp_path: Path) -> None:
    """Requests end on the version that took them: an answer is wholly the old model's or the new one's."""
    x = np.zeros((2, 3), np.float32)
    for version, value in (("1", 7.0), ("2", 9.0)):
        place = tmp_path / version
        place.mkdir()
        weights = np.full(6, value, np.float32).tobytes()
        source = signed(folder_of(place, weights_model(), w_bin=weights))
        engine.load("m", source, version=version, config=anya.ModelConfig(trust=SIGNATURE))
    before = [engine.submit("m", x) for _ in range(50)]
    engine.deploy("m", "2", anya.BlueGreen())
    after = [engine.submit("m", x) for _ in range(50)]
    assert {float(future.result(60)["y"][0, 0]) for future in before} == {7.0}
    assert {float(future.result(60)["y"][0, 0]) for future in after} == {9.0}
