# SPDX-License-Identifier: Apache-2.0
"""The engine's metrics as a prometheus_client collector; the only module that imports prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from ._core import HistogramSnapshot, MetricFamily

__all__ = ["EngineCollector"]


class EngineCollector(Collector):
    """Reads one snapshot of the engine per scrape. Thread-safe; costs requests nothing.

    Names, meanings and numbers are of the table that the text is written from, too (`metric_families`).
    """

    def __init__(self, families: Callable[[], list[MetricFamily]]) -> None:
        self._families = families

    def describe(self) -> list[Metric]:
        """Nothing: registering must not take a snapshot."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, for every loaded version."""
        for family in self._families():
            yield _histogram(family) if family.kind == "histogram" else _plain(family)


def _plain(family: MetricFamily) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.label_names)
    for labels, value in family.samples:
        metric.add_metric(labels, value)
    return metric


def _histogram(family: MetricFamily) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    for labels, snapshot in family.histograms:
        metric.add_metric(labels, buckets=_buckets(snapshot), sum_value=snapshot.sum)
    return metric


def _buckets(snapshot: HistogramSnapshot) -> list[Any]:
    bounds = [*(str(floatToGoString(edge)) for edge in snapshot.edges), "+Inf"]  # type: ignore[no-untyped-call]
    # The total is the last cumulative bucket of the same snapshot, so `le="+Inf"` and `_count` always agree.
    buckets: list[Any] = list(zip(bounds, accumulate(snapshot.counts), strict=True))
    for each in reversed(snapshot.exemplars):  # the first of a bucket is the one that stays, as in the text
        exemplar = Exemplar({"trace_id": each.trace_id}, each.value)
        buckets[each.bucket] = (*buckets[each.bucket][:2], exemplar)
    return buckets
