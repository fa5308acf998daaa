# SPDX-License-Identifier: Apache-2.0
"""
The compiled core of anya_engine. Private: use the package's own names.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy

__all__: list[str] = [
    "AsyncCall",
    "AsyncDoor",
    "AxisSpec",
    "BatchingOptions",
    "BreakerOptions",
    "CallbackQueue",
    "CircuitEvent",
    "CircuitStats",
    "Detail",
    "DimRule",
    "Engine",
    "EventLoop",
    "Future",
    "HistogramSnapshot",
    "InputRule",
    "Model",
    "ModelOptions",
    "ModelRules",
    "ModelStats",
    "OutputRule",
    "ProviderOptions",
    "QueuePolicyOptions",
    "RolloutTally",
    "RunTime",
    "SessionOptions",
    "TensorCount",
    "drive",
    "error_codes",
    "key_position",
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
        What would have been allowed, or None.
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
        What was given, or None.
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

class ModelOptions:
    """
    How a model is run; see ModelConfig.
    """

    batching: BatchingOptions
    breaker: BreakerOptions | None
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

class HistogramSnapshot:
    """
    A histogram: edges are upper bounds, +Inf comes after the last.
    """
    @property
    def counts(self) -> list[int]: ...
    @property
    def edges(self) -> list[float]: ...
    @property
    def sum(self) -> float: ...

class RunTime:
    """
    What runs of so many rows take: measured at load, then learned from the runs themselves.
    """
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

class ModelStats:
    """
    Counters of one loaded version, read as one snapshot.
    """
    @property
    def accepted(self) -> int: ...
    @property
    def batch_size(self) -> HistogramSnapshot: ...
    @property
    def batches(self) -> int: ...
    @property
    def circuit(self) -> CircuitStats | None: ...
    @property
    def compute_duration(self) -> HistogramSnapshot: ...
    @property
    def ended(self) -> dict[str, int]: ...
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
    def name(self) -> str: ...
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
    def take(self, window: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
        """
        Takes the counts of a window that is over: by version (old, new) and kind (units, bad, at_risk, first_bad); durations as (stratum, old, new); and how many answers were left out.
        """
    def window_at(self, now: typing.SupportsFloat | typing.SupportsIndex) -> int:
        """
        The number of the window that this moment of time.monotonic() is in.
        """

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
        typing.Any, typing.Any, tuple[dict[str, numpy.ndarray], int, float, float, int, dict[str, int] | None]
    ]:
        """
        The same for Model.infer_detailed's answer.
        """
    def circuit(self) -> CircuitStats | None:
        """
        What its circuit breaker knows now; None: it has none.
        """
    def counted(self, tally: RolloutTally, is_new: bool) -> Model:
        """
        The same version; what is asked through this object is counted in a tally.
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
    ) -> tuple[dict[str, numpy.ndarray], int, float, float, int, dict[str, int] | None]:
        """
        The answer, the request's number, its seconds in the queue and in the run, the rows of that run, what was changed.
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
    def turned_away(self) -> bool:
        """
        Whether a request would be refused whatever it is (breaker open, device lost); then it counts as refused.
        """
    def unload(self) -> None:
        """
        Refuses new requests, drains, stops its threads. Blocks.
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
        Drains everything; refuses what comes after. Idempotent. Blocks.
        """
    def load(
        self, name: str, version: str, source: typing.Any, options: ModelOptions, read_schema: typing.Any = None
    ) -> Model:
        """
        Loads and warms up a version from a path or bytes. `read_schema` makes rules of a schema.toml's verified bytes; what it raises ends the load. Blocks with the GIL released.
        """
    def stats(self) -> list[ModelStats]:
        """
        Counters of every loaded version.
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
    The answer to one request, to be had now or later. Thread-safe. Made by Engine.submit.
    """
    @staticmethod
    def _promise(model: typing.Any, callbacks: typing.Any) -> Future: ...
    @staticmethod
    def _submit(
        model: typing.Any,
        callbacks: typing.Any,
        inputs: typing.Any,
        outputs: typing.Any,
        timeout: typing.Any,
        priority: typing.Any,
        key: typing.Any,
        tenant: typing.Any,
        recover: typing.Any = None,
    ) -> Future: ...
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

def key_position(key: typing.Any, salt: int) -> float:
    """
    Where a routing key lies in [0, 1): evenly spread, the same in every process, another for another salt.
    """
