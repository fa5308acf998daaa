# SPDX-License-Identifier: Apache-2.0
"""What Python knows beside the core's counters: versions, rollouts, failures, spans, log records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import _log as log_records
from ._core import MetricFamily

if TYPE_CHECKING:
    from ._deployments import Deployments
    from ._info import ModelInfo
    from ._model_table import ModelTable
    from ._tracing import Tracing
    from ._trust import Policies

__all__ = [
    "LogRecords",
    "build_families",
    "resilience_families",
    "rollout_families",
    "trace_families",
    "trust_families",
    "version_families",
]

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


def version_families(table: ModelTable) -> Iterable[MetricFamily]:
    """What each loaded version is, and since when; what this package is."""
    labels = ["model", "version", "sha256", "signer", "quantization", "trust"]
    info = MetricFamily(
        "anya_model_info",
        "gauge",
        "1 for each loaded version: SHA-256 of what was parsed, key that signed it, what it was held against.",
        labels,
        "max",
    )
    loaded_at = MetricFamily(
        "anya_model_loaded_timestamp_seconds",
        "gauge",
        "When a version was loaded, Unix time.",
        ["model", "version"],
        "max",
    )
    each: ModelInfo
    for each in table.infos():
        info.add([each.name, each.version, each.digest, each.signer or "", each.quantization, each.trust], 1)
    for model, when in list(table.loaded_at.items()):
        if table.loaded.get((model.name, model.version)) is model:
            loaded_at.add([model.name, model.version], when)
    return info, loaded_at


def rollout_families(deployments: Deployments) -> Iterable[MetricFamily]:
    """Where every model's change of version stands."""
    weight = MetricFamily(
        "anya_canary_weight_ratio", "gauge", "Share of the keys that a version answers.", ["model", "version"], "max"
    )
    evidence = MetricFamily(
        "anya_canary_log_evalue",
        "gauge",
        "Logarithm of the evidence against the new version, by metric; their mean (before the logarithm) is judged.",
        ["model", "version", "metric"],
        "max",
    )
    state = MetricFamily("anya_canary_state", "gauge", f"{_counted(STATES)}.", ["model", "version"], "max")
    moves = MetricFamily(
        "anya_rollout_transitions",
        "counter",
        "Moves of rollouts, by the state they led to; in a process group each is counted where it was made.",
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


def trust_families(policies: Policies) -> Iterable[MetricFamily]:
    """What was decided of where models come from."""
    verdicts = MetricFamily(
        "anya_trust_verdicts",
        "counter",
        "Versions that were held against signature and registry, at load and later, by what was found.",
        ["verdict"],
    )
    for verdict, count in dict(policies.verdicts).items():
        verdicts.add([verdict], count)
    return (verdicts,)


def build_families(runtime_version: str) -> Iterable[MetricFamily]:
    """What runs here."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("anya-engine")
    except PackageNotFoundError:  # imported from where it is not installed
        ours = ""
    labels = ["version", "onnxruntime"]
    build = MetricFamily("anya_build_info", "gauge", "1: versions of the package and of ONNX Runtime.", labels, "max")
    build.add([ours, runtime_version], 1)
    return (build,)


def trace_families(tracing: Tracing | None) -> Iterable[MetricFamily]:
    """Whether spans are made, and what was lost on the way."""
    dropped = MetricFamily("anya_trace_events_dropped", "counter", "Traced requests without spans: too many at once.")
    failed = MetricFamily("anya_trace_failures", "counter", "Times that the making of spans failed.")
    dropped.add([], 0 if tracing is None else tracing.dropped)
    failed.add([], 0 if tracing is None else tracing.failures)
    return dropped, failed


class LogRecords:
    """What became of log records. The log is the process's: of its engines each tells what it was the first to see."""

    def __init__(self) -> None:
        self._dropped = Counter({"full": 0, "error": 0})

    def families(self) -> Iterable[MetricFamily]:
        """Records that wait, and those that no handler got."""
        self._dropped.update(log_records.take_dropped())
        waiting = MetricFamily(
            "anya_log_records_waiting",
            "gauge",
            "Log records not handled yet; for long: a handler that blocks.",
            [],
            "max",
        )
        waiting.add([], log_records.waiting())
        dropped = MetricFamily(
            "anya_log_records_dropped",
            "counter",
            "Log records lost; full: too many waited, error: a handler raised.",
            ["reason"],
        )
        for reason, count in self._dropped.items():
            dropped.add([reason], count)
        return waiting, dropped


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{number}: {word}" for number, word in enumerate(words))
