# SPDX-License-Identifier: Apache-2.0
"""The judge of answers can say no: every kind of wrong answer is named, and a right one is let pass."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conformance.compare import difference, differences
from conformance.crowd import wrong_answers

RIGHT = np.array([[1.5, -2.0, np.nan], [np.inf, 0.0, 1e-3]], np.float32)


def changed(index: tuple[int, int], value: float) -> Any:
    """The right answer with one element changed."""
    array = RIGHT.copy()
    array[index] = value
    return array


WRONG_TO_THE_BIT = {
    "the next float": changed((0, 0), float(np.nextafter(np.float32(1.5), np.float32(2)))),
    "minus zero": changed((1, 1), -0.0),
    "a number where NaN was": changed((0, 2), 0.0),
    "NaN where a number was": changed((0, 0), np.nan),
    "the other infinity": changed((1, 0), -np.inf),
    "rows swapped": RIGHT[::-1],
    "another type": RIGHT.astype(np.float64),
    "another shape of the same elements": RIGHT.reshape(3, 2),
    "one row of two": RIGHT[:1],
    "one more axis": RIGHT[None],
}
#: What rounding cannot explain, so no tolerance of the size that is used here may forgive it.
WRONG_BY_FAR = WRONG_TO_THE_BIT.keys() - {"the next float", "minus zero"}


@pytest.mark.parametrize("fault", WRONG_TO_THE_BIT)
def test_without_a_tolerance_one_bit_counts(fault: str) -> None:
    """Whatever is not the right answer to the bit is refused."""
    assert difference(WRONG_TO_THE_BIT[fault], RIGHT)
    assert difference(RIGHT.copy(), RIGHT) == ""


@pytest.mark.parametrize("fault", WRONG_TO_THE_BIT)
def test_a_tolerance_forgives_rounding_alone(fault: str) -> None:
    """With a tolerance the next float passes, and nothing else that is wrong does."""
    assert bool(difference(WRONG_TO_THE_BIT[fault], RIGHT, rtol=1e-3, atol=1e-5)) == (fault in WRONG_BY_FAR)


@pytest.mark.parametrize(("by", "refused"), [(0.9, False), (1.1, True)])
def test_the_tolerance_is_the_one_that_is_stated(by: float, refused: bool) -> None:
    """Up to atol + rtol * |wanted| passes, a little more does not."""
    wanted = np.array([100.0])
    assert bool(difference(wanted + by * (1e-2 + 1e-3 * 100.0), wanted, rtol=1e-3, atol=1e-2)) == refused


@pytest.mark.parametrize("wanted", [np.array([3, 200], np.uint8), np.array([True, False]), np.array([1 << 60, 1])])
def test_whole_numbers_agree_exactly_whatever_the_tolerance(wanted: Any) -> None:
    """One off is wrong, however large the number."""
    got = wanted.copy()
    got[0] = not got[0] if wanted.dtype == np.bool_ else got[0] + 1
    assert difference(got, wanted, rtol=1.0, atol=1.0)
    assert difference(wanted.copy(), wanted, rtol=1.0, atol=1.0) == ""


def test_text_is_compared_as_text() -> None:
    """A string is equal to its UTF-8 bytes and to no other string; text is no number."""
    wanted = np.array(["ä", "b"], object)
    assert difference(np.array(["ä".encode(), b"b"], object), wanted) == ""
    assert difference(np.array(["ä", "c"], object), wanted)
    assert difference(np.array([1, 2]), wanted)


def test_bfloat16_has_a_tolerance_too() -> None:
    """NumPy counts bfloat16 among no floats; the judge does."""
    wanted = np.array([1.0, 2.0], ml_dtypes.bfloat16)
    near = np.array([1.0078125, 2.0], ml_dtypes.bfloat16)
    assert difference(near, wanted)
    assert difference(near, wanted, rtol=1e-2) == ""
    assert difference(near, wanted, rtol=1e-3)


def test_an_output_may_be_neither_missing_nor_new() -> None:
    """The outputs' names are part of an answer."""
    both = {"a": RIGHT, "b": RIGHT}
    assert differences(both, both) == ""
    assert differences({"a": RIGHT}, both)
    assert differences(both, {"a": RIGHT})


def test_of_a_crowd_just_those_answered_wrongly_are_named() -> None:
    """Two answers that changed places are found among many right ones, and so is one that is stale."""
    wanted = [{"y": np.full((1, 3), index, np.float32)} for index in range(64)]
    assert wrong_answers(wanted, wanted) == {}
    swapped = list(wanted)
    swapped[7], swapped[40] = swapped[40], swapped[7]
    assert set(wrong_answers(swapped, wanted)) == {7, 40}
    stale = [*wanted[:-1], wanted[0]]
    assert set(wrong_answers(stale, wanted, rtol=1e-3, atol=1e-5)) == {63}
