# SPDX-License-Identifier: Apache-2.0
"""Rules of values against NumPy: every element type, any rule, any values, any layout, in place and copied."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from models.make_models import MODELS

import anya_engine as anya

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
BOUNDS = (-7, -1, 0, 1, 2, 100)


def numpy_type(name: str) -> Any:
    """NumPy's dtype, or the one that ml_dtypes adds."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What must become of an input: the first element at fault, or the values a run must see."""

    index: int | None = None
    values: Any = None
    changed: int = 0


def verdict(rule: anya.InputRule, x: Any) -> Verdict:
    """The rule in NumPy's words: the whole array at a time, each condition by itself."""
    flat = x.ravel().copy()
    bad = np.zeros(flat.shape, bool)
    floating = flat.dtype.name in FLOATS
    bounds = {name: given_as(getattr(rule, name), flat.dtype) for name in ("min", "max")}
    if floating:
        finite, nan, below = np.isfinite(flat), np.isnan(flat), np.signbit(flat)
        if rule.finite == "reject":
            bad |= ~finite
        elif rule.finite == "clip":
            bad |= nan
            type_ends = ml_dtypes.finfo(flat.dtype)
            flat[~finite & ~nan & below] = type_ends.min if rule.min is None else bounds["min"]
            flat[~finite & ~nan & ~below] = type_ends.max if rule.max is None else bounds["max"]
        elif rule.finite == "replace":
            flat[~finite] = rule.replace_with
    for name, is_outside in (("min", np.less), ("max", np.greater)):
        if bounds[name] is not None:
            with np.errstate(invalid="ignore"):  # NaN never is, which some types warn of
                outside = is_outside(flat, bounds[name])
            if rule.on_range == "clip":
                flat[outside] = bounds[name]
            else:
                bad |= outside
    if rule.allowed is not None:
        bad |= ~(flat[:, None] == np.array([given_as(value, flat.dtype) for value in rule.allowed])).any(axis=1)
    if bad.any():
        return Verdict(index=int(np.argmax(bad)))
    changed = (flat.view(np.uint8) != x.ravel().view(np.uint8)).reshape(flat.size, -1).any(axis=1)
    return Verdict(values=flat.reshape(x.shape), changed=int(changed.sum()))


def given_as(number: float | None, dtype: Any) -> Any:
    """A rule's number in the input's element type."""
    return None if number is None else np.array(number).astype(dtype)[()]


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, anya.InputRule, Any]:
    """An element type, a rule that fits it, and rows that are mostly within it."""
    name = draw(st.sampled_from(FLOATS + INTEGERS))
    floating, signed = name in FLOATS, not name.startswith("u")
    bounds = [b for b in BOUNDS if signed or b >= 0] + ([0.5, -0.125] if floating else [])
    terms: dict[str, Any] = {}
    if draw(st.booleans()):
        low, high = sorted((draw(st.sampled_from(bounds)), draw(st.sampled_from(bounds))))
        terms = draw(st.sampled_from([{"min": low, "max": high}, {"min": low}, {"max": high}]))
        terms["on_range"] = draw(st.sampled_from(["reject", "clip"]))
    elif draw(st.booleans()):
        terms["allowed"] = tuple(draw(st.lists(st.sampled_from(bounds), min_size=1, max_size=4)))
    if floating:
        terms["finite"] = draw(st.sampled_from(["reject", "clip", "replace", "allow"]))
        inside = [*terms.get("allowed", ()), terms.get("min"), terms.get("max"), 0.25]
        good = [b for b in inside if b is not None and keeps(terms, b)]
        terms["replace_with"] = draw(st.sampled_from(good)) if good else 0.0
        if not good:
            terms["finite"] = "reject"
    within = [b for b in (*bounds, *terms.get("allowed", ())) if keeps(terms, b)] or bounds
    odd = [*bounds, *([np.nan, np.inf, -np.inf, -0.0] if floating else [])]
    size = 3 * draw(st.sampled_from([1, 2, 11, 700]))
    values = np.array(draw(st.lists(st.sampled_from(within), min_size=size % 64, max_size=size % 64))).astype(
        np.float64
    )
    x = np.resize(values, size).astype(numpy_type(name))
    for _ in range(draw(st.integers(0, 2))):
        x[draw(st.integers(0, size - 1))] = draw(st.sampled_from(odd))
    return name, anya.InputRule(**terms), x.reshape(-1, 3)


def keeps(terms: dict[str, Any], value: float) -> bool:
    """Whether a number is within a rule's range and list."""
    if "allowed" in terms:
        return value in terms["allowed"]
    return terms.get("min", value) <= value <= terms.get("max", value)


LAYOUTS = {
    "plain": np.ascontiguousarray,
    "columns first": np.asfortranarray,
    "backwards": lambda x: x[::-1].copy()[::-1],
    "odd address": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[anya.Engine]:
    """One engine for all examples."""
    with anya.Engine() as engine:
        yield engine


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(question=questions(), layout=st.sampled_from(list(LAYOUTS)), waits=st.booleans())
@example(  # a clipped infinity is held against the list
    question=("float32", anya.InputRule(allowed=(0, 1), finite="clip"), np.array([[0, 1, np.inf]], np.float32)),
    layout="plain",
    waits=True,
)
def test_rules_do_what_numpy_would(
    shared: anya.Engine, question: tuple[str, anya.InputRule, Any], layout: str, waits: bool
) -> None:
    """The first element at fault, the values a run sees and the number of changes are NumPy's, to the bit."""
    name, rule, x = question
    wanted = verdict(rule, x)
    shared.load("m", MODELS[f"identity_{name}"](), config=anya.ModelConfig(inputs={"x": rule}, instances=1))
    try:
        given_array = LAYOUTS[layout](x)
        ask = shared.infer_detailed if waits else lambda *a: asyncio.run(shared.infer_detailed_async(*a))
        if wanted.index is not None:
            with pytest.raises(anya.InvalidInput) as caught:
                ask("m", given_array)
            assert (caught.value.field, caught.value.index) == ("x", wanted.index)
        else:
            response = ask("m", given_array)
            assert response.outputs["y"].tobytes() == wanted.values.tobytes()
            assert response.sanitized == ({"x": wanted.changed} if wanted.changed else {})
        assert given_array.tobytes() == x.tobytes()
    finally:
        shared.unload("m")
