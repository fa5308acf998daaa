# SPDX-License-Identifier: Apache-2.0
"""The engine's counters as a prometheus_client collector; the only module that imports prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ._core import CacheStats, HistogramSnapshot
from ._drift_watch import WatchedModel
from ._info import EngineStats, ModelInfo
from ._prometheus_drift import drift_families

__all__ = ["EngineCollector"]

_LABELS = ["model", "version"]

# Codes that are no "error" in `outcome`; every other failure is.
_OUTCOMES = {"OK": "ok", "DEADLINE_EXCEEDED": "timeout", "OVERLOADED": "shed", "CANCELLED": "cancelled"}
_ALL_OUTCOMES = ("ok", "error", "timeout", "shed", "cancelled")

_CIRCUIT_STATES = ("closed", "half_open", "open")

# What a request can end with or be refused with; those that have not happened yet show as 0.
_ERROR_TYPES = (
    "INVALID_INPUT",
    "INPUT_TOO_LARGE",
    "OVERLOADED",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "UNAVAILABLE",
    "EXECUTION_ERROR",
    "MODEL_OUTPUT_INVALID",
    "OUT_OF_MEMORY",
)


class EngineCollector(Collector):
    """Reads one snapshot of the engine per scrape. Thread-safe; costs requests nothing."""

    def __init__(
        self,
        stats: Callable[[], EngineStats],
        models: Callable[[], list[ModelInfo]],
        watched: Callable[[], list[WatchedModel]],
    ) -> None:
        self._stats = stats
        self._models = models
        self._watched = watched

    def describe(self) -> list[Metric]:
        """Nothing: registering must not take a snapshot."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, for every loaded version."""
        requests = CounterMetricFamily(
            "anya_requests", "Accepted requests that have ended, by outcome.", labels=[*_LABELS, "outcome", "role"]
        )
        errors = CounterMetricFamily(
            "anya_request_errors",
            "Requests that failed or were refused at the door, by code.",
            labels=[*_LABELS, "type"],
        )
        depth = GaugeMetricFamily("anya_queue_depth", "Requests waiting now.", labels=_LABELS)
        in_flight = GaugeMetricFamily("anya_inflight_requests", "Requests accepted and not ended.", labels=_LABELS)
        workers = GaugeMetricFamily("anya_workers", "Instances of the model.", labels=_LABELS)
        nonfinite = CounterMetricFamily(
            "anya_nonfinite_values",
            "NaN and infinities met in inputs and outputs that have rules; the first one of each that was refused.",
            labels=[*_LABELS, "tensor"],
        )
        sanitized = CounterMetricFamily(
            "anya_sanitized_values",
            "Values of inputs that rules have changed: clipped, replaced, normalised.",
            labels=[*_LABELS, "tensor"],
        )
        stuck = GaugeMetricFamily(
            "anya_stuck_runs", "Runs that were told to stop over a second ago and have not.", labels=_LABELS
        )
        terminated = CounterMetricFamily(
            "anya_terminated_runs", "Runs stopped because nobody waited for them any more.", labels=_LABELS
        )
        cache_requests = CounterMetricFamily(
            "anya_cache_requests",
            "Requests to models with a response cache, by what it did for them.",
            labels=[*_LABELS, "result"],
        )
        cache_bytes = GaugeMetricFamily("anya_cache_bytes", "Memory of the response cache.", labels=_LABELS)
        evictions = CounterMetricFamily(
            "anya_cache_evictions", "Answers that left the response cache, by cause.", labels=[*_LABELS, "cause"]
        )
        durations = {
            "request_duration": _seconds("anya_request_duration_seconds", "From acceptance to the outcome."),
            "queue_duration": _seconds("anya_queue_duration_seconds", "From acceptance to the start of the run."),
            "compute_duration": _seconds("anya_compute_duration_seconds", "The run, once per request in it."),
            "batch_size": HistogramMetricFamily("anya_batch_size", "Rows per run.", labels=_LABELS),
        }
        stats = self._stats()
        for model in stats.models:
            labels = [model.name, model.version]
            outcomes = dict.fromkeys(_ALL_OUTCOMES, 0)
            for code, count in model.ended.items():
                outcomes[_OUTCOMES.get(code, "error")] += count
            for outcome, count in outcomes.items():
                requests.add_metric([*labels, outcome, "stable"], count)
            for code in _ERROR_TYPES:
                errors.add_metric([*labels, code], model.ended[code] + model.refused[code])
            depth.add_metric(labels, model.queue_depth)
            in_flight.add_metric(labels, model.in_flight)
            workers.add_metric(labels, model.instances)
            for tensor in model.tensors:
                nonfinite.add_metric([*labels, tensor.name], tensor.nonfinite)
                sanitized.add_metric([*labels, tensor.name], tensor.sanitized)
            stuck.add_metric(labels, model.stuck_runs)
            terminated.add_metric(labels, model.terminated_runs)
            for result, count in _cache_results(model.cache).items():
                cache_requests.add_metric([*labels, result], count)
            cache_bytes.add_metric(labels, model.cache.bytes)
            for cause in ("capacity", "ttl", "invalidate"):
                evictions.add_metric([*labels, cause], getattr(model.cache, f"evicted_{cause}"))
            for field, family in durations.items():
                _add_histogram(family, labels, getattr(model, field))
        info = GaugeMetricFamily(
            "anya_model_info",
            "1 for each loaded version: digest of its bytes, key that signed them, what they were held against.",
            labels=[*_LABELS, "digest", "signer", "trust"],
        )
        for each in self._models():
            info.add_metric([each.name, each.version, each.digest, each.signer or "", each.trust], 1)
        yield info
        yield from (requests, errors, depth, in_flight, workers, nonfinite, sanitized, stuck, terminated)
        yield from (cache_requests, cache_bytes, evictions)
        yield from durations.values()
        yield from drift_families(self._watched())
        yield from _resilience(stats)


def _resilience(stats: EngineStats) -> Iterator[Metric]:
    """What was done about failures."""
    circuit = GaugeMetricFamily(
        "anya_circuit_state", "The circuit breaker: 0 closed, 1 half open, 2 open.", labels=_LABELS
    )
    attempts = CounterMetricFamily(
        "anya_attempts",
        "Attempts by number and result; first ones only where they failed. fallback: another answer ended them.",
        labels=[*_LABELS, "attempt", "result"],
    )
    fallbacks = CounterMetricFamily(
        "anya_fallbacks", "Links of a fallback chain that were asked.", labels=[*_LABELS, "to", "reason"]
    )
    tokens = GaugeMetricFamily("anya_retry_budget_tokens", "Retries in hand.", labels=_LABELS)
    for model in stats.models:
        if model.circuit is not None:
            circuit.add_metric([model.name, model.version], _CIRCUIT_STATES.index(model.circuit.state))
    for each in stats.resilience:
        labels = [each.name, each.version]
        for (number, result), count in each.attempts.items():
            attempts.add_metric([*labels, str(number), result], count)
        for (to, reason), count in each.fallbacks.items():
            fallbacks.add_metric([*labels, to, reason], count)
        if each.budget_tokens is not None:
            tokens.add_metric(labels, each.budget_tokens)
    return iter((circuit, attempts, fallbacks, tokens))


def _cache_results(cache: CacheStats) -> dict[str, int]:
    # What was answered by an equal request's run, or in place of an error, had missed before: one result each.
    return {
        "hit": cache.hits,
        "miss": max(0, cache.misses - cache.coalesced - cache.stale_on_error),
        "stale": cache.stale + cache.stale_on_error,
        "coalesced": cache.coalesced,
    }


def _seconds(name: str, documentation: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, documentation, labels=_LABELS)


def _add_histogram(family: HistogramMetricFamily, labels: list[str], snapshot: HistogramSnapshot) -> None:
    bounds = [*(str(floatToGoString(edge)) for edge in snapshot.edges), "+Inf"]  # type: ignore[no-untyped-call]
    # The total is the last cumulative bucket of the same snapshot, so `le="+Inf"` and `_count` always agree.
    buckets = list(zip(bounds, accumulate(snapshot.counts), strict=True))
    family.add_metric(labels, buckets=buckets, sum_value=snapshot.sum)
