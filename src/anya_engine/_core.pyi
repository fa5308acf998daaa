# SPDX-License-Identifier: Apache-2.0
"""
The compiled core of anya_engine. Private: use the package's own names.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import typing_extensions

__all__: list[str] = [
    "AsyncCall",
    "AsyncDoor",
    "AxisSpec",
    "BatchingOptions",
    "BreakerOptions",
    "BytesCache",
    "CacheOptions",
    "CacheStats",
    "CallbackQueue",
    "CircuitEvent",
    "CircuitStats",
    "ContentLimits",
    "Detail",
    "DimRule",
    "DriftFeature",
    "DriftKind",
    "DriftPlan",
    "DriftTensor",
    "Engine",
    "EventLoop",
    "Exemplar",
    "Future",
    "HistogramSnapshot",
    "InputRule",
    "MetricFamily",
    "Model",
    "ModelOptions",
    "ModelRules",
    "ModelStats",
    "OutputRule",
    "PredictionOptions",
    "ProviderOptions",
    "QueuePolicyOptions",
    "RolloutTally",
    "RunTime",
    "SessionOptions",
    "TensorCount",
    "Trust",
    "TrustOptions",
    "TrustRegistry",
    "add_signatures",
    "counters_layout",
    "counters_size",
    "drift_numbers",
    "drive",
    "error_codes",
    "families_beside_counters",
    "generate_key",
    "identify_model",
    "identify_operator_library",
    "key_ids",
    "key_position",
    "merge_families",
    "metric_families",
    "metrics_text",
    "open_registry",
    "sign_model",
    "sign_registry",
    "sign_statement",
    "stats_of_counters",
    "verify_model",
    "write_file",
]

class Detail:
    """
    The facts of a refusal; str() puts them into words.
    """
    def __repr__(self) -> str: ...
    def __str__(self) -> str: ...
    @property
    def field(self) -> typing.Any:
        """
        The input at fault, or None.
        """
    @property
    def index(self) -> typing.Any:
        """
        The first element at fault, counted in C order, or None.
        """
    @property
    def limit(self) -> typing.Any:
        """
        What would have been allowed, or None; seconds where it is a time.
        """
    @property
    def predicted_wait(self) -> typing.Any:
        """
        Seconds that the request would have waited or taken; None when nobody knows.
        """
    @property
    def request_id(self) -> typing.Any:
        """
        The request's number, or None.
        """
    @property
    def value(self) -> typing.Any:
        """
        What was given, or None; seconds where it is a time.
        """

class AxisSpec:
    """
    One axis of a stated shape: a size, a name, or neither (-1 and '').
    """
    def __init__(self, size: typing.SupportsInt | typing.SupportsIndex, name: str) -> None: ...

class InputRule:
    """
    What an input may hold; see anya_engine.InputRule.
    """

    control: str
    dtype: str
    finite: str
    from_file: bool
    input: str
    normalize: str
    on_range: str
    utf8: bool
    def __init__(self) -> None: ...
    @property
    def allowed(self) -> list[int | int | float]: ...
    @allowed.setter
    def allowed(
        self,
        arg0: collections.abc.Sequence[
            typing.SupportsInt
            | typing.SupportsIndex
            | typing.SupportsInt
            | typing.SupportsIndex
            | typing.SupportsFloat
            | typing.SupportsIndex
        ],
    ) -> None: ...
    @property
    def max(self) -> int | int | float | None: ...
    @max.setter
    def max(
        self,
        arg0: typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex
        | None,
    ) -> None: ...
    @property
    def max_bytes(self) -> int: ...
    @max_bytes.setter
    def max_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_length(self) -> int: ...
    @max_length.setter
    def max_length(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def min(self) -> int | int | float | None: ...
    @min.setter
    def min(
        self,
        arg0: typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex
        | None,
    ) -> None: ...
    @property
    def replace_with(self) -> int | int | float: ...
    @replace_with.setter
    def replace_with(
        self,
        arg0: typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex,
    ) -> None: ...
    @property
    def shape(self) -> list[AxisSpec] | None: ...
    @shape.setter
    def shape(self, arg0: collections.abc.Sequence[AxisSpec] | None) -> None: ...

class OutputRule:
    """
    What an output may hold; see anya_engine.OutputRule.
    """

    dtype: str
    finite: str
    from_file: bool
    output: str
    def __init__(self) -> None: ...
    @property
    def max(self) -> int | int | float | None: ...
    @max.setter
    def max(
        self,
        arg0: typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex
        | None,
    ) -> None: ...
    @property
    def min(self) -> int | int | float | None: ...
    @min.setter
    def min(
        self,
        arg0: typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsInt
        | typing.SupportsIndex
        | typing.SupportsFloat
        | typing.SupportsIndex
        | None,
    ) -> None: ...
    @property
    def shape(self) -> list[AxisSpec] | None: ...
    @shape.setter
    def shape(self, arg0: collections.abc.Sequence[AxisSpec] | None) -> None: ...

class DimRule:
    """
    Sizes of a named dimension; see anya_engine.DimRule.
    """

    from_file: bool
    name: str
    def __init__(self) -> None: ...
    @property
    def max(self) -> int: ...
    @max.setter
    def max(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def min(self) -> int: ...
    @min.setter
    def min(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class ModelRules:
    """
    All rules of one model.
    """

    max_rows_from_file: bool
    def __init__(self) -> None: ...
    @property
    def dims(self) -> list[DimRule]: ...
    @dims.setter
    def dims(self, arg0: collections.abc.Sequence[DimRule]) -> None: ...
    @property
    def inputs(self) -> list[InputRule]: ...
    @inputs.setter
    def inputs(self, arg0: collections.abc.Sequence[InputRule]) -> None: ...
    @property
    def max_rows(self) -> int: ...
    @max_rows.setter
    def max_rows(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def outputs(self) -> list[OutputRule]: ...
    @outputs.setter
    def outputs(self, arg0: collections.abc.Sequence[OutputRule]) -> None: ...

class QueuePolicyOptions:
    """
    How requests of a level wait; see QueuePolicy.
    """

    allow_timeout_override: bool
    timeout_action: str
    def __init__(self) -> None: ...
    @property
    def default_timeout_microseconds(self) -> int: ...
    @default_timeout_microseconds.setter
    def default_timeout_microseconds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_queue_size(self) -> int: ...
    @max_queue_size.setter
    def max_queue_size(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class BatchingOptions:
    """
    How requests share a run; see BatchingConfig.
    """

    default_queue_policy: QueuePolicyOptions
    force: bool
    def __init__(self) -> None: ...
    @property
    def default_priority_level(self) -> int: ...
    @default_priority_level.setter
    def default_priority_level(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_batch_size(self) -> int: ...
    @max_batch_size.setter
    def max_batch_size(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_in_place_microseconds(self) -> int: ...
    @max_in_place_microseconds.setter
    def max_in_place_microseconds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_queue_delay_microseconds(self) -> int: ...
    @max_queue_delay_microseconds.setter
    def max_queue_delay_microseconds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_queue_size(self) -> int: ...
    @max_queue_size.setter
    def max_queue_size(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def priority_levels(self) -> int: ...
    @priority_levels.setter
    def priority_levels(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def priority_queue_policy(self) -> list[tuple[int, QueuePolicyOptions]]: ...
    @priority_queue_policy.setter
    def priority_queue_policy(
        self, arg0: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, QueuePolicyOptions]]
    ) -> None: ...
    @property
    def queue_delay_interval_microseconds(self) -> int: ...
    @queue_delay_interval_microseconds.setter
    def queue_delay_interval_microseconds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def queue_delay_target_microseconds(self) -> int: ...
    @queue_delay_target_microseconds.setter
    def queue_delay_target_microseconds(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class ProviderOptions:
    """
    An execution provider and ONNX Runtime's options for it.
    """

    name: str
    def __init__(self, name: str, options: collections.abc.Sequence[tuple[str, str]]) -> None: ...
    @property
    def options(self) -> list[tuple[str, str]]: ...
    @options.setter
    def options(self, arg0: collections.abc.Sequence[tuple[str, str]]) -> None: ...

class SessionOptions:
    """
    How ONNX Runtime opens a model; see ModelConfig.
    """

    allow_spinning: bool
    enable_cpu_mem_arena: bool
    enable_mem_pattern: bool
    graph_optimization_level: str
    def __init__(self) -> None: ...
    @property
    def config_entries(self) -> list[tuple[str, str]]: ...
    @config_entries.setter
    def config_entries(self, arg0: collections.abc.Sequence[tuple[str, str]]) -> None: ...
    @property
    def inter_op_num_threads(self) -> int: ...
    @inter_op_num_threads.setter
    def inter_op_num_threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def intra_op_num_threads(self) -> int: ...
    @intra_op_num_threads.setter
    def intra_op_num_threads(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def providers(self) -> list[ProviderOptions]: ...
    @providers.setter
    def providers(self, arg0: collections.abc.Sequence[ProviderOptions]) -> None: ...

class BreakerOptions:
    """
    When a version is asked no more; see BreakerPolicy.
    """
    def __init__(self) -> None: ...
    @property
    def failure_rate(self) -> float: ...
    @failure_rate.setter
    def failure_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def max_open_duration(self) -> float: ...
    @max_open_duration.setter
    def max_open_duration(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def minimum_calls(self) -> int: ...
    @minimum_calls.setter
    def minimum_calls(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def open_duration(self) -> float: ...
    @open_duration.setter
    def open_duration(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def probes(self) -> int: ...
    @probes.setter
    def probes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def slow_call_duration(self) -> float: ...
    @slow_call_duration.setter
    def slow_call_duration(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def slow_call_rate(self) -> float: ...
    @slow_call_rate.setter
    def slow_call_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def window(self) -> int: ...
    @window.setter
    def window(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class ContentLimits:
    """
    What a model may consist of; see ModelLimits.
    """
    def __init__(self) -> None: ...
    @property
    def custom_op_libraries(self) -> list[tuple[str, str]]: ...
    @custom_op_libraries.setter
    def custom_op_libraries(self, arg0: collections.abc.Sequence[tuple[str, str]]) -> None: ...
    @property
    def domains(self) -> list[str]: ...
    @domains.setter
    def domains(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def max_graph_depth(self) -> int: ...
    @max_graph_depth.setter
    def max_graph_depth(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_model_bytes(self) -> int: ...
    @max_model_bytes.setter
    def max_model_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_nodes(self) -> int: ...
    @max_nodes.setter
    def max_nodes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_tensor_bytes(self) -> int: ...
    @max_tensor_bytes.setter
    def max_tensor_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def operators(self) -> list[str]: ...
    @operators.setter
    def operators(self, arg0: collections.abc.Sequence[str]) -> None: ...

class CacheOptions:
    """
    The response cache of a version; see CacheConfig.
    """

    force: bool
    on_leader_error: str
    policy: str
    scope: str
    single_flight: bool
    def __init__(self) -> None: ...
    @property
    def capacity_bytes(self) -> int: ...
    @capacity_bytes.setter
    def capacity_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def last_good(self) -> float: ...
    @last_good.setter
    def last_good(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def stale_if_error(self) -> float: ...
    @stale_if_error.setter
    def stale_if_error(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def stale_while_revalidate(self) -> float: ...
    @stale_while_revalidate.setter
    def stale_while_revalidate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def ttl(self) -> float: ...
    @ttl.setter
    def ttl(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def ttl_jitter(self) -> float: ...
    @ttl_jitter.setter
    def ttl_jitter(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...

class PredictionOptions:
    """
    How sure a classifier is; see PredictionConfig.
    """

    output: str
    values: str
    def __init__(self) -> None: ...
    @property
    def classes(self) -> list[str]: ...
    @classes.setter
    def classes(self, arg0: collections.abc.Sequence[str]) -> None: ...

class ModelOptions:
    """
    How a model is run; see ModelConfig.
    """

    batching: BatchingOptions
    breaker: BreakerOptions | None
    cache: CacheOptions
    content: ContentLimits
    predictions: PredictionOptions
    rules: ModelRules
    session: SessionOptions
    def __init__(self) -> None: ...
    @property
    def batch_check_atol(self) -> float: ...
    @batch_check_atol.setter
    def batch_check_atol(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def batch_check_rtol(self) -> float: ...
    @batch_check_rtol.setter
    def batch_check_rtol(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def default_timeout(self) -> float: ...
    @default_timeout.setter
    def default_timeout(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def instances(self) -> int: ...
    @instances.setter
    def instances(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_request_bytes(self) -> int: ...
    @max_request_bytes.setter
    def max_request_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def max_timeout(self) -> float: ...
    @max_timeout.setter
    def max_timeout(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...

class TrustOptions:
    """
    What must hold of a model's origin; see TrustConfig.
    """

    floor: str
    mode: str
    registry: str
    def __init__(self) -> None: ...
    @property
    def keys(self) -> list[str]: ...
    @keys.setter
    def keys(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def registry_keys(self) -> list[str]: ...
    @registry_keys.setter
    def registry_keys(self, arg0: collections.abc.Sequence[str]) -> None: ...
    @property
    def registry_threshold(self) -> int: ...
    @registry_threshold.setter
    def registry_threshold(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class TrustRegistry:
    """
    One reading of a registry. Immutable; thread-safe.
    """
    def check(self, name: str, digest: str, signer: str) -> bool:
        """
        Whether a loaded model may go on: raises why not; True when it is deprecated.
        """
    @property
    def version(self) -> int: ...

class Trust:
    """
    A policy with its keys read. Immutable; thread-safe.
    """
    def __init__(self, options: TrustOptions) -> None:
        """
        Reads the keys; raises ConfigError for one that cannot be had.
        """
    def read_registry(self) -> TrustRegistry:
        """
        Reads the registry anew; raises TrustError or its like when it is not to be believed. Blocks on the disk.
        """

class Exemplar:
    """
    An observation with the trace it belongs to.
    """
    @property
    def bucket(self) -> int: ...
    @property
    def trace_id(self) -> str:
        """
        32 hex digits.
        """
    @property
    def value(self) -> float: ...

class HistogramSnapshot:
    """
    A histogram: edges are upper bounds, +Inf comes after the last.
    """
    def __repr__(self) -> str: ...
    @property
    def counts(self) -> list[int]: ...
    @property
    def edges(self) -> list[float]: ...
    @property
    def exemplars(self) -> list[Exemplar]:
        """
        At most one of each bucket, a recent one.
        """
    @property
    def sum(self) -> float: ...

class RunTime:
    """
    What runs of so many rows take: measured at load, then learned from the runs themselves.
    """
    def __repr__(self) -> str: ...
    @property
    def observations(self) -> int: ...
    @property
    def row_bytes(self) -> int:
        """
        Input bytes of a row, this many or up to a quarter more; 0: the model has one shape.
        """
    @property
    def rows(self) -> int:
        """
        This many, or fewer but more than half.
        """
    @property
    def seconds(self) -> float:
        """
        Of a run.
        """
    @property
    def seconds_per_row(self) -> float: ...

class TensorCount:
    """
    What the rules of one input or output have met.
    """
    def __repr__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def nonfinite(self) -> int:
        """
        NaN and infinities seen: each one changed or let through, and one of each refusal.
        """
    @property
    def sanitized(self) -> int:
        """
        Values that were clipped, replaced or normalised.
        """

class CircuitEvent:
    """
    A change of a circuit breaker.
    """
    def __repr__(self) -> str: ...
    @property
    def at(self) -> float:
        """
        When, on the clock of time.monotonic().
        """
    @property
    def calls(self) -> int:
        """
        Calls that it was decided by; 0: time alone.
        """
    @property
    def failed(self) -> int:
        """
        Failed ones among them.
        """
    @property
    def number(self) -> int:
        """
        From 1, in order.
        """
    @property
    def slow(self) -> int:
        """
        Slow ones among them.
        """
    @property
    def to(self) -> str:
        """
        The new state.
        """

class CircuitStats:
    """
    What a circuit breaker knows now.
    """
    def __repr__(self) -> str: ...
    @property
    def calls(self) -> int:
        """
        In the window, since the last change.
        """
    @property
    def events(self) -> list[CircuitEvent]:
        """
        The last changes, oldest first.
        """
    @property
    def failed(self) -> int:
        """
        Failed ones among them.
        """
    @property
    def opens_in(self) -> float:
        """
        Seconds until an open one lets probes through.
        """
    @property
    def slow(self) -> int:
        """
        Slow ones among them.
        """
    @property
    def state(self) -> str:
        """
        "closed", "half_open" or "open".
        """

class CacheStats:
    """
    Counters of a version's response cache, and what it holds.
    """
    def __repr__(self) -> str: ...
    @property
    def age(self) -> HistogramSnapshot:
        """
        Seconds since they were made, of answers given.
        """
    @property
    def bytes(self) -> int:
        """
        In use, all overheads counted.
        """
    @property
    def capacity_bytes(self) -> int:
        """
        0: there is no cache.
        """
    @property
    def coalesced(self) -> int:
        """
        Misses that were answered by an equal request's run.
        """
    @property
    def collisions(self) -> int:
        """
        Questions that met another one of the same index.
        """
    @property
    def entries(self) -> int: ...
    @property
    def evicted_capacity(self) -> int: ...
    @property
    def evicted_invalidate(self) -> int:
        """
        By cache_clear, or with their version.
        """
    @property
    def evicted_ttl(self) -> int: ...
    @property
    def fixed_bytes(self) -> int:
        """
        Of them, what an empty cache takes.
        """
    @property
    def hits(self) -> int:
        """
        Answered with a fresh answer.
        """
    @property
    def insertions(self) -> int: ...
    @property
    def misses(self) -> int:
        """
        Not there, or not fresh enough; collisions included.
        """
    @property
    def oversized(self) -> int:
        """
        Answers larger than the whole cache.
        """
    @property
    def stale(self) -> int:
        """
        Answered within stale_while_revalidate.
        """
    @property
    def stale_on_error(self) -> int:
        """
        Answered within stale_if_error, not with an error.
        """

class ModelStats:
    """
    Counters of one loaded version, read as one snapshot.
    """
    def __repr__(self) -> str: ...
    @property
    def accepted(self) -> int: ...
    @property
    def batch_size(self) -> HistogramSnapshot: ...
    @property
    def batches(self) -> int: ...
    @property
    def cache(self) -> CacheStats: ...
    @property
    def circuit(self) -> CircuitStats | None: ...
    @property
    def compute_duration(self) -> HistogramSnapshot: ...
    @property
    def confidence(self) -> HistogramSnapshot:
        """
        Largest probabilities; no edges: nobody looks.
        """
    @property
    def dispatches(self) -> dict[str, int]:
        """
        Batches by why they left when they did: idle, full, deadline, delay.
        """
    @property
    def ended(self) -> dict[str, int]: ...
    @property
    def ended_by_role(self) -> dict[str, dict[str, int]]:
        """
        `ended`, taken apart by what the version was to the request: stable, canary, control, shadow.
        """
    @property
    def entropy(self) -> HistogramSnapshot:
        """
        Entropies over the largest possible one.
        """
    @property
    def failed(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def in_place(self) -> int: ...
    @property
    def instances(self) -> int: ...
    @property
    def instances_busy(self) -> int: ...
    @property
    def margin(self) -> HistogramSnapshot:
        """
        How far they are above the next ones.
        """
    @property
    def max_queue_size(self) -> int:
        """
        Requests that may wait.
        """
    @property
    def memory_bytes(self) -> int:
        """
        Of the model's files.
        """
    @property
    def name(self) -> str: ...
    @property
    def predictions(self) -> list[tuple[str, int]]:
        """
        Class and count; other and invalid come last.
        """
    @property
    def queue_depth(self) -> int: ...
    @property
    def queue_duration(self) -> HistogramSnapshot: ...
    @property
    def refused(self) -> dict[str, int]: ...
    @property
    def request_duration(self) -> HistogramSnapshot: ...
    @property
    def row_limit(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def run_times(self) -> list[RunTime]: ...
    @property
    def splits(self) -> int: ...
    @property
    def stuck_runs(self) -> int: ...
    @property
    def tensors(self) -> list[TensorCount]:
        """
        Inputs, then outputs, that have rules for values.
        """
    @property
    def terminated_runs(self) -> int: ...
    @property
    def version(self) -> str: ...

class BytesCache:
    """
    A response cache by itself, for keys below 32 KiB. Thread-safe; times in nanoseconds.
    """
    def __init__(self, options: CacheOptions, seed: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def clear(self) -> None:
        """
        Everything goes.
        """
    def find(
        self, key: str, tenant: str, now: typing.SupportsInt | typing.SupportsIndex, after_error: bool = False
    ) -> tuple[bytes, int] | None:
        """
        The answer and by how much it is stale (-1: fresh), or None.
        """
    def insert(self, key: str, tenant: str, value: str, now: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Keeps an answer.
        """
    def stats(self) -> CacheStats:
        """
        Counters.
        """

class RolloutTally:
    """
    What two versions answered, counted by window of time. Thread-safe.
    """
    @staticmethod
    def edges() -> list[float]:
        """
        Where each bucket of durations but the last ends, in seconds.
        """
    @staticmethod
    def size() -> int:
        """
        Bytes that the buffer must have.
        """
    def __init__(self, memory: typing.Any, window: typing.SupportsFloat | typing.SupportsIndex) -> None:
        """
        Counts in this writable buffer, which other processes may share; `window` in seconds.
        """
    def clear(self, window: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Forgets the counts of a window, which makes room for the eighth after it.
        """
    def look(self, window: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
        """
        The counts of a window: by version (old, new) and kind (units, bad, at_risk, first_bad); durations as (stratum, old, new); and how many answers were left out.
        """
    def reported(
        self,
        is_new: bool,
        metric: typing.SupportsInt | typing.SupportsIndex,
        key: typing.Any,
        bad: bool,
        now: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None:
        """
        Counts what the service says about a key; metrics are numbered from 1.
        """
    def window_at(self, now: typing.SupportsFloat | typing.SupportsIndex) -> int:
        """
        The number of the window that this moment of time.monotonic() is in.
        """

class DriftKind:
    """
    How a row of a tensor becomes numbers; see _features.

    Members:

      columns

      dense

      embedding

      classes

      tokens

      text
    """

    __members__: typing.ClassVar[dict[str, DriftKind]]
    classes: typing.ClassVar[DriftKind]
    columns: typing.ClassVar[DriftKind]
    dense: typing.ClassVar[DriftKind]
    embedding: typing.ClassVar[DriftKind]
    text: typing.ClassVar[DriftKind]
    tokens: typing.ClassVar[DriftKind]
    @typing.overload
    def __eq__(self, other: DriftKind) -> bool: ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    @typing.overload
    def __ne__(self, other: DriftKind) -> bool: ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class DriftFeature:
    """
    One histogram over one of those numbers.
    """
    def __init__(self) -> None: ...
    @property
    def bins(self) -> int: ...
    @bins.setter
    def bins(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def center(self) -> float: ...
    @center.setter
    def center(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def edges(self) -> list[float]: ...
    @edges.setter
    def edges(self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None: ...
    @property
    def key_bins(self) -> list[int]: ...
    @key_bins.setter
    def key_bins(self, arg0: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None: ...
    @property
    def keys(self) -> list[float]: ...
    @keys.setter
    def keys(self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None: ...
    @property
    def source(self) -> int: ...
    @source.setter
    def source(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class DriftTensor:
    """
    What is counted of an input or output.
    """

    channels_last: bool
    is_output: bool
    kind: DriftKind
    def __init__(self) -> None: ...
    @property
    def centroid(self) -> list[float]: ...
    @centroid.setter
    def centroid(self, arg0: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None: ...
    @property
    def channels(self) -> int: ...
    @channels.setter
    def channels(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def features(self) -> list[DriftFeature]: ...
    @features.setter
    def features(self, arg0: collections.abc.Sequence[DriftFeature]) -> None: ...
    @property
    def index(self) -> int: ...
    @index.setter
    def index(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    @property
    def numbers(self) -> int: ...
    @numbers.setter
    def numbers(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None: ...

class DriftPlan:
    """
    What is counted of a model.
    """
    def __init__(self) -> None: ...
    @property
    def budget(self) -> float: ...
    @budget.setter
    def budget(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def sample_rate(self) -> float: ...
    @sample_rate.setter
    def sample_rate(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    @property
    def tensors(self) -> list[DriftTensor]: ...
    @tensors.setter
    def tensors(self, arg0: collections.abc.Sequence[DriftTensor]) -> None: ...

class Model:
    """
    A loaded version. Thread-safe.
    """
    def ask(
        self,
        door: AsyncDoor,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
    ) -> collections.abc.Coroutine[typing.Any, typing.Any, dict[str, numpy.ndarray]]:
        """
        A coroutine that asks the model at its first step and returns the answer.
        """
    def ask_detailed(
        self,
        door: AsyncDoor,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
    ) -> collections.abc.Coroutine[
        typing.Any,
        typing.Any,
        tuple[dict[str, numpy.ndarray], int, float, float, int, dict[str, int] | None, bool, float | None],
    ]:
        """
        The same for Model.infer_detailed's answer.
        """
    def circuit(self) -> CircuitStats | None:
        """
        What its circuit breaker knows now; None: it has none.
        """
    def clear_cache(self) -> None:
        """
        Forgets every cached answer.
        """
    def counted(self, tally: RolloutTally, is_new: bool) -> Model:
        """
        The same version; what is asked through this object is counted in a tally.
        """
    def fresh(self) -> typing.Any:
        """
        The same version; what is asked through this object is never answered with what is stale.
        """
    def infer(
        self,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
    ) -> dict[str, numpy.ndarray]:
        """
        The answer, by output name. Blocks without the GIL.
        """
    def infer_detailed(
        self,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
    ) -> tuple[dict[str, numpy.ndarray], int, float, float, int, dict[str, int] | None, bool, float | None]:
        """
        The answer, the request's number, its seconds in the queue and in the run, the rows of that run, what was changed, whether another run than its own answered, by how many seconds that answer is stale.
        """
    def info(self) -> dict[str, typing.Any]:
        """
        What is known of it, as a dict.
        """
    def inject(
        self,
        code: str | None,
        delay: typing.SupportsFloat | typing.SupportsIndex,
        rate: typing.SupportsFloat | typing.SupportsIndex,
        device_lost: bool,
    ) -> bool:
        """
        Makes this share of its requests fail with a code, or take so many seconds longer. False: something does already.
        """
    def inject_nothing(self) -> None:
        """
        Ends what inject began.
        """
    def last_good(
        self,
        inputs: typing.Any,
        outputs: typing.Any,
        tenant: typing.Any,
        max_age: typing.SupportsFloat | typing.SupportsIndex,
    ) -> typing.Any:
        """
        What the cache still has of an answer to this, as infer_detailed returns it, at most so many seconds stale; None: nothing. No request of its own: counted with the cache alone.
        """
    def rehearse(self, inputs: typing.Any) -> typing.Any:
        """
        The answer, counted nowhere: for warm-up and comparisons. Blocks without the GIL.
        """
    def reset_run_times(self) -> None:
        """
        Forgets what runs were learned to take.
        """
    def stats(self) -> ModelStats:
        """
        Its counters, one snapshot.
        """
    def submit(
        self,
        callbacks: CallbackQueue,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
        recover: typing.Any = None,
    ) -> Future:
        """
        Queues a copy of the inputs; the answer is in the future. Where it fails, recover(future, error, inputs) is called before anybody sees it, and resolves the future in the end.
        """
    def submit_uncached(
        self,
        callbacks: CallbackQueue,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
    ) -> Future:
        """
        The same past the response cache.
        """
    def take_drift(self) -> typing.Any:
        """
        What was counted since it was last taken.
        """
    def take_profile(self) -> bytes | None:
        """
        The bytes of the profile.json that lay beside the model, once.
        """
    def turned_away(self) -> bool:
        """
        Whether a request would be refused whatever it is (breaker open, device lost); then it counts as refused.
        """
    def twin(self) -> Model:
        """
        The same version on the same session, with a queue and instances of its own; its counts are the version's.
        """
    def unload(self) -> None:
        """
        Refuses new requests, drains, stops its threads. Blocks.
        """
    def watch_drift(self, plan: DriftPlan) -> None:
        """
        Counts what is asked and answered from now on; None: no longer.
        """
    @property
    def expected_run(self) -> float:
        """
        Seconds that a run of one row is expected to take; 0: nobody knows.
        """
    @property
    def failed(self) -> bool:
        """
        Its device is lost: all requests are refused.
        """
    @property
    def name(self) -> str:
        """
        The model's name.
        """
    @property
    def succeeded(self) -> int:
        """
        Requests that ended well so far.
        """
    @property
    def turned_away_count(self) -> int:
        """
        How often turned_away() was true.
        """
    @property
    def version(self) -> str:
        """
        Its version.
        """
    @property
    def waiting(self) -> int:
        """
        Requests in its queue.
        """

class Engine:
    """
    Loads models and drains them. Thread-safe.
    """
    def __init__(self, library: str) -> None:
        """
        Opens the ONNX Runtime library at this absolute path.
        """
    def close(self) -> None:
        """
        Drains everything; refuses what comes after. Idempotent. Blocks. What a signal's handler raises ends the waiting, not the draining; close() again waits on.
        """
    def load(
        self,
        name: str,
        version: str,
        source: typing.Any,
        options: ModelOptions,
        read_schema: typing.Any = None,
        trust: Trust | None = None,
        on_verdict: typing.Any = None,
        counters: typing.Any = None,
    ) -> Model:
        """
        Loads and warms up a version from a path or bytes. `read_schema` makes rules of a schema.toml's verified bytes; what it raises ends the load. `trust` is what must hold of the origin; `on_verdict` is told once what was decided: code, digest, signer, whether it is deprecated. `counters`: writable memory of counters_size() bytes, aligned to 64, to count in. Blocks with the GIL released.
        """
    def stats(self) -> list[ModelStats]:
        """
        Counters of every loaded version.
        """
    def trace(self, context: typing.Any) -> None:
        """
        Asks this for every request, on its caller's thread: 16 bytes of a trace's id and 8 of a span's, or None; what becomes of those that have some is told by trace_events. None: no more.
        """
    def trace_events(self) -> list[typing.Any]:
        """
        What has ended since: trace, span, request, model, version, instance, code, role, rows of the run, and on time.monotonic_ns() when it was accepted, started (0: never) and ended.
        """
    @property
    def is_owner_process(self) -> bool:
        """
        False in a forked child, where nothing works.
        """
    @property
    def runtime_version(self) -> str:
        """
        ONNX Runtime's version.
        """
    @property
    def trace_events_dropped(self) -> int:
        """
        Ends that nobody fetched in time.
        """

class MetricFamily:
    """
    All series of one metric. Not thread-safe.
    """
    def __init__(
        self, name: str, kind: str, help: str, label_names: collections.abc.Sequence[str] = [], merge: str = "sum"
    ) -> None:
        """
        `kind` is counter, gauge or histogram; a counter's name lacks its _total. `merge`: sum, max or min, what gauges of engines and processes side by side become where their labels are equal.
        """
    def add(self, labels: collections.abc.Sequence[str], value: typing.SupportsFloat | typing.SupportsIndex) -> None:
        """
        One more series, by label values.
        """
    @property
    def help(self) -> str: ...
    @property
    def histograms(self) -> list[tuple[list[str], HistogramSnapshot]]:
        """
        Label values and snapshot.
        """
    @property
    def kind(self) -> str: ...
    @property
    def label_names(self) -> list[str]: ...
    @property
    def merge(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def samples(self) -> list[tuple[list[str], float]]:
        """
        Label values and value.
        """

class CallbackQueue:
    """
    Where done-callbacks wait for the thread that runs them.
    """
    def __init__(self) -> None: ...
    def run(self) -> None:
        """
        Runs callbacks until stop(); for one thread.
        """
    def stop(self) -> None:
        """
        Ends run() once everything that has ended was called back.
        """

class Future:
    """
    The answer to one request, to be had now or later. Thread-safe. Made by Engine.submit. Its methods mean what those of concurrent.futures.Future mean (cancel ends a running request, too), but it is none: asyncio.wrap_future, concurrent.futures.wait and await do not take it (in asyncio: Engine.infer_async).
    """
    @staticmethod
    def _promise(model: typing.Any, callbacks: typing.Any) -> Future: ...
    def __repr__(self) -> str: ...
    def _resolve(self, answer: typing.Any, error: typing.Any) -> bool: ...
    def add_done_callback(self, fn: collections.abc.Callable[[typing.Any], typing.Any]) -> None:
        """
        Calls fn(self) once the request has ended: on the engine's callback thread, or at once on this one if it has ended already. What fn raises goes to sys.unraisablehook.
        """
    def cancel(self) -> bool:
        """
        Ends the request as cancelled unless it has ended. True if this call did it. A run under way goes on and its answer is dropped.
        """
    def cancelled(self) -> bool:
        """
        True if the request ended as cancelled.
        """
    def done(self) -> bool:
        """
        True once the request has ended, however.
        """
    def exception(self, timeout: typing.SupportsFloat | typing.SupportsIndex | None = None) -> typing.Any:
        """
        The request's error, or None if it ended well. Waits like result().
        """
    def from_cache(self) -> bool:
        """
        True if it has ended with an answer that another request's run gave.
        """
    def result(self, timeout: typing.SupportsFloat | typing.SupportsIndex | None = None) -> dict[str, numpy.ndarray]:
        """
        The outputs. Waits up to `timeout` seconds (None: without end) and then raises TimeoutError; the request goes on. Raises the request's error if it failed.
        """

class AsyncCall:
    """
    The coroutine that Engine.infer_async returns. Await it once.
    """
    @staticmethod
    def __del__(*args, **kwargs): ...
    def __await__(self):
        """
        Return an iterator to be used in await expression.
        """
    def __next__(self):
        """
        Implement next(self).
        """
    def add_done_callback(self, fn: typing.Any, *, context: typing.Any = None) -> None:
        """
        For asyncio.Task.
        """
    def cancel(self, msg: typing.Any = None) -> bool:
        """
        For asyncio.Task: cancels the request.
        """
    def close(self) -> None:
        """
        Cancels the request.
        """
    def get_loop(self) -> typing.Any:
        """
        The loop whose task awaits it.
        """
    def result(self) -> None:
        """
        For asyncio.Task.
        """
    def send(self, value: typing.Any) -> typing.Any:
        """
        A step, as of any coroutine.
        """
    def throw(self, *exception: typing.Any) -> typing.Any:
        """
        Cancels the request and raises the exception.
        """

class EventLoop:
    """
    Between one asyncio loop and the core; used on the loop's thread only.
    """
    def __init__(self) -> None: ...
    def abandon_turn(self) -> None:
        """
        Forgets what a loop submitted that was closed in the same turn.
        """
    def attach(self, loop: typing.Any) -> None:
        """
        Serves this loop from now on.
        """
    def bind(self, flush: typing.Any) -> None:
        """
        What the loop calls at the end of a turn: this object's flush.
        """
    def detach(self) -> None:
        """
        Lets go of the loop.
        """
    def drain(self) -> None:
        """
        Steps the tasks whose requests have ended; for a callback of the loop.
        """
    def drain_later(self) -> None:
        """
        Like drain, from anywhere else: the tasks are stepped in the loop's next turn.
        """
    def flush(self) -> None:
        """
        Hands this turn's requests to the core; for a callback of the loop.
        """
    @property
    def descriptor(self) -> int:
        """
        Turns readable when something has ended.
        """
    @property
    def outstanding(self) -> int:
        """
        Requests without an outcome yet.
        """

class AsyncDoor:
    """
    Where an engine's awaited requests come in.
    """
    def __init__(self, find: typing.Any) -> None:
        """
        find(loop) -> the EventLoop that serves a running asyncio loop.
        """

def add_signatures(content: bytes, keys: collections.abc.Sequence[tuple[str, str]]) -> str:
    """
    The same registry file with more signatures.
    """

def counters_layout() -> str:
    """
    What the words among them mean: processes with unlike layouts cannot be summed.
    """

def counters_size() -> int:
    """
    Bytes of the counters of a version.
    """

def drift_numbers(
    tensor: DriftTensor,
    dtype: str,
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    data: typing.Any,
) -> bytes:
    """
    The numbers of every row of a tensor, as live rows are made into them: float64 [rows, numbers].
    """

def drive(
    model: typing.Any,
    questions: list[typing.Any],
    *,
    mode: str = "closed",
    concurrency: typing.SupportsInt | typing.SupportsIndex = 64,
    rate: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    arrivals: str = "poisson",
    seed: typing.SupportsInt | typing.SupportsIndex = 1,
    warm_up: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    duration: typing.SupportsFloat | typing.SupportsIndex = 1.0,
    progress: typing.Any = None,
) -> dict[str, typing.Any]:
    """
    Asks a model on a plan, on C++ threads, and returns the report as a dict. Blocks with the GIL released; `progress` is called now and then with the number of answers so far.
    """

def error_codes() -> list[str]:
    """
    The stable codes, in the core's order.
    """

def families_beside_counters(engine: Engine) -> list[MetricFamily]:
    """
    What counters in memory of others do not hold, and exemplars on histograms of nothing.
    """

def generate_key(path: str, curve: str, password: str) -> str:
    """
    Writes a private key and, beside it, its public half; returns the key's id.
    """

def identify_model(path: str) -> tuple[str, list[tuple[str, int, str]]]:
    """
    A model's digest, and name, size and SHA-256 of each file that is parsed of it.
    """

def identify_operator_library(path: str) -> tuple[str, list[tuple[str, int, str]]]:
    """
    The same of a library of operators, by its absolute path.
    """

def key_ids(paths: collections.abc.Sequence[str]) -> list[str]:
    """
    The ids of public keys, each once.
    """

def key_position(key: typing.Any, salt: int) -> float:
    """
    Where a routing key lies in [0, 1): evenly spread, the same in every process, another for another salt.
    """

def merge_families(parts: collections.abc.Sequence[collections.abc.Sequence[MetricFamily]]) -> list[MetricFamily]:
    """
    One family of each name, equal series merged.
    """

def metric_families(
    engines: collections.abc.Sequence[Engine], stats: collections.abc.Sequence[ModelStats] = []
) -> list[MetricFamily]:
    """
    What the engines have counted, equal versions summed: the table that every scrape is of.
    """

def metrics_text(
    engines: collections.abc.Sequence[Engine],
    more: collections.abc.Sequence[collections.abc.Sequence[MetricFamily]],
    openmetrics: bool,
) -> bytes:
    """
    The same as text, merged with other families. The GIL is released for all of it.
    """

def open_registry(
    content: bytes, keys: collections.abc.Sequence[str], private_keys: collections.abc.Sequence[tuple[str, str]]
) -> tuple[bytes, list[str]]:
    """
    A registry file's payload, and the ids of those keys that signed it.
    """

def sign_model(path: str, key: str, password: str) -> dict[str, typing.Any]:
    """
    Signs a file or a directory; returns what was written.
    """

def sign_registry(payload: bytes, keys: collections.abc.Sequence[tuple[str, str]]) -> str:
    """
    The text of a registry file, signed by (path, password) each.
    """

def sign_statement(statement: bytes, key: str, password: str) -> str:
    """
    The signature file over any statement, well-formed or not.
    """

def stats_of_counters(
    name: str,
    version: str,
    everything: typing_extensions.Buffer,
    alive: typing_extensions.Buffer,
    instances: typing.SupportsInt | typing.SupportsIndex,
    max_queue_size: typing.SupportsInt | typing.SupportsIndex,
    memory_bytes: typing.SupportsInt | typing.SupportsIndex,
    classes: collections.abc.Sequence[str] | None,
) -> ModelStats:
    """
    What counters say: counts of everything, gauges of what is alive.
    """

def verify_model(path: str, keys: collections.abc.Sequence[str]) -> dict[str, typing.Any]:
    """
    Holds a file or a directory, whole, against its signature.
    """

def write_file(path: str, content: str, mode: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Writes in one step, flushed.
    """
