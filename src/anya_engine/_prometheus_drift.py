# SPDX-License-Identifier: Apache-2.0
"""What is known of drift, as Prometheus families."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from ._drift_watch import WatchedModel

__all__ = ["drift_families"]

_MODEL = ["model", "version"]
_FEATURE = [*_MODEL, "tensor", "feature"]
#: "INSUFFICIENT" is below "OK", so that an alert on `> 1` is one on drift.
_STATES = {"INSUFFICIENT": -1, "OK": 0, "WARN": 1, "DRIFT": 2}


def drift_families(watched: list[WatchedModel]) -> Iterator[Metric]:
    """Every family, for every version that is watched; those that are numbers of nothing yet are NaN."""
    gauges = {
        "statistic": GaugeMetricFamily(
            "anya_drift_psi", "Population stability index against the reference.", labels=_FEATURE
        ),
        "threshold": GaugeMetricFamily("anya_drift_psi_threshold", "What it stays below by chance.", labels=_FEATURE),
        "js_distance": GaugeMetricFamily(
            "anya_drift_js_distance", "Jensen-Shannon distance to base 2.", labels=_FEATURE
        ),
        "ks_distance": GaugeMetricFamily("anya_drift_ks_distance", "Kolmogorov-Smirnov distance.", labels=_FEATURE),
        "n": GaugeMetricFamily("anya_drift_samples", "Values that were compared.", labels=_FEATURE),
        "unseen": GaugeMetricFamily(
            "anya_unseen_category_ratio", "Share of values that the reference does not have.", labels=_FEATURE
        ),
    }
    state = GaugeMetricFamily(
        "anya_drift_state", "-1 too few values, 0 as in the reference, 1 different, 2 drift.", labels=_FEATURE
    )
    accuracy = GaugeMetricFamily(
        "anya_estimated_accuracy", "Estimated without labels, from the model's confidence.", labels=[*_MODEL, "method"]
    )
    confidence = HistogramMetricFamily(
        "anya_prediction_confidence", "Greatest probability of an answer.", labels=_MODEL
    )
    entropy = HistogramMetricFamily("anya_prediction_entropy", "Entropy of an answer, in nats.", labels=_MODEL)
    classes = CounterMetricFamily("anya_predictions", "Answers by predicted class.", labels=[*_MODEL, "class"])
    for model in watched:
        labels = [model.name, model.version]
        report = model.report()
        for feature in report.features:
            of_feature = [*labels, feature.tensor, feature.feature]
            state.add_metric(of_feature, _STATES[feature.state])
            for field, family in gauges.items():
                if (value := getattr(feature, field)) is not None:
                    family.add_metric(of_feature, value)
        if report.estimated_accuracy is not None:
            accuracy.add_metric([*labels, "atc"], report.estimated_accuracy)
        for kind, histogram in (("confidence", confidence), ("entropy", entropy)):
            if (found := model.histogram(kind)) is not None:
                edges, counts = found
                bounds = [*(str(floatToGoString(edge)) for edge in edges), "+Inf"]  # type: ignore[no-untyped-call]
                buckets = list(zip(bounds, accumulate(counts.bins.tolist()), strict=True))
                total = counts.moments.mean * counts.moments.n
                histogram.add_metric(labels, buckets=buckets, sum_value=total)
        if (found := model.histogram("class")) is not None:
            names, counts = found
            named = dict(zip(map(str, names), counts.bins.tolist(), strict=False))
            named["other"] = int(counts.bins.sum()) - sum(named.values())
            for name, count in named.items():
                classes.add_metric([*labels, name], count)
    yield from gauges.values()
    yield from (state, accuracy, confidence, entropy, classes)
