# SPDX-License-Identifier: Apache-2.0
"""Rules at work in an engine: sizes, text, answers, the model's own schema.toml, and what is counted."""

from __future__ import annotations

import asyncio
import dataclasses
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from python.conftest import Load
from python.support import ONE, Ask, every_way, floats, refused, stats_of

import anya_engine as anya

DECOMPOSED, COMPOSED = "cafe\u0301", "caf\u00e9"


def rules(**fields: Any) -> anya.ModelConfig:
    """A configuration with these rules and no more."""
    return anya.ModelConfig(**fields)


def texts(*items: str | bytes) -> dict[str, Any]:
    """Inputs of the model `strings`."""
    return {"text": np.array(items, object)}


# --- sizes


SIZES: dict[str, tuple[dict[str, Any], tuple[int, int], type[anya.AnyaError], tuple[Any, Any]]] = {
    "too many rows": ({"max_rows": 4}, (5, 3), anya.InputTooLarge, (5, 4)),
    "too many bytes": ({"inputs": {"x": anya.InputRule(max_bytes=48)}}, (5, 3), anya.InputTooLarge, (60, 48)),
    "dimension too long": ({"dims": {"L": anya.DimRule(max=4)}}, (2, 5), anya.InvalidInput, (5, 4)),
    "dimension too short": ({"dims": {"L": anya.DimRule(min=2)}}, (2, 1), anya.InvalidInput, (1, 2)),
    "rows by their name": ({"dims": {"N": anya.DimRule(max=4)}}, (5, 3), anya.InvalidInput, (5, 4)),
    "stated size": ({"inputs": {"x": anya.InputRule(shape=(None, 3))}}, (2, 4), anya.InvalidInput, (4, 3)),
}


@every_way
@pytest.mark.parametrize("case", list(SIZES))
def test_sizes_are_refused_from_the_descriptor(engine: anya.Engine, load: Load, ask: Ask, case: str) -> None:
    """Rows, bytes and dimensions beyond their limits are refused with value and limit; no element is read."""
    fields, shape, error, facts = SIZES[case]
    load("sequence", config=rules(**fields))
    with refused(engine, "sequence", error, "'x'", str(facts[0]), str(facts[1]), field="x"):
        ask(engine, "sequence", {"x": floats(*shape)})
    with pytest.raises(error) as caught:
        ask(engine, "sequence", {"x": np.broadcast_to(np.float32(np.nan), shape)})
    assert (caught.value.value, caught.value.limit, caught.value.index) == (*facts, None)
    assert ask(engine, "sequence", {"x": floats(4, 3)}).keys() == {"y", "total"}


def test_a_stated_name_ties_inputs_together(engine: anya.Engine, load: Load) -> None:
    """Axes that rules give one name must have one size in a request, whatever the model calls them."""
    shaped = {name: anya.InputRule(shape=("rows", 3), finite="allow") for name in ("a", "b")}
    load("unlike_batch", config=rules(inputs=shaped))
    with refused(engine, "unlike_batch", anya.InvalidInput, "'b'", "size 2 on axis 0", "which is 4", field="b"):
        engine.infer("unlike_batch", {"a": floats(4, 3), "b": floats(2, 3)})


@pytest.mark.parametrize(
    ("name", "fields", "place"),
    [
        ("sequence", {"inputs": {"z": anya.InputRule()}}, "inputs.z"),
        ("sequence", {"inputs": {"x": anya.InputRule(dtype="int64")}}, "inputs.x.dtype"),
        ("sequence", {"inputs": {"x": anya.InputRule(shape=("N",))}}, "inputs.x.shape"),
        ("unnamed_batch", {"inputs": {"x": anya.InputRule(shape=(None, 4))}}, "inputs.x.shape"),
        ("sequence", {"inputs": {"x": anya.InputRule(max=1e39)}}, "inputs.x.max"),
        ("identity_int64", {"inputs": {"x": anya.InputRule(max=0.5)}}, "inputs.x.max"),
        ("identity_int64", {"inputs": {"x": anya.InputRule(finite="clip")}}, "inputs.x.finite"),
        ("sequence", {"inputs": {"x": anya.InputRule(max_length=5)}}, "inputs.x.max_length"),
        ("strings", {"inputs": {"text": anya.InputRule(min=0)}}, "inputs.text.min"),
        ("sequence", {"outputs": {"z": anya.OutputRule()}}, "outputs.z"),
        ("sequence", {"dims": {"K": anya.DimRule()}}, "dims.K"),
        ("scalar", {"max_rows": 3}, "max_rows"),
    ],
)
def test_rules_that_do_not_fit_end_the_load(
    engine: anya.Engine, load: Load, name: str, fields: dict[str, Any], place: str
) -> None:
    """A rule that the model cannot meet is a ConfigError at load, by its place; nothing is loaded."""
    with pytest.raises(anya.ConfigError, match=place) as caught:
        load(name, config=rules(**fields))
    assert caught.value.field == place
    assert engine.models() == []


# --- text


@every_way
def test_length_is_counted_in_characters(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """max_length counts characters, not bytes, of str and of bytes alike; the error names the element."""
    load("strings", config=rules(inputs={"text": anya.InputRule(max_length=4)}))
    assert ask(engine, "strings", texts("🦆" * 4, "🦆🦆🦆🦆".encode()))["echo"].tolist() == ["🦆" * 4] * 2
    for item in ("🦆" * 5, b"five!"):
        with refused(
            engine, "strings", anya.InvalidInput, "element 1", "5 characters", "max_length is 4", field="text"
        ):
            ask(engine, "strings", texts("ok", item))


@every_way
def test_text_has_a_size_of_its_own(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """max_bytes of a string input counts the UTF-8 of all its strings."""
    load("strings", config=rules(inputs={"text": anya.InputRule(max_bytes=8)}))
    ask(engine, "strings", texts("éé", "éé"))
    with refused(engine, "strings", anya.InputTooLarge, "9 bytes", "max_bytes is 8", field="text"):
        ask(engine, "strings", texts("éé", "éé!"))


@every_way
def test_control_characters_are_refused_where_there_is_a_rule(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """With a rule only tab and ends of lines pass; without one everything but NUL; control="allow": everything."""
    load("strings", config=rules(inputs={"text": anya.InputRule()}))
    ask(engine, "strings", texts("tab\t line\r\n"))
    for item, shown in (("\a", "U+0007"), ("\x9f", "U+009F"), ("a\0", "U+0000")):
        with refused(engine, "strings", anya.InvalidInput, "element 0", shown, field="text"):
            ask(engine, "strings", texts(item))
    load("strings", name="plain")
    ask(engine, "plain", texts("\a"))
    load("strings", name="open", config=rules(inputs={"text": anya.InputRule(control="allow")}))
    assert ask(engine, "open", texts("a\0b"))["echo"].tolist() == ["a\0b"]


def test_text_is_brought_into_normal_form_and_counted(engine: anya.Engine, load: Load) -> None:
    """normalize="nfc" changes what is not in normal form C and counts it; "reject" refuses it; "allow" passes it."""
    load("strings", config=rules(inputs={"text": anya.InputRule(normalize="nfc")}))
    response = engine.infer_detailed("strings", texts(DECOMPOSED, COMPOSED, "plain", DECOMPOSED.encode()))
    assert response.outputs["echo"].tolist() == [COMPOSED, COMPOSED, "plain", COMPOSED]
    assert response.sanitized == {"text": 2}
    [count] = stats_of(engine, "strings").tensors
    assert count.sanitized == 2
    load("strings", name="strict", config=rules(inputs={"text": anya.InputRule(normalize="reject")}))
    with refused(engine, "strict", anya.InvalidInput, "element 1", "normal form C", field="text"):
        engine.infer("strict", texts(COMPOSED, DECOMPOSED))
    load("strings", name="open", config=rules(inputs={"text": anya.InputRule()}))
    assert engine.infer("open", texts(DECOMPOSED))["echo"].tolist() == [DECOMPOSED]
    assert unicodedata.normalize("NFC", DECOMPOSED) == COMPOSED


# --- answers


@every_way
def test_a_wrong_answer_is_given_to_nobody(engine: anya.Engine, load: Load, ask: Ask) -> None:
    """Case 94: an output that is not finite, or out of range, is ModelOutputInvalid with output, value and index."""
    load("identity_float32", config=rules(outputs={"y": anya.OutputRule(max=10)}))
    good = floats(2, 3)
    np.testing.assert_array_equal(ask(engine, "identity_float32", {"x": good})["y"], good)
    for value, words in ((np.nan, "not finite"), (11.0, "the greatest is 10")):
        wrong = good.copy()
        wrong[1, 2] = value
        with pytest.raises(anya.ModelOutputInvalid, match=words) as caught:
            ask(engine, "identity_float32", {"x": wrong})
        assert (caught.value.field, caught.value.index, caught.value.retryable) == ("y", 5, False)
        assert isinstance(caught.value, anya.ExecutionError)
    assert stats_of(engine, "identity_float32").ended["MODEL_OUTPUT_INVALID"] == 2


def test_a_wrong_answer_spoils_no_company(engine: anya.Engine, load: Load) -> None:
    """Of requests that share a run, the one whose answer breaks a rule fails, with its own index, and it alone."""
    load("identity_float32", config=dataclasses.replace(ONE, outputs={"y": anya.OutputRule()}))
    xs = [floats(1, 3, seed=index) for index in range(8)]
    xs[3][0, 1] = np.inf

    async def gathered() -> list[Any]:
        return await asyncio.gather(*(engine.infer_async("identity_float32", x) for x in xs), return_exceptions=True)

    for index, outcome in enumerate(asyncio.run(gathered())):
        if index == 3:
            assert type(outcome) is anya.ModelOutputInvalid
            assert outcome.index == 1
        else:
            np.testing.assert_array_equal(outcome["y"], xs[index])


def test_an_answer_must_have_its_stated_shape(engine: anya.Engine, load: Load) -> None:
    """Case 94: sizes stated for an output are held in every answer."""
    load("sequence", config=rules(outputs={"y": anya.OutputRule(shape=(None, 4), finite="allow")}))
    assert engine.infer("sequence", floats(2, 4))["y"].shape == (2, 4)
    with pytest.raises(anya.ModelOutputInvalid, match="size 5 on axis 1") as caught:
        engine.infer("sequence", floats(2, 5))
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("y", 5, 4)


# --- the model's own file


def directory(folder: Path, schema: bytes, model: str = "sequence") -> Path:
    """A model directory with a schema.toml."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(MODELS[model]())
    (folder / "schema.toml").write_bytes(schema)
    return folder


SCHEMA = b"""
max_rows = 4
[dims]
L = {max = 8}
[inputs.x]
dtype = "float32"
min = -10
max = 10
[outputs.total]
max = 1000
"""


def test_a_models_own_rules_are_in_force(engine: anya.Engine, tmp_path: Path) -> None:
    """schema.toml in a model directory is held without any configuration, and is part of the digest."""
    info = engine.load("own", directory(tmp_path / "own", SCHEMA))
    engine.infer("own", floats(4, 8))
    for wrong, error in (
        (floats(5, 3), anya.InputTooLarge),
        (floats(2, 9), anya.InvalidInput),
        (np.full((2, 3), 11, np.float32), anya.InvalidInput),
    ):
        with refused(engine, "own", error, field="x"):
            engine.infer("own", wrong)
    other = engine.load("other", directory(tmp_path / "other", SCHEMA + b"finite = 'allow'\n"))
    assert other.digest != info.digest


def test_a_configuration_replaces_the_files_rule_for_the_same_name(engine: anya.Engine, tmp_path: Path) -> None:
    """A rule of ModelConfig takes the place of the file's for that name; the file's other rules stay in force."""
    config = rules(inputs={"x": anya.InputRule(max=100)}, max_rows=6)
    engine.load("own", directory(tmp_path / "own", SCHEMA), config=config)
    engine.infer("own", np.full((5, 3), 50, np.float32))
    engine.infer("own", np.full((5, 3), -50, np.float32))  # the file's min is gone with its rule
    with refused(engine, "own", anya.InvalidInput, "the greatest is 100"):
        engine.infer("own", np.full((5, 3), 101, np.float32))
    with refused(engine, "own", anya.InvalidInput, "the greatest is 8"):
        engine.infer("own", floats(2, 9))
    with refused(engine, "own", anya.InputTooLarge, "max_rows is 6"):
        engine.infer("own", floats(7, 3))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (b"[inputs.z]\nmin = 0", "inputs.z: the model has no such input"),
        (b"[inputs.x]\ndtype = 'int64'", "inputs.x.dtype: says int64, the model has float32"),
        (b"[inputs.x]\nshape = ['N']", "inputs.x.shape"),
        (b"[inputs.x]\nmim = 0", "inputs.x.mim"),
        (b"[outputs.y]\nshape = ['N', 'L', 3]", "outputs.y.shape"),
        (b"[dims]\nK = {max = 3}", "dims.K"),
        (b"version = 2", "version"),
        (b"\xff\xfe", "not TOML"),
        (b"[" * 100_000, "not TOML"),
    ],
)
def test_a_file_that_does_not_fit_makes_the_model_invalid(
    engine: anya.Engine, tmp_path: Path, schema: bytes, words: str
) -> None:
    """Case 45: a schema.toml that is wrong, or disagrees with the model, is ModelInvalid; what served goes on."""
    engine.load("sequence", MODELS["sequence"]())
    with pytest.raises(anya.ModelInvalid, match=r"schema\.toml") as caught:
        engine.load("sequence", directory(tmp_path / "m", schema))
    assert words in str(caught.value)
    assert str(caught.value.field).startswith("schema.toml")
    assert [info.version for info in engine.models()] == ["1"]
    engine.infer("sequence", floats(2, 3))


def test_max_rows_of_a_file_must_fit_too(engine: anya.Engine, tmp_path: Path) -> None:
    """Case 45: max_rows in the file of a model without rows is ModelInvalid, not the configuration's fault."""
    with pytest.raises(anya.ModelInvalid, match="max_rows") as caught:
        engine.load("m", directory(tmp_path / "m", b"max_rows = 3", "scalar"))
    assert caught.value.field == "schema.toml.max_rows"


def test_a_single_file_has_no_schema(engine: anya.Engine, tmp_path: Path) -> None:
    """A schema.toml beside a single .onnx file belongs to nobody: it is not in the digest, so it is not read."""
    folder = directory(tmp_path / "m", SCHEMA)
    engine.load("single", folder / "model.onnx")
    engine.infer("single", np.full((9, 9), 50, np.float32))


# --- what is counted


def test_what_rules_meet_is_in_the_metrics(engine: anya.Engine, load: Load) -> None:
    """anya_sanitized_values_total and anya_nonfinite_values_total count by model and tensor, from the load on."""
    clip = anya.InputRule(min=-1, max=1, on_range="clip", finite="replace")
    load("identity_float32", config=rules(inputs={"x": clip}, outputs={"y": anya.OutputRule()}))
    registry = CollectorRegistry()
    registry.register(engine.collector())

    def counted() -> dict[str, float]:
        names = [("sanitized", "x"), ("nonfinite", "x"), ("nonfinite", "y")]
        labels = {"model": "identity_float32", "version": "1"}
        return {
            f"{kind} {tensor}": registry.get_sample_value(f"anya_{kind}_values_total", {**labels, "tensor": tensor})
            for kind, tensor in names
        }

    assert counted() == {"sanitized x": 0, "nonfinite x": 0, "nonfinite y": 0}
    engine.infer("identity_float32", np.array([[np.nan, 5, -5], [0, np.inf, 1]], np.float32))
    assert counted() == {"sanitized x": 4, "nonfinite x": 2, "nonfinite y": 0}
    assert b"anya_sanitized_values_total" in generate_latest(registry)


def test_without_rules_there_is_nothing_to_count(engine: anya.Engine, load: Load) -> None:
    """A model without rules lets NaN through, reports nothing changed and has no counts of values."""
    load("identity_float32")
    x = np.array([[np.nan, np.inf, 1]], np.float32)
    response = engine.infer_detailed("identity_float32", x)
    assert response.outputs["y"].tobytes() == x.tobytes()
    assert (response.sanitized, stats_of(engine, "identity_float32").tensors) == ({}, [])


def test_a_later_version_inherits_the_rules(engine: anya.Engine, load: Load) -> None:
    """A version loaded without a configuration has the rules of its name."""
    load("identity_float32", config=rules(inputs={"x": anya.InputRule(max=1)}))
    load("identity_float32", version="2")
    with pytest.raises(anya.InvalidInput, match="the greatest is 1"):
        engine.infer("identity_float32", np.full((1, 3), 2, np.float32), version="2")
