# SPDX-License-Identifier: Apache-2.0
"""The judge's arithmetic against exact numbers, and its invariants."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anya_engine._judge import RATIOS, Block, Cell, Judge, LatencyCell, log_factor, quantile_bucket

CELLS = [Cell(3, 1, 97, 2), Cell(5, 0, 95, 1), Cell(2, 2, 98, 0), Cell(0, 0, 100, 4), Cell(6, 1, 0, 0)]


def exact_e(cells: list[Cell], ratio: Fraction) -> Fraction:
    """E for one ratio, in whole numbers."""
    e = Fraction(1)
    for cell in cells:
        units = cell.new + cell.old
        share = Fraction(cell.new, units)
        e *= ratio**cell.new_bad / (1 + share * (ratio - 1)) ** (cell.new_bad + cell.old_bad)
    return e


def test_evidence_has_the_exact_value() -> None:
    """E is the mean over the ratios of the product over the blocks, to 1e-12."""
    judge = Judge(("errors",), max_ratio=2.0, slo=0.01)
    for cell in CELLS:
        judge.observe(Block(answers=cell, errors=cell))
    exact = sum(exact_e(CELLS, Fraction(ratio)) for ratio in RATIOS) / len(RATIOS)
    assert math.exp(judge.log_e) == pytest.approx(float(exact), rel=1e-12)


def test_evidence_in_favour_has_the_exact_value() -> None:
    """What speaks for a version is Wald's ratio of a quarter of the objective to the objective, to 1e-12."""
    judge = Judge(("errors",), max_ratio=1000.0, slo=0.01)
    good, bad = Fraction(99_75, 100_00) / Fraction(99, 100), Fraction(1, 4)
    cell = Cell(500, 1, 0, 0)
    judge.observe(Block(answers=cell, errors=cell))
    assert judge.log_for_of("errors") == pytest.approx(math.log(float(good**499 * bad)), rel=1e-12)


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(0, 20),
    st.sampled_from(RATIOS),
)
def test_no_block_favours_a_side_under_the_null(new: int, old: int, bad: int, ratio: float) -> None:
    """Whichever units of a block are bad, drawn without regard to the version, the factor's mean is at most 1."""
    bad = min(bad, new + old)
    mean = sum(
        math.comb(new, c) * math.comb(old, bad - c) * math.exp(log_factor(c, bad, new / (new + old), ratio))
        for c in range(max(0, bad - old), min(bad, new) + 1)
    ) / math.comb(new + old, bad)
    assert mean <= 1 + 1e-9


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20).filter(any), st.sampled_from([0.5, 0.75, 0.95, 0.99]))
def test_a_quantiles_bucket_holds_the_quantile(counts: list[int], quantile: float) -> None:
    """At least that share lies up to the bucket, less lies before it."""
    at = quantile_bucket(counts, quantile)
    assert sum(counts[: at + 1]) >= quantile * sum(counts)
    assert sum(counts[:at]) < quantile * sum(counts)


def test_latency_waits_for_a_yardstick() -> None:
    """Runs are compared with what the old version took before their block, never within it, and by size."""
    judge = Judge(("latency",), max_ratio=2.0, slo=0.01, edges=[1.0, 2.0, 3.0])
    slow_new = LatencyCell(0, [0, 0, 0, 50], [50, 0, 0, 0])
    judge.observe(Block(latency=[slow_new]))
    assert judge.log_e == pytest.approx(0.0)
    judge.observe(Block(latency=[LatencyCell(1, [0, 0, 0, 50], [50, 0, 0, 0])]))
    assert judge.log_e == pytest.approx(0.0)
    judge.observe(Block(latency=[slow_new]))
    assert judge.log_e > math.log(100)


def test_the_tolerance_is_taken_from_the_new_version_alone() -> None:
    """A new version that is slower by less than tolerance and slack is not slow; by more, it is."""
    for slack, guilty in ((0.0, True), (1.0, True), (2.5, False)):
        judge = Judge(("latency",), max_ratio=2.0, slo=0.01, edges=[1.0, 2.0, 3.0, 4.0], slack=slack)
        for _ in range(3):
            judge.observe(Block(latency=[LatencyCell(0, [0, 0, 50, 0, 0], [50, 0, 0, 0, 0])]))
        assert (judge.log_e > math.log(100)) is guilty


def test_a_version_alone_in_its_blocks_is_neither_good_nor_bad() -> None:
    """Without units of the other version beside them, errors are no evidence of a difference."""
    judge = Judge(("errors",), max_ratio=2.0, slo=0.5)
    cell = Cell(100, 50, 0, 0)
    judge.observe(Block(answers=cell, errors=cell))
    assert judge.log_e == pytest.approx(0.0)


def test_metrics_share_the_promise() -> None:
    """Evidence of one metric counts by its share: with four metrics it must be four times as strong."""
    cell = Cell(10, 10, 90, 0)
    alone = Judge(("errors",), max_ratio=2.0, slo=0.01)
    among = Judge(("errors", "a", "b", "c"), max_ratio=2.0, slo=0.01)
    for judge in (alone, among):
        judge.observe(Block(answers=cell, errors=cell))
    assert math.exp(alone.log_e) == pytest.approx(4 * math.exp(among.log_e) - 3, rel=1e-9)
