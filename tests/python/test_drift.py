# SPDX-License-Identifier: Apache-2.0
"""The alert rule: simulated days without drift, simulated shifts, and what is too little or too odd to judge."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from anya_engine import _drift as drift
from anya_engine._drift import Counts, FeatureWatch, Rule, close_all, glance, judge, needed
from anya_engine.profile import FeatureProfile, Moments

BINS, M = 20, 10_000


def numeric(counts: Any, **more: Any) -> FeatureProfile:
    """A reference whose bins meet at 0, 1, 2 and so on."""
    edges = tuple(float(i) for i in range(len(counts) - 1))
    return FeatureProfile(path="[:]", kind="numeric", edges=edges, counts=tuple(int(c) for c in counts), **more)


def counted(counts: Any, **more: Any) -> Counts:
    """A window."""
    return Counts(np.asarray(counts, np.int64), **more)


def uniform(rng: np.random.Generator, n: int, bins: int = BINS) -> Any:
    """Counts of n values of a distribution that the bins share equally."""
    return rng.multinomial(n, [1 / bins] * bins)


def shifted(by: float, bins: int) -> Any:
    """Shares of a normal distribution, moved by so many standard deviations, in the bins of the unmoved one."""
    grid = np.linspace(-9, 9, 200_001)
    density = np.exp(-(grid**2) / 2)
    cumulative = np.cumsum(density) / density.sum()
    edges = np.interp(np.linspace(0, 1, bins + 1)[1:-1], cumulative, grid)
    return np.diff(np.concatenate([[0.0], np.interp(edges - by, grid, cumulative), [1.0]]))


def test_a_day_without_drift() -> None:
    """50 features that do not drift, a day of windows of 300 values: at most one alert, and warnings are rare."""
    rng = np.random.default_rng(11)
    features = [numeric(uniform(rng, M)) for _ in range(50)]
    watches = [FeatureWatch(feature) for feature in features]
    rule = Rule(features=50)
    alerts = warnings = bare = 0
    for window in range(288):
        close_all(watches, [counted(uniform(rng, 300)) for _ in watches], rule, float(window))
        alerts += sum(watch.state == "DRIFT" for watch in watches)
        warnings += sum(watch.state == "WARN" for watch in watches)
        bare += sum(watch.history[-1].statistic >= 0.1 for watch in watches)
    assert alerts <= 1
    assert warnings <= 10  # alpha = 0.01 a window, of all features together: 2.9 are expected
    assert bare > 100  # a bare "PSI >= 0.1" would have cried wolf all day


@pytest.mark.parametrize("bins", [10, 20])
def test_a_shift_is_found(bins: int) -> None:
    """A shift of 0.3 standard deviations among 1 000 values is found in 99 of 100 windows at least."""
    rng = np.random.default_rng(12)
    shares = shifted(0.3, bins)
    feature = numeric([M // bins] * bins)
    windows = [counted(rng.multinomial(1000, shares)) for _ in range(1000)]
    found = judge([feature] * len(windows), windows, Rule())
    assert sum(verdict is not None and verdict.significant for verdict in found) >= 990
    bare = sum(verdict is not None and verdict.psi >= 0.1 for verdict in found)
    assert bare < 990  # which a bare "PSI >= 0.1" does not


@pytest.mark.parametrize("n", [300, 1000, 5000])
def test_false_alarms_are_nominal(n: int) -> None:
    """One window of one feature passes its threshold by chance about as often as alpha says, at any size."""
    rng = np.random.default_rng(13)
    windows = [counted(uniform(rng, n)) for _ in range(4000)]
    feature = [numeric(uniform(rng, M)) for _ in range(len(windows))]
    found = judge(feature, windows, Rule())
    share = np.mean([verdict is not None and verdict.significant for verdict in found])
    assert 0.004 <= share <= 0.018


def test_drift_takes_three_windows() -> None:
    """A large difference is WARN, WARN, DRIFT; the first window without it is OK again."""
    rng = np.random.default_rng(14)
    watch = FeatureWatch(numeric([500] * BINS))
    far = [2] * (BINS // 2) + [98] * (BINS // 2)
    states = []
    for window in [uniform(rng, 1000), far, far, far, far, uniform(rng, 1000)]:
        close_all([watch], [counted(window)], Rule(), 0.0)
        states.append(watch.state)
    assert states == ["OK", "WARN", "WARN", "DRIFT", "DRIFT", "OK"]
    assert [window.state for window in watch.history] == states


def test_small_but_certain_is_a_warning() -> None:
    """A difference below the floor never becomes DRIFT, however certain and however long."""
    watch = FeatureWatch(numeric([50_000] * 10))
    little = [11_000] * 5 + [9_000] * 5
    for _ in range(5):
        close_all([watch], [counted(little)], Rule(), 0.0)
    assert watch.state == "WARN"
    assert "below 0.1" in watch.why


def test_too_few_values_wait_for_the_next_window() -> None:
    """Windows below 15 values a bin are added up; after an hour of too little the state is INSUFFICIENT."""
    rng = np.random.default_rng(15)
    watch = FeatureWatch(numeric([500] * BINS))
    assert needed(watch.feature) == 15 * BINS
    states = []
    for _ in range(3):
        close_all([watch], [counted(uniform(rng, 100))], Rule(), 0.0)
        states.append(watch.state)
    assert states == ["INSUFFICIENT", "INSUFFICIENT", "OK"]
    assert watch.last is not None and watch.last.n == 300
    for _ in range(12):
        close_all([watch], [counted(uniform(rng, 1))], Rule(), 0.0)
    assert watch.state == "INSUFFICIENT" and watch.waiting.n == 0
    assert "12 values in 12 windows, 300 are needed" in watch.why


def test_a_window_of_one_row() -> None:
    """One value is counted, judged by nobody, and changes no state."""
    watch = FeatureWatch(numeric([500] * BINS))
    close_all([watch], [counted([1] + [0] * (BINS - 1))], Rule(), 0.0)
    assert (watch.state, watch.waiting.n, len(watch.history)) == ("INSUFFICIENT", 1, 0)


def test_an_empty_reference_is_never_judged() -> None:
    """Against a reference without values the state is INSUFFICIENT for good, and says why."""
    watch = FeatureWatch(numeric([0] * BINS, nan=100))
    for _ in range(20):
        close_all([watch], [counted([100] * BINS)], Rule(), 0.0)
    assert watch.state == "INSUFFICIENT" and "no values" in watch.why


def test_a_constant_reference() -> None:
    """A constant has bins below, at and above it: the same constant is OK, another one is found at once."""
    constant = FeatureProfile(path="[:]", kind="numeric", edges=(np.nextafter(5.0, 0), 5.0), counts=(0, M, 0))
    same, other = judge([constant] * 2, [counted([0, 400, 0]), counted([0, 0, 400])], Rule())
    assert same is not None and not same.significant
    assert other is not None and other.large


def test_unseen_categories_are_found() -> None:
    """A category that the reference does not have is a bin of its own."""
    feature = FeatureProfile(path="[:]", kind="categorical", categories=("a", "b"), tail=("c",), counts=(500, 400, 100))
    assert drift.bins_of(feature).tolist() == [500, 400, 100, 0]
    same, unseen = judge([feature] * 2, [counted([500, 400, 100, 0]), counted([400, 300, 100, 200])], Rule())
    assert same is not None and not same.significant
    assert unseen is not None and unseen.large


@pytest.mark.parametrize(
    ("nan", "before", "significant", "large"),
    [(1, 0, False, False), (8, 0, True, False), (30, 0, True, True), (30, 300, False, False), (2000, 0, True, True)],
)
def test_nan_is_judged_as_a_share(nan: int, before: int, significant: bool, large: bool) -> None:
    """One NaN in a thousand is chance; 0.8 % where there was none is a warning, 3 % drift, the same share neither."""
    feature = numeric([500] * BINS, nan=before)
    (verdict,) = judge([feature], [counted([50] * BINS, nan=nan)], Rule())
    assert verdict is not None
    assert (verdict.significant, verdict.large) == (significant, large)


def test_nothing_but_nan_is_drift() -> None:
    """A feature that turned into NaN is judged though no finite value is left; infinities count likewise."""
    watch = FeatureWatch(numeric([500] * BINS))
    for _ in range(3):
        close_all([watch], [counted([0] * BINS, nan=200, pos_inf=100, neg_inf=100)], Rule(), 0.0)
    assert watch.state == "DRIFT" and "NaN" in watch.why


def test_before_the_first_window_a_glance_judges_what_there_is() -> None:
    """A glance says OK or WARN from 15 values a bin on, DRIFT from three times as many; it changes nothing."""
    rng = np.random.default_rng(16)
    watch = FeatureWatch(numeric([500] * BINS))
    far = np.array([2] * (BINS // 2) + [98] * (BINS // 2))

    def look(window: Any) -> str:
        return glance([watch], [counted(window)], Rule())[0][0]

    assert look(uniform(rng, 299)) == "INSUFFICIENT"
    assert look(uniform(rng, 5000)) == "OK"
    assert look(far // 2) == "WARN"
    assert look(far) == "DRIFT"
    assert (watch.state, watch.waiting.n, len(watch.history)) == ("INSUFFICIENT", 0, 0)
    close_all([watch], [counted(uniform(rng, 1000))], Rule(), 0.0)
    assert look(far) == "OK"  # from now on windows decide


def test_ten_thousand_features_in_one_window() -> None:
    """10 000 features are judged as tables: the one that drifted is found, none of the others is drift."""
    rng = np.random.default_rng(17)
    counts = rng.multinomial(M, [1 / BINS] * BINS, size=10_000)
    windows = rng.multinomial(400, [1 / BINS] * BINS, size=10_000)
    windows[4321] = [2] * (BINS // 2) + [38] * (BINS // 2)
    found = judge([numeric(row) for row in counts], [counted(row) for row in windows], Rule(features=10_000))
    assert [i for i, verdict in enumerate(found) if verdict is not None and verdict.large] == [4321]


def test_the_worst_state_is_the_models() -> None:
    """One drifted feature makes the model DRIFT; what cannot be judged counts only when nothing can."""
    assert drift.worst(["OK", "DRIFT", "WARN"]) == "DRIFT"
    assert drift.worst(["OK", "INSUFFICIENT"]) == "OK"
    assert drift.worst(["INSUFFICIENT"]) == drift.worst([]) == "INSUFFICIENT"


def test_moments_merge_as_numpy_computes_them() -> None:
    """Moments of two parts make those of the whole; nothing added changes nothing."""
    rng = np.random.default_rng(18)
    parts = [rng.normal(1e6, 1, size) for size in (5, 900)]
    made = [Moments(n=len(x), mean=x.mean(), m2=((x - x.mean()) ** 2).sum(), min=x.min(), max=x.max()) for x in parts]
    whole = np.concatenate(parts)
    merged = made[0].merged(made[1])
    assert (merged.n, merged.min, merged.max) == (905, whole.min(), whole.max())
    np.testing.assert_allclose([merged.mean, merged.std], [whole.mean(), whole.std(ddof=1)], rtol=1e-12)
    assert made[0].merged(Moments()) == made[0] == Moments().merged(made[0])


def test_estimated_accuracy_is_the_share_above_the_threshold() -> None:
    """Average thresholded confidence is a share; of no answers there is none."""
    assert drift.estimated_accuracy(20, 100) == 0.8
    assert drift.estimated_accuracy(0, 0) is None


def test_counts_add() -> None:
    """Two windows together have the counts of both, those of NaN and infinities too."""
    both = counted([1, 2], nan=1, pos_inf=2) + counted([3, 4], neg_inf=5)
    assert dataclasses.astuple(dataclasses.replace(both, bins=both.bins.tolist()))[:4] == ([4, 6], 1, 2, 5)
    assert (both.n, both.nonfinite) == (10, 8)
