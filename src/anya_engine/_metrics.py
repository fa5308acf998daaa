# SPDX-License-Identifier: Apache-2.0
"""What a scrape says: the core's table of what requests counted, and what Python knows beside it.

Everything that shows metrics shows these families: the collector, the text, the command line. A source is a function
that gives families; one that fails takes nobody else with it, and `anya_metrics_source_up` says so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ._core import MetricFamily, families_beside_counters, merge_families, metric_families, metrics_text
from ._log import Log
from ._metrics_drift import drift_families
from ._metrics_sources import (
    LogRecords,
    build_families,
    resilience_families,
    rollout_families,
    trace_families,
    trust_families,
    version_families,
)
from ._shared_counts import SharedCounts
from ._shared_families import SharedFamilies, families_of
from ._system import Gpus, host_families, nvml

if TYPE_CHECKING:
    from . import _core
    from ._deployments import Deployments
    from ._model_table import ModelTable
    from ._tracing import Tracing

__all__ = ["Metrics", "Source", "all_metrics", "metrics_of", "text_of"]

_log = Log("anya_engine")

Source: TypeAlias = "Callable[[], Iterable[MetricFamily]]"


class Metrics:
    """Everything that a scrape of one engine says. Thread-safe; costs requests nothing.

    Attributes:
        core: Its counters.
        shared: Where several processes are scraped as one: what they read of this one.
    """

    def __init__(
        self, core: _core.Engine, sources: Mapping[str, Source], local: Mapping[str, Source], folder: str | None
    ) -> None:
        """`local`: sources that say of every process of this machine the same. `folder`: where several count."""
        self.core = core
        self.folder = folder
        self._sources, self._local = dict(sources), dict(local)
        self._down: dict[str, str] = {}  # what was last logged of a source that failed
        self.shared = None if folder is None else SharedFamilies(folder, self._of_this_process)
        _everybody.add(self)

    def families(self) -> list[MetricFamily]:
        """Every family, of one snapshot of each version's counters."""
        if self.shared is None:
            return [*metric_families([self.core]), *self.more()]
        self.shared.tick()
        return merge_families([self.more(self.folder)])

    def text(self, *, openmetrics: bool = False) -> bytes:
        """The same as text, written by the core."""
        return text_of([self], openmetrics)

    def more(self, folder: str | None = None) -> list[MetricFamily]:
        """The families that are not the core's; with a folder, all that its processes show."""
        if self.shared is None:
            return self._ask({**self._sources, **self._local})
        local = dict(self._local)
        if folder is not None:
            local = {"metrics_directory": lambda: families_of(folder), **local}
        return [*self._ask(local), *(each for each in families_beside_counters(self.core) if each.kind == "histogram")]

    def _of_this_process(self) -> list[MetricFamily]:
        return [*families_beside_counters(self.core), *self._ask(self._sources)]

    def _ask(self, sources: Mapping[str, Source]) -> list[MetricFamily]:
        found: list[MetricFamily] = []
        up = MetricFamily(
            "anya_metrics_source_up", "gauge", "Whether a source of metrics could be asked.", ["source"], "min"
        )
        for name, source in sources.items():
            try:
                found.extend(source())
            except Exception as error:  # noqa: BLE001  # whatever it is, the other metrics are there
                up.add([name], 0)
                self._say(name, f"{type(error).__name__}: {error}")
            else:
                up.add([name], 1)
                self._down.pop(name, None)
        return [*found, up]

    def _say(self, name: str, why: str) -> None:
        if self._down.get(name) != why:
            self._down[name] = why
            _log.warning("metrics source=%s is missing: %s", name, why)


# Of the engines that live in this process: what `start_metrics_server` serves when it is not told whose. Nothing else
# looks here, and nobody lives longer for being here.
_everybody: weakref.WeakSet[Metrics] = weakref.WeakSet()


def text_of(metrics: list[Metrics], openmetrics: bool, more: Iterable[MetricFamily] = ()) -> bytes:
    """The metrics of several engines as one text; those that count in one folder are that folder's."""
    for each in metrics:
        if each.shared is not None:
            each.shared.tick()  # all of them, before a folder is read
    parts, seen = [], set()
    for each in metrics:
        parts.append(each.more(None if each.folder in seen else each.folder))
        seen.add(each.folder)
    return metrics_text([each.core for each in metrics if each.folder is None], [*parts, list(more)], openmetrics)


def all_metrics() -> list[Metrics]:
    """The metrics of every engine that is in use in this process."""
    return [each for each in list(_everybody) if each.core.is_owner_process]


def metrics_of(
    core: _core.Engine,
    table: ModelTable,
    deployments: Deployments,
    tracing: Tracing | None = None,
    counts: SharedCounts | None = None,
) -> Metrics:
    """The metrics of an engine. Holds nothing of it but its core."""
    tables, rollouts, policies = weakref.ref(table), weakref.ref(deployments), table.policies

    def versions() -> Iterable[MetricFamily]:
        return () if (found := tables()) is None else version_families(found)

    def drift() -> Iterable[MetricFamily]:
        return () if (found := tables()) is None else drift_families(found.watched())

    def resilience() -> Iterable[MetricFamily]:
        return () if (found := tables()) is None else resilience_families(found)

    def changes() -> Iterable[MetricFamily]:
        return () if (found := rollouts()) is None else rollout_families(found)

    sources: dict[str, Source] = {
        "build": lambda: build_families(core.runtime_version),
        "versions": versions,
        "rollouts": changes,
        "drift": drift,
        "resilience": resilience,
        "trust": lambda: trust_families(policies),
        "traces": lambda: trace_families(tracing),
        "log": LogRecords().families,
    }
    local: dict[str, Source] = {"psutil": host_families, "nvml": Gpus(nvml).families}
    return Metrics(core, sources, local, None if counts is None else counts.folder)
