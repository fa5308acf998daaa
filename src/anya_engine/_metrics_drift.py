# SPDX-License-Identifier: Apache-2.0
"""What is known of drift, as families of metrics."""

from __future__ import annotations

from collections.abc import Iterable

from ._core import MetricFamily
from ._drift_watch import WatchedModel

__all__ = ["drift_families"]

_MODEL = ["model", "version"]
_FEATURE = [*_MODEL, "tensor", "feature"]
#: "INSUFFICIENT" is below "OK", so that an alert on `> 1` is one on drift.
_STATES = {"INSUFFICIENT": -1, "OK": 0, "WARN": 1, "DRIFT": 2}
#: Fields of a FeatureDrift, and what they are called.
_NUMBERS = {
    "statistic": ("anya_drift_psi", "Population stability index against the reference."),
    "threshold": ("anya_drift_psi_threshold", "What it stays below by chance."),
    "js_distance": ("anya_drift_js_distance", "Jensen-Shannon distance to base 2."),
    "ks_distance": ("anya_drift_ks_distance", "Kolmogorov-Smirnov distance."),
    "n": ("anya_drift_samples", "Values that were compared."),
    "unseen": ("anya_unseen_category_ratio", "Share of values that the reference does not have."),
}


def drift_families(watched: list[WatchedModel]) -> Iterable[MetricFamily]:
    """Every family, for every version that is watched; those that are numbers of nothing yet are NaN."""
    gauges = {
        field: MetricFamily(name, "gauge", text, _FEATURE, "sum" if field == "n" else "max")
        for field, (name, text) in _NUMBERS.items()
    }
    state = MetricFamily(
        "anya_drift_state", "gauge", "-1 too few values, 0 as in the reference, 1 different, 2 drift.", _FEATURE, "max"
    )
    accuracy = MetricFamily(
        "anya_estimated_accuracy",
        "gauge",
        "Estimated without labels, from the model's confidence.",
        [*_MODEL, "method"],
        "min",
    )
    for model in watched:
        labels = [model.name, model.version]
        report = model.report()
        for feature in report.features:
            of_feature = [*labels, feature.tensor, feature.feature]
            state.add(of_feature, _STATES[feature.state])
            for field, family in gauges.items():
                if (value := getattr(feature, field)) is not None:
                    family.add(of_feature, value)
        if report.estimated_accuracy is not None:
            accuracy.add([*labels, "atc"], report.estimated_accuracy)
    return *gauges.values(), state, accuracy
