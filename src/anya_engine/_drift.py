# SPDX-License-Identifier: Apache-2.0
"""Whether a feature has drifted: functions of counts, a rule, and a time that is passed in.

Why not "PSI above 0.1": two samples of one distribution differ by about (B - 1)(1/n + 1/m), so 100 values in 20 bins
pass 0.1 by chance nearly always, and a shift of 0.3 standard deviations in 1 000 values stays below it more often than
not. Without drift PSI / (1/n + 1/m) has about the distribution of chi-squared with B - 1 degrees of freedom (Yurdakul
2018); the threshold is its quantile, at alpha over the number of features. A difference that is real but small, or not
there for long, is a warning.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ._distributions import chi2_quantile, hypergeometric_tail
from ._divergence import psi
from .drift import DriftWindow, State
from .profile import FeatureProfile, Moments

__all__ = [
    "Counts",
    "FeatureWatch",
    "Rule",
    "Verdict",
    "bins_of",
    "close_all",
    "estimated_accuracy",
    "glance",
    "judge",
    "needed",
    "worst",
]

Array: TypeAlias = np.ndarray[Any, Any]

#: Values for each bin without which nothing is said.
PER_BIN = 15
#: Windows after which too few values are too old to wait for more.
MOST_PARTS = 12
#: Windows that are remembered: a day of five minutes each.
REMEMBERED = 288
#: A rise of the share of NaN and infinities by less than this is small.
NONFINITE_FLOOR = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What counts as drift; see `DriftConfig`. `features`: how many are judged, which `alpha` is divided by."""

    alpha: float = 0.01
    psi_floor: float = 0.1
    consecutive: int = 3
    features: int = 1

    @property
    def tail(self) -> float:
        """Chance of a false alarm of one feature in one window."""
        return self.alpha / max(1, self.features)


@dataclasses.dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of one feature; sums of two are those of both."""

    bins: Array
    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0
    moments: Moments = dataclasses.field(default_factory=Moments)

    @property
    def n(self) -> int:
        """Finite values."""
        return int(self.bins.sum())

    @property
    def nonfinite(self) -> int:
        """NaN and infinities."""
        return self.nan + self.pos_inf + self.neg_inf

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.bins + other.bins,
            self.nan + other.nan,
            self.pos_inf + other.pos_inf,
            self.neg_inf + other.neg_inf,
            self.moments.merged(other.moments),
        )


def bins_of(feature: FeatureProfile) -> Array:
    """The reference's counts as live ones are made: categories end with a bin for what the reference does not have."""
    unseen = (0,) if feature.kind == "categorical" else ()
    return np.array(feature.counts + unseen, np.int64)


def needed(feature: FeatureProfile) -> int:
    """Values that a window must have."""
    return PER_BIN * len(bins_of(feature))


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """One window of one feature; PSI is NaN where only NaN could be judged. `large`: certain and not small."""

    psi: float
    threshold: float
    n: int
    significant: bool
    large: bool
    why: str


def judge(features: Sequence[FeatureProfile], windows: Sequence[Counts], rule: Rule) -> list[Verdict | None]:
    """Judge one window of each feature; None where it has too few values, or the reference has none."""
    verdicts: list[Verdict | None] = [None] * len(features)
    by_size: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        if features[i].n and window.n >= needed(features[i]):
            by_size.setdefault(len(window.bins), []).append(i)
        elif features[i].n and window.n + window.nonfinite >= needed(features[i]):
            odd = _with_nonfinite(Verdict(math.nan, math.nan, window.n, False, False, ""), features[i], window, rule)
            verdicts[i] = odd if odd.significant else None
    for size, members in by_size.items():  # thousands of features are a few operations on tables
        reference = np.stack([bins_of(features[i]) for i in members])
        current = np.stack([windows[i].bins for i in members])
        values = psi(reference, current)
        noise = 1 / reference.sum(axis=-1) + 1 / current.sum(axis=-1)
        thresholds = noise * chi2_quantile(rule.tail, size - 1)
        for i, value, threshold in zip(members, values.tolist(), thresholds.tolist(), strict=True):
            significant = value >= threshold
            large = value >= max(rule.psi_floor, threshold)
            why = f"PSI {value:.3g} is {'above' if significant else 'within'} {threshold:.3g}"
            if significant and not large:
                why += f", but below {rule.psi_floor:g}"
            verdict = Verdict(value, threshold, windows[i].n, significant, large, why)
            verdicts[i] = _with_nonfinite(verdict, features[i], windows[i], rule)
    return verdicts


def _with_nonfinite(verdict: Verdict, feature: FeatureProfile, window: Counts, rule: Rule) -> Verdict:
    """Whether there are more NaN and infinities than in the reference, too."""
    if not window.nonfinite:
        return verdict
    draws, everything = window.n + window.nonfinite, window.n + window.nonfinite + feature.n + feature.nonfinite
    chance = hypergeometric_tail(window.nonfinite, draws, window.nonfinite + feature.nonfinite, everything)
    if chance >= rule.tail:
        return verdict
    share, before = window.nonfinite / draws, feature.nonfinite / (feature.n + feature.nonfinite)
    why = f"{share:.2%} NaN or infinite, where the reference has {before:.2%}"
    large = verdict.large or share - before >= NONFINITE_FLOOR
    return dataclasses.replace(verdict, significant=True, large=large, why=f"{why}; {verdict.why}".removesuffix("; "))


class FeatureWatch:
    """What is known of one feature: what has been counted and not judged, and what was judged.

    Changes by `close` alone. Not thread-safe.

    Attributes:
        feature: The reference.
        state: The state.
        why: Its reason.
        waiting: Counted since the last window that was judged.
        last: The last window that was judged.
        history: The last of them.
    """

    def __init__(self, feature: FeatureProfile) -> None:
        self.feature = feature
        self._nothing = Counts(np.zeros_like(bins_of(feature)))
        self.state: State = "INSUFFICIENT"
        self.why = "nothing has been counted yet" if feature.n else "the reference has no values of it"
        self.waiting = self._nothing
        self.last: Counts | None = None
        self.history: deque[DriftWindow] = deque(maxlen=REMEMBERED)
        self._parts = 0
        self._run = 0

    def count(self, window: Counts) -> None:
        """Add what was counted in a window; too little is kept for the next one, for a while."""
        self.waiting += window
        self._parts += 1

    def close(self, verdict: Verdict | None, rule: Rule, time: float) -> None:
        """Take the verdict on what waits; None: it is too little."""
        if verdict is None:
            if self._parts >= MOST_PARTS and self.feature.n:
                self.why = f"{self.waiting.n} values in {self._parts} windows, {needed(self.feature)} are needed"
                self.state = "INSUFFICIENT"
                self.waiting, self._parts, self._run = self._nothing, 0, 0
            return
        self._run = self._run + 1 if verdict.large else 0
        self.state = "DRIFT" if self._run >= rule.consecutive else "WARN" if verdict.significant else "OK"
        times = f", for {self._run} windows in a row" if self._run > 1 else ""
        self.why = verdict.why + times
        self.history.append(
            DriftWindow(time=time, n=verdict.n, statistic=verdict.psi, threshold=verdict.threshold, state=self.state)
        )
        self.last, self.waiting, self._parts = self.waiting, self._nothing, 0


def close_all(watches: Sequence[FeatureWatch], windows: Sequence[Counts], rule: Rule, time: float) -> None:
    """The end of a window for all features of a model."""
    for watch, window in zip(watches, windows, strict=True):
        watch.count(window)
    verdicts = judge([watch.feature for watch in watches], [watch.waiting for watch in watches], rule)
    for watch, verdict in zip(watches, verdicts, strict=True):
        watch.close(verdict, rule, time)


def glance(
    watches: Sequence[FeatureWatch], windows: Sequence[Counts], rule: Rule
) -> list[tuple[State, str, Counts, Verdict | None]]:
    """How things stand in the middle of a window: state, why, what was compared and its verdict. Changes nothing.

    That is the last window's verdict. Before any window has been judged, what was counted so far is judged as one:
    DRIFT then takes as many values as `consecutive` windows need, and beyond what chance does in all of them.
    """
    waiting = [watch.waiting + window for watch, window in zip(watches, windows, strict=True)]
    shown = [watch.last if watch.last is not None else counts for watch, counts in zip(watches, waiting, strict=True)]
    features = [watch.feature for watch in watches]
    strict = dataclasses.replace(rule, alpha=rule.tail**rule.consecutive, features=1)
    found: list[tuple[State, str, Counts, Verdict | None]] = []
    verdicts, certain = judge(features, shown, rule), judge(features, shown, strict)
    for watch, counts, verdict, sure in zip(watches, shown, verdicts, certain, strict=True):
        state, why = watch.state, watch.why
        if watch.last is None and verdict is not None:
            enough = counts.n + counts.nonfinite >= rule.consecutive * needed(watch.feature)
            is_drift = enough and sure is not None and sure.large
            state = "DRIFT" if is_drift else "WARN" if verdict.significant else "OK"
            why = verdict.why
        elif watch.last is None and watch.feature.n and counts.n:
            why = f"{counts.n} values so far, {needed(watch.feature)} are needed"
        found.append((state, why, counts, verdict))
    return found


def worst(states: Sequence[State]) -> State:
    """The state of all together; what could not be judged counts only where nothing could."""
    order: tuple[State, ...] = ("DRIFT", "WARN", "OK")
    return next((state for state in order if state in states), "INSUFFICIENT")


def estimated_accuracy(below: int, n: int) -> float | None:
    """Average thresholded confidence: the share of answers that are no less confident than the threshold."""
    return None if n == 0 else 1 - below / n
