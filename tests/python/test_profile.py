# SPDX-License-Identifier: Apache-2.0
"""Reference profiles: they survive being written down, and what is wrong in one is refused where it is wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import anya_engine as anya
from anya_engine._drift_counts import counts_of_values
from anya_engine._info import TensorSpec
from anya_engine._profile_build import build_profile
from anya_engine.profile import FeatureProfile, Profile

SPECS = (
    [
        TensorSpec(name="x", dtype="float32", shape=("N", 2)),
        TensorSpec(name="word", dtype="str", shape=("N",)),
        TensorSpec(name="kind", dtype="int64", shape=("N",)),
    ],
    [TensorSpec(name="p", dtype="float32", shape=("N", 3))],
)


def rows(n: int = 600) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of a model that was never there."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    x[:3, 0] = np.nan, np.inf, -np.inf
    words = rng.choice(["<b>", "ä", "c"], n).astype(object)
    return {"x": x, "word": words, "kind": rng.integers(0, 40, n)}, {
        "p": rng.dirichlet((1, 2, 3), n).astype(np.float32)
    }


def made(**more: Any) -> Profile:
    """A profile with everything in it."""
    inputs, outputs = rows()
    facts: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "labels": np.zeros(600, int), **more}
    return build_profile(model="m", version="3", digest="d" * 64, specs=SPECS, created="2026-01-01T00:00:00", **facts)


def test_a_profile_survives_being_written_down() -> None:
    """What is read is what was written, to the bit."""
    profile = made()
    assert Profile.from_json(profile.to_json()) == profile
    facts = json.loads(profile.to_json())
    assert facts["schema"] == "anya.profile/1"
    assert facts["model"] == {"model": "m", "version": "3", "digest": "d" * 64}


def test_counts_are_counts() -> None:
    """Every row is in a bin, or among the NaN and infinities; nothing is a share."""
    profile = made()
    assert profile.rows == 600
    first = profile.tensors[0].features[0]
    assert (first.nan, first.pos_inf, first.neg_inf, first.n) == (1, 1, 1, 597)
    for tensor in profile.tensors:
        for feature in tensor.features:
            assert feature.n + feature.nonfinite == 600
            assert all(isinstance(count, int) for count in feature.counts)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["schema"], "anya.profile/2", "schema must be 'anya.profile/1'"),
        (["model"], None, "model must be an object"),
        (["model", "digest"], 7, "model.digest must be text"),
        (["rows"], -1, "rows must be a count"),
        (["rows"], True, "rows must be a count"),
        (["tensors"], {}, "tensors must be a list"),
        (["tensors", 0, "role"], "both", "tensors[0].role must be one of input, output"),
        (["tensors", 0, "kind"], "magic", "tensors[0].kind must be one of columns"),
        (["tensors", 0, "shape"], [[]], "tensors[0].shape must hold sizes"),
        (["tensors", 0, "features", 1, "counts"], [1], "tensors[0].features[1].counts must be one for each of 20 bins"),
        (["tensors", 0, "features", 1, "counts", 3], 0.5, "counts must be a count"),
        (["tensors", 0, "features", 1, "edges", 0], 1e9, "edges must be ascending"),
        (["tensors", 0, "features", 1, "edges", 0], None, "edges must be a finite number"),
        (["tensors", 0, "features", 1, "moments", "m2"], "x", "moments.m2 must be a finite number"),
        (["tensors", 1, "features", 1, "categories"], [["a"]], "categories must hold text and whole numbers"),
        (["confidence", "accuracy"], 1.5, "confidence.accuracy must be a share"),
    ],
)
def test_what_is_wrong_is_refused_where_it_is_wrong(path: list[Any], value: Any, words: str) -> None:
    """Each kind of damage is a ConfigError that names its place in the file."""
    facts = json.loads(made().to_json())
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(anya.ConfigError) as caught:
        Profile.from_json(json.dumps(facts), "p.json")
    assert str(caught.value).startswith("p.json: ")
    assert words in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(_JSON)
def test_no_json_crashes_the_reader(value: Any) -> None:
    """Any JSON is a profile or a ConfigError."""
    with pytest.raises(anya.ConfigError):
        Profile.from_json(json.dumps({"schema": "anya.profile/1", "model": value, "tensors": value}))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"nul", b"[]"])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    """Bytes that are no JSON, or nested without end, are a ConfigError."""
    with pytest.raises(anya.ConfigError):
        Profile.from_json(content)


def test_labels_must_fit() -> None:
    """Labels of another length or of no whole numbers, and labels without probabilities, are refused."""
    inputs, _ = rows()
    for wrong in ({"labels": np.zeros(5, int)}, {"labels": np.zeros(600)}, {"outputs": {}}):
        with pytest.raises(anya.ConfigError, match="labels"):
            made(**wrong)
    with pytest.raises(anya.ConfigError, match="no rows"):
        made(inputs={"x": inputs["x"][:0]}, outputs={}, labels=None)


def test_as_many_answers_are_below_the_threshold_as_were_wrong() -> None:
    """The confidence that counts as right is where the reference's share of wrong answers ends."""
    confidence = made().confidence
    assert confidence is not None
    p = rows()[1]["p"]
    assert (p.max(axis=1) < confidence.threshold).sum() == (p.argmax(axis=1) != 0).sum()
    assert confidence.accuracy == pytest.approx((p.argmax(axis=1) == 0).mean())


def test_rare_categories_share_a_bin() -> None:
    """Beyond 32 categories the rarer ones are one bin, known by name; others are unseen."""
    values = np.repeat(np.arange(40.0), np.arange(40, 0, -1))
    spec = TensorSpec(name="c", dtype="int64", shape=("N",))
    text = np.array([f"w{int(value)}" for value in values], object)
    word = TensorSpec(name="w", dtype="str", shape=("N",))
    profile = build_profile(
        model="m",
        version="1",
        digest="",
        inputs={"c": values.astype(int), "w": text},
        outputs={},
        specs=([spec, word], []),
    )
    numeric, by_name = profile.tensors[0].features[0], profile.tensors[1].features[1]
    assert numeric.kind == "numeric"  # 40 whole numbers
    assert by_name.categories[:2] == ("w0", "w1") and len(by_name.categories) == 32 and len(by_name.tail) == 8
    assert by_name.counts[-1] == sum(range(1, 9))


def test_values_are_counted_as_the_bins_say() -> None:
    """A value at an edge is in the bin that ends there, below the first and above the last are bins, too."""
    feature = FeatureProfile(path="[:]", kind="numeric", edges=(0.0, 1.0), counts=(0, 0, 0))
    counts = counts_of_values(feature, np.array([-1, 0, 0.5, 1, 1.5, np.nan, np.inf]))
    assert counts.bins.tolist() == [2, 2, 1]
    assert (counts.nan, counts.pos_inf, counts.moments.max) == (1, 1, 1.5)
