# SPDX-License-Identifier: Apache-2.0
"""The statistics of drift: against scipy, and against numbers that other programs printed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from anya_engine import _distributions as tails
from anya_engine import _divergence as div

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def golden_pair() -> tuple[Any, Any]:
    """The two samples that the frozen numbers below are of."""
    rng = np.random.default_rng(7)
    return rng.normal(0, 1, 5000), rng.normal(0.25, 1.15, 3000)


def binned(reference: Any, current: Any, bins: int) -> tuple[Any, Any, Any]:
    """Edges at the reference's quantiles, and both samples' counts between them."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (reference, current)]
    return edges, *counts


@pytest.mark.parametrize(
    ("bins", "expected"),
    [(10, 0.07762872872286045), (20, 0.0867920892506755), (32, 0.09582868839791966), (128, 0.15694227389855409)],
)
def test_psi_is_evidentlys(bins: int, expected: float) -> None:
    """With Evidently's convention for empty bins PSI is what Evidently 0.7.23 printed for the same bins."""
    _, a, b = binned(*golden_pair(), bins)
    np.testing.assert_allclose(div.psi(a, b, eps=1e-4), expected, **TIGHT)


def test_js_is_evidentlys_to_base_2() -> None:
    """The JS distance is Evidently's, which takes natural logarithms, divided by sqrt(ln 2)."""
    _, a, b = binned(*golden_pair(), 10)
    np.testing.assert_allclose(div.js_distance(a, b), jensenshannon(a, b) / math.sqrt(math.log(2)), **TIGHT)
    np.testing.assert_allclose(div.js_distance(a, b) * math.sqrt(math.log(2)), 0.0979648295, atol=1e-10)


def test_chi2_is_the_golden_one() -> None:
    """Chi-squared of 32 bins of the golden samples, as scipy gave it when the number was frozen."""
    statistic, df, sparse = div.chi2(*binned(*golden_pair(), 32)[1:])
    np.testing.assert_allclose(statistic, 181.82587909978852, **TIGHT)
    assert (int(df), bool(sparse)) == (31, False)


def test_one_outlier_does_not_hide_the_drift() -> None:
    """Bins are the reference's alone: one current value of 1e6 changes PSI by next to nothing."""
    reference, current = golden_pair()
    _, a, b = binned(reference, current, 20)
    _, _, with_outlier = binned(reference, np.append(current, 1e6), 20)
    assert abs(div.psi(a, with_outlier) - div.psi(a, b)) < 0.002


@pytest.mark.parametrize("seed", range(20))
def test_statistics_agree_with_scipy(seed: int) -> None:
    """JS, KS, W1 and chi-squared are scipy's on random counts, zeros among them."""
    rng = np.random.default_rng(seed)
    bins = int(rng.integers(2, 40))
    a, b = (rng.integers(0, 50, bins) * (rng.random(bins) < 0.8) for _ in "ab")
    a[0], b[-1] = 7, 9
    index = np.arange(bins)
    ids = np.repeat(index, a), np.repeat(index, b)
    np.testing.assert_allclose(div.js_distance(a, b), jensenshannon(a, b, 2), **TIGHT)
    np.testing.assert_allclose(div.ks_distance(a, b), stats.ks_2samp(*ids, method="asymp").statistic, **TIGHT)
    edges = np.sort(rng.normal(size=bins - 1))
    low, high = edges[0] - 1.5, edges[-1] + 2.5
    ends = np.concatenate([[low], edges, [high]])
    middles = (ends[1:] + ends[:-1]) / 2
    ours = div.wasserstein(a, b, edges, np.array(low), np.array(high), np.array(2.0))
    np.testing.assert_allclose(ours, stats.wasserstein_distance(middles, middles, a, b) / 2, **TIGHT)
    used = (a + b) > 0
    theirs = stats.chi2_contingency(np.stack([a, b])[:, used], correction=False)
    statistic, df, sparse = div.chi2(a, b)
    np.testing.assert_allclose(statistic, theirs.statistic, **TIGHT)
    assert int(df) == theirs.dof
    assert bool(sparse) == bool((theirs.expected_freq < 5).mean() > 0.2)
    p, q = a / a.sum(), b / b.sum()
    np.testing.assert_allclose(div.l_infinity(a, b), abs(p - q).max(), **TIGHT)
    np.testing.assert_allclose(div.hellinger(a, b), np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2), **TIGHT)


def test_many_features_at_once() -> None:
    """A table of features gives what each gives alone."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 50, (2, 7, 12))
    for function in (div.psi, div.js_distance, div.ks_distance, div.l_infinity, div.hellinger):
        np.testing.assert_allclose(function(a, b), [function(x, y) for x, y in zip(a, b, strict=True)], **TIGHT)


def test_extremes_are_finite() -> None:
    """Disjoint samples have JS, KS, L-infinity and Hellinger 1 and a finite PSI; equal ones and empty ones have 0."""
    a, b = np.array([1000, 0, 0]), np.array([0, 0, 500])
    for function in (div.js_distance, div.ks_distance, div.l_infinity, div.hellinger):
        assert float(function(a, b)) == 1.0
        assert float(function(a, a)) == 0.0
    assert 5 < float(div.psi(a, b)) < 20
    nothing = np.zeros(3, int)
    with np.errstate(all="raise"):
        values = [float(f(nothing, nothing)) for f in (div.psi, div.js_distance, div.ks_distance, div.hellinger)]
    assert values == [0.0] * 4
    assert [float(x) for x in div.chi2(nothing, nothing)[:2]] == [0.0, 0.0]


@pytest.mark.parametrize("df", [1, 2, 9, 31, 255])
def test_chi2_tail_and_quantile_are_scipys(df: int) -> None:
    """The tail of chi-squared is scipy's, and its quantile inverts it, from the body far into the tail."""
    for x in (1e-6, 0.3, 1.0, df / 2, df, df + 1.0, 2 * df, 5 * df + 40):
        np.testing.assert_allclose(tails.chi2_tail(x, df), stats.chi2.sf(x, df), rtol=1e-11, atol=1e-300)
    for tail in (0.5, 0.01, 1e-4, 1e-8, 1e-14):
        np.testing.assert_allclose(tails.chi2_quantile(tail, df), stats.chi2.isf(tail, df), rtol=1e-10)


def test_kolmogorov_tail_is_scipys() -> None:
    """The limit of KS is scipy's kstwobign."""
    for x in (0.0, 0.2, 0.5, 0.9, 0.999, 1.0, 1.2, 2.0, 4.0, 8.0):
        np.testing.assert_allclose(tails.kolmogorov_tail(x), stats.kstwobign.sf(x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "table", [(1, 200, 0, 10_000), (0, 50, 3, 60), (7, 300, 9, 900), (40, 40, 0, 40), (5, 9, 5, 9)]
)
def test_hypergeometric_tail_is_fishers(table: tuple[int, int, int, int]) -> None:
    """The test of NaN shares is scipy's exact one, one-sided."""
    hits, draws, others, rest = table
    theirs = stats.fisher_exact([[hits, draws - hits], [others, rest - others]], alternative="greater").pvalue
    np.testing.assert_allclose(tails.hypergeometric_tail(hits, draws, hits + others, draws + rest), theirs, rtol=1e-9)
