# SPDX-License-Identifier: Apache-2.0
"""Drift: how a model is watched, and what is told of it."""

from __future__ import annotations

import dataclasses
from os import PathLike
from typing import Any, Literal, TypeAlias

from . import _checks as check
from ._tables import FromTable

__all__ = ["DriftConfig", "DriftReport", "DriftWindow", "FeatureDrift"]

#: "OK": as in the reference, as far as can be told. "WARN": different beyond chance, but little or not for long.
#: "DRIFT": different beyond chance, by more than `psi_floor`, in several windows in a row. "INSUFFICIENT": too few
#: values to tell.
State: TypeAlias = Literal["OK", "WARN", "DRIFT", "INSUFFICIENT"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriftConfig(FromTable):
    """How a model's inputs and outputs are compared with a reference while it answers.

    Attributes:
        reference: A profile (`anya-engine profile` makes one); None: the profile.json of the model's directory, or what
            `Engine.capture_reference` collects.
        enabled: False: not even a profile.json turns the watching on.
        sample_rate: Share of the requests whose inputs are looked at; None: as many as `budget` allows. Which ones
            follows from their numbers, so that the same requests give the same sample. Outputs are all looked at.
        budget: Share of the computing time that looking may take. Outputs are looked at whatever it takes; inputs get
            what that leaves, a tenth of the budget at least.
        window: Seconds after which what was counted is judged, if it is enough.
        window_rows: Rows after which it is judged sooner.
        consecutive: Windows in a row that must differ before the state is "DRIFT".
        alpha: Chance of a false alarm per window, of all features together.
        psi_floor: Differences below this are "WARN" however certain they are.
    """

    reference: str | PathLike[str] | None = None
    enabled: bool = True
    sample_rate: float | None = None
    budget: float = 0.01
    window: float = 300.0
    window_rows: int = 50_000
    consecutive: int = 3
    alpha: float = 0.01
    psi_floor: float = 0.1

    def __post_init__(self) -> None:
        if self.reference is not None:
            _set(self, "reference", check.path("reference", self.reference))
        check.boolean("enabled", self.enabled)
        if self.sample_rate is not None:
            _set(self, "sample_rate", check.number("sample_rate", self.sample_rate, 0.0, 1.0))
        _set(self, "budget", check.number("budget", self.budget, 0.0, 1.0))
        _set(self, "window", check.number("window", self.window, 0.001, 86_400.0))
        _set(self, "window_rows", check.integer("window_rows", self.window_rows, 1, 1 << 40))
        _set(self, "consecutive", check.integer("consecutive", self.consecutive, 1, 1000))
        _set(self, "alpha", check.number("alpha", self.alpha, 1e-12, 0.5))
        _set(self, "psi_floor", check.number("psi_floor", self.psi_floor, 0.0, 100.0))

    def anchored(self, folder: PathLike[str]) -> DriftConfig:
        """The same with a relative path below a folder."""
        reference = None if self.reference is None else check.below(folder, self.reference)
        return dataclasses.replace(self, reference=reference)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriftWindow:
    """One feature in one window that had enough values.

    Attributes:
        time: When it closed, in seconds since the epoch; of data from a file the number of its part.
        n: Finite values in it.
        statistic: PSI.
        threshold: What PSI stays below by chance.
        state: What the feature's state was from then on.
    """

    time: float
    n: int
    statistic: float
    threshold: float
    state: State


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """One feature: the reference against the last window that had enough values.

    Attributes:
        tensor: The input or output.
        role: "input" or "output".
        feature: Which number of it: "[:]" or "[:,3]" for a column, "@norm" and the like for what is made of a whole
            row.
        kind: "numeric" or "categorical".
        state: See `State`.
        why: The reason, in words.
        statistic: PSI (natural logarithm, Jeffreys' smoothing) over the reference's bins.
        threshold: What PSI stays below by chance, with this n: (1/n + 1/m) times the chi-squared quantile with one
            degree of freedom less than bins, at `alpha` over the number of features.
        n: Finite values that were compared.
        needed: As many are enough: 15 for each bin.
        reference_n: Values of the reference, m.
        js_distance: Jensen-Shannon distance to base 2.
        ks_distance: Of the cumulative shares at the edges; its p-value is on the safe side. NaN for categories.
        ks_pvalue: See `ks_distance`.
        wasserstein: Earth mover's distance in reference standard deviations; NaN for categories.
        chi2_pvalue: Of the test of homogeneity without Yates' correction; NaN where more than a fifth of the cells
            expect less than 5.
        l_infinity: Greatest difference of one bin's share.
        hellinger: Hellinger distance.
        unseen: Share of values that the reference does not have; None for numbers.
        nonfinite: Share of NaN and infinities.
        reference_nonfinite: Likewise, in the reference.
        mean: Mean, NaN for categories, like the next three.
        std: Standard deviation.
        reference_mean: Likewise, in the reference.
        reference_std: Likewise.
        edges: Where bins meet: bin k holds what is above edge k - 1 and at most edge k. Empty for categories.
        categories: What each bin holds; "(other)": rare ones of the reference, "(unseen)": none of the reference's.
        reference_counts: By bin.
        counts: By bin.
        history: The last windows, oldest first.
    """

    tensor: str
    role: Literal["input", "output"]
    feature: str
    kind: Literal["numeric", "categorical"]
    state: State
    why: str
    statistic: float
    threshold: float
    n: int
    needed: int
    reference_n: int
    js_distance: float
    ks_distance: float
    ks_pvalue: float
    wasserstein: float
    chi2_pvalue: float
    l_infinity: float
    hellinger: float
    unseen: float | None
    nonfinite: float
    reference_nonfinite: float
    mean: float
    std: float
    reference_mean: float
    reference_std: float
    # What one draws, not what one prints.
    edges: tuple[float, ...] = dataclasses.field(repr=False)
    categories: tuple[str, ...] = dataclasses.field(repr=False)
    reference_counts: tuple[int, ...] = dataclasses.field(repr=False)
    counts: tuple[int, ...] = dataclasses.field(repr=False)
    history: tuple[DriftWindow, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """Where a version's inputs and outputs stand against their reference.

    Attributes:
        name: The model.
        version: The version.
        state: The worst of the features' states; "INSUFFICIENT" only when none of them could be judged.
        why: The reason, in words.
        reference: Where the reference came from; "" when there is none.
        note: What is to be known of the reference, for example that it was made from another version, or how far the
            next one is that `Engine.capture_reference` makes; or "".
        rows: Rows that were answered since the watching began.
        sampled_rows: Rows whose inputs were looked at; `why` says so where they are fewer.
        estimated_accuracy: Share of answers that are right, estimated without labels from the model's confidence
            (average thresholded confidence); None where the reference has no labels. Blind to a change of what is
            right.
        reference_accuracy: The accuracy measured on the reference's labels; None where it has none.
        features: One entry per feature.
    """

    name: str
    version: str
    state: State
    why: str
    reference: str = ""
    note: str = ""
    rows: int = 0
    sampled_rows: int = 0
    estimated_accuracy: float | None = None
    reference_accuracy: float | None = None
    features: tuple[FeatureDrift, ...] = dataclasses.field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them: NaN becomes None."""
        return _plain(dataclasses.asdict(self))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _set(config: object, field: str, value: object) -> None:
    # The one way a frozen dataclass may normalise what it was given.
    object.__setattr__(config, field, value)
