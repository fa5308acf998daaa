# SPDX-License-Identifier: Apache-2.0
"""What a scrape says: the core's table of what requests counted, and what Python knows beside it.

Everything that shows metrics shows these families: the collector, the text, the command line. A source is a function
that gives families; one that fails takes nobody else with it, and `anya_metrics_source_up` says so.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from ._core import MetricFamily, metric_families, metrics_text
from ._metrics_drift import drift_families
from ._shared_counts import SharedCounts, totals_in
from ._system import Gpus, host_families, nvml

if TYPE_CHECKING:
    from . import _core
    from ._deployments import Deployments
    from ._info import ModelInfo
    from ._model_table import ModelTable
    from ._tracing import Tracing

__all__ = ["Metrics", "Source", "all_metrics", "metrics_of", "text_of"]

_log = logging.getLogger("anya_engine")

Source: TypeAlias = "Callable[[], Iterable[MetricFamily]]"

#: What `anya_canary_state` says.
STATES = ("idle", "progressing", "paused", "promoted", "rolled_back")
#: The state that a move of a rollout leads to.
LEADS_TO = {
    "start": "progressing",
    "advance": "progressing",
    "resume": "progressing",
    "pause": "paused",
    "switch": "promoted",
    "promote": "promoted",
    "rollback": "rolled_back",
}
#: Seconds that a scrape waits for a rollout that is being changed; then it goes on without.
PATIENCE = 0.25


class Metrics:
    """Everything that a scrape of one engine says. Thread-safe; costs requests nothing."""

    def __init__(self, core: _core.Engine, sources: Mapping[str, Source], folder: str | None = None) -> None:
        self.core = core
        self.folder = folder  # where several processes count
        self._sources = dict(sources)
        self._down: dict[str, str] = {}  # what was last logged of a source that failed
        _everybody.add(self)

    def families(self) -> list[MetricFamily]:
        """Every family, of one snapshot of each version's counters."""
        if self.folder is not None:
            return [*metric_families([], totals_in(self.folder)), *self.more()]
        return [*metric_families([self.core]), *self.more()]

    def text(self, *, openmetrics: bool = False) -> bytes:
        """The same as text, written by the core."""
        return text_of([self], openmetrics)

    def more(self) -> list[MetricFamily]:
        """The families that are not the core's."""
        found: list[MetricFamily] = []
        up = MetricFamily("anya_metrics_source_up", "gauge", "Whether a source of metrics could be asked.", ["source"])
        for name, source in self._sources.items():
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
            # A handler that does not return must not keep the scrape, which is how one would find out.
            said = ("metrics source=%s is missing: %s", name, why)
            threading.Thread(target=_log.warning, args=said, name="anya-log", daemon=True).start()


# Of the engines that live in this process: what `start_metrics_server` serves when it is not told whose. Nothing else
# looks here, and nobody lives longer for being here.
_everybody: weakref.WeakSet[Metrics] = weakref.WeakSet()


def text_of(metrics: list[Metrics], openmetrics: bool, more: Iterable[MetricFamily] = ()) -> bytes:
    """The metrics of several engines as one text; those that count in one folder are that folder's."""
    cores = [each.core for each in metrics if each.folder is None]
    folders = dict.fromkeys(each.folder for each in metrics if each.folder is not None)
    stats = [each for folder in folders for each in totals_in(folder)]
    return metrics_text(cores, stats, [*(each.more() for each in metrics), list(more)], openmetrics)


def all_metrics() -> list[Metrics]:
    """The metrics of every engine that is in use in this process."""
    return [each for each in list(_everybody) if each.core.is_owner_process]


def version_families(table: ModelTable) -> Iterable[MetricFamily]:
    """What each loaded version is, and since when; what this package is."""
    info = MetricFamily(
        "anya_model_info",
        "gauge",
        "1 for each loaded version: SHA-256 of what was parsed, key that signed it, what it was held against.",
        ["model", "version", "sha256", "signer", "quantization", "trust"],
    )
    loaded_at = MetricFamily(
        "anya_model_loaded_timestamp_seconds", "gauge", "When a version was loaded, Unix time.", ["model", "version"]
    )
    each: ModelInfo
    for each in table.infos():
        labels = [each.name, each.version]
        info.add([*labels, each.digest, each.signer or "", each.quantization, each.trust], 1)
    for model, when in list(table.loaded_at.items()):
        if table.loaded.get((model.name, model.version)) is model:
            loaded_at.add([model.name, model.version], when)
    return info, loaded_at


def rollout_families(deployments: Deployments) -> Iterable[MetricFamily]:
    """Where every model's change of version stands."""
    weight = MetricFamily(
        "anya_canary_weight_ratio", "gauge", "Share of the keys that a version answers.", ["model", "version"]
    )
    evidence = MetricFamily(
        "anya_canary_log_evalue",
        "gauge",
        "Logarithm of the evidence against the new version, by metric; log(1 / alpha) rolls it back.",
        ["model", "version", "metric"],
    )
    state = MetricFamily("anya_canary_state", "gauge", f"{_counted(STATES)}.", ["model", "version"])
    moves = MetricFamily(
        "anya_rollout_transitions",
        "counter",
        "Moves of rollouts that this process made or followed, by the state they led to.",
        ["model", "version", "to", "reason"],
    )
    statuses, made = deployments.overview(PATIENCE)
    for status in statuses:
        state.add([status.name, status.candidate or status.stable], STATES.index(status.state))
        for version, share in status.weights.items():
            weight.add([status.name, version], share / 100)
        for metric, found in status.evidence.items():
            evidence.add([status.name, status.candidate or "", metric], math.log(max(found.against, 1e-300)))
    for (name, version, move), count in made.items():
        moves.add([name, version, LEADS_TO.get(move, move), move], count)
    return weight, evidence, state, moves


def resilience_families(table: ModelTable) -> Iterable[MetricFamily]:
    """What was done about failures; the state of a breaker is the core's."""
    attempts = MetricFamily(
        "anya_attempts",
        "counter",
        "Attempts by number and result; first ones only where they failed. fallback: another answer ended them.",
        ["model", "version", "attempt", "result"],
    )
    fallbacks = MetricFamily(
        "anya_fallbacks",
        "counter",
        "Links of a fallback chain that were asked.",
        ["model", "version", "to", "reason"],
    )
    tokens = MetricFamily("anya_retry_budget_tokens", "gauge", "Retries in hand.", ["model", "version"])
    for each in table.recoveries.stats():
        labels = [each.name, each.version]
        for (number, result), count in each.attempts.items():
            attempts.add([*labels, str(number), result], count)
        for (to, reason), count in each.fallbacks.items():
            fallbacks.add([*labels, to, reason], count)
        if each.budget_tokens is not None:
            tokens.add(labels, each.budget_tokens)
    return attempts, fallbacks, tokens


def build_families(runtime_version: str) -> Iterable[MetricFamily]:
    """What runs here."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("anya-engine")
    except PackageNotFoundError:  # imported from where it is not installed
        ours = ""
    labels = ["version", "onnxruntime"]
    build = MetricFamily("anya_build_info", "gauge", "1: versions of the package and of ONNX Runtime.", labels)
    build.add([ours, runtime_version], 1)
    return (build,)


def trace_families(tracing: Tracing | None) -> Iterable[MetricFamily]:
    """Whether spans are made, and what was lost on the way."""
    dropped = MetricFamily("anya_trace_events_dropped", "counter", "Traced requests without spans: too many at once.")
    failed = MetricFamily("anya_trace_failures", "counter", "Times that the making of spans failed.")
    dropped.add([], 0 if tracing is None else tracing.dropped)
    failed.add([], 0 if tracing is None else tracing.failures)
    return dropped, failed


def metrics_of(
    core: _core.Engine,
    table: ModelTable,
    deployments: Deployments,
    tracing: Tracing | None = None,
    counts: SharedCounts | None = None,
) -> Metrics:
    """The metrics of an engine. Holds nothing of it but its core."""
    tables, rollouts = weakref.ref(table), weakref.ref(deployments)

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
        "traces": lambda: trace_families(tracing),
        "psutil": host_families,
        "nvml": Gpus(nvml).families,
    }
    return Metrics(core, sources, None if counts is None else counts.folder)


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{number}: {word}" for number, word in enumerate(words))
