# SPDX-License-Identifier: Apache-2.0
"""What the engine tells of itself: frozen facts, no behaviour."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ._frozen import FrozenMapping

if TYPE_CHECKING:
    import numpy as np

    from ._core import CircuitStats, ModelStats

__all__ = [
    "Attempt",
    "EngineStats",
    "Health",
    "MetricEvidence",
    "ModelHealth",
    "ModelInfo",
    "ResilienceStats",
    "Response",
    "RolloutEvent",
    "RolloutStatus",
    "ShadowReport",
    "TensorSpec",
    "response_of",
]


# The core's answer: outputs, request's number, seconds in the queue and in the run, rows of the run, what was changed,
# whether another run than its own answered, by how many seconds that answer is stale.
Detailed: TypeAlias = (
    "tuple[dict[str, np.ndarray[Any, Any]], int, float, float, int, dict[str, int] | None, bool, float | None]"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: Its name in the model.
        dtype: NumPy's name of its element type; "str" for strings, "bfloat16" for ml_dtypes' type.
        shape: One entry per axis: a size, the model's name for a free size, or None for a free size without a name.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded version.

    Attributes:
        name: What requests call it.
        version: Which one it is.
        labels: Its labels; requests may give one of them as their `version`.
        state: "serving": answers requests that name no version. "warm": ready, answers only requests that name it.
        inputs: What it takes.
        outputs: What it gives.
        digest: SHA-256 over everything that was parsed (model, external data, schema), in hex.
        signer: The id of the key whose signature was verified (`sha256sum KEY.pub`); None where none was.
        trust: What its origin was held against: the mode of its `TrustConfig`, "unverified" where there is none,
            "revoked" when the registry lets it run no longer.
        quantization: How it computes, by its operators: "dynamic" (scales of what it is asked), "static" (fixed scales)
            or "none".
        memory: Bytes of the model's files; what ONNX Runtime makes of them comes on top.
        providers: ONNX Runtime's execution providers in force, in order. A provider that was asked for and could not be
            had, with another after it in the list, is missing here.
        batchable: Requests may share a run.
        batching_note: Why they may, or why each runs alone.
        instances: Runs at once.
        max_batch_size: Rows in one run at most.
        load_seconds: How long reading, checking, opening and warming up took.
        warm_up_seconds: Of these, the runs on made-up rows: warm-up, the check of batched against alone, run times.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    state: Literal["serving", "warm"]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    signer: str | None
    trust: str
    quantization: str
    memory: int
    providers: tuple[str, ...]
    batchable: bool
    batching_note: str
    instances: int
    max_batch_size: int
    load_seconds: float
    warm_up_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a request.

    Attributes:
        model: Name of the model that was tried.
        version: Its version.
        error: Why it failed; None for the one that answered.
    """

    model: str
    version: str
    error: Exception | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer and how it came about.

    Attributes:
        outputs: The arrays, by output name.
        request_id: Number of the request, unique within the engine.
        version: The version that answered.
        served_by: The model that answered: the one asked, or a fallback.
        degraded: The answer is not the asked model's own fresh one.
        attempts: What was tried, in order; the last one answered.
        from_cache: The answer was not computed for this request: it is from the response cache, or from an equal
            request's run. The arrays are this caller's own all the same.
        stale_age: How old a cached answer is beyond its time to live, in seconds; None for a fresh one.
        sanitized: Values changed on the way in, by input; empty when nothing was changed.
        queue_time: Seconds from acceptance to the start of the run.
        compute_time: Seconds of the run, the gathering and scattering of a batch included.
        batch_size: Rows in the run, this request's and its company's; 0 where there was no run for it.
    """

    outputs: dict[str, np.ndarray[Any, Any]]
    request_id: int
    version: str
    served_by: str
    degraded: bool
    attempts: tuple[Attempt, ...]
    from_cache: bool
    stale_age: float | None
    sanitized: Mapping[str, int]
    queue_time: float
    compute_time: float
    batch_size: int


def response_of(
    model: Any,
    answer: Detailed | Response | dict[str, np.ndarray[Any, Any]],
    attempts: tuple[Attempt, ...] = (),
    *,
    degraded: bool = False,
) -> Response:
    """The answer of this version as a `Response`; what is one already is returned as it is."""
    if isinstance(answer, Response):
        return answer
    detailed = answer if isinstance(answer, tuple) else (answer, 0, 0.0, 0.0, 0, None, False, None)
    outputs, request_id, queue_time, compute_time, batch_size, sanitized, from_cache, stale_age = detailed
    return Response(
        outputs=outputs,
        request_id=request_id,
        version=model.version,
        served_by=model.name,
        degraded=degraded or stale_age is not None,
        attempts=attempts or (Attempt(model=model.name, version=model.version),),
        from_cache=from_cache,
        stale_age=stale_age,
        sanitized=_NOTHING if sanitized is None else FrozenMapping(sanitized),
        queue_time=queue_time,
        compute_time=compute_time,
        batch_size=batch_size,
    )


_NOTHING: Mapping[str, int] = FrozenMapping()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResilienceStats:
    """What was done about failures of a version.

    Attributes:
        name: The model.
        version: Its version.
        attempts: By number of the attempt and result: "ok", "error", or "fallback" where they ended with another
            answer. A first attempt that goes well is not counted here.
        fallbacks: Links that were gone on to, by link and code of the error before it.
        budget_tokens: Retries in hand; None without a `RetryPolicy`.
    """

    name: str
    version: str
    attempts: Mapping[tuple[int, str], int]
    fallbacks: Mapping[tuple[str, str], int]
    budget_tokens: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    """Counters of everything loaded, read model by model.

    Attributes:
        models: One entry per loaded version.
        resilience: One entry per version that has a `retry`, a `fallback` or a `breaker`, in the same order.
    """

    models: tuple[ModelStats, ...]
    resilience: tuple[ResilienceStats, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """Whether a model answers.

    Attributes:
        live: It can work in this process. False: its device is lost and it could not be opened again; a process that is
            started anew may have the device.
        ready: It takes requests, and an instance of it can run them; or its fallbacks answer while its circuit breaker
            is open.
        version: The version that serves; None when there is none.
        reason: Why it is not ready, which of its instances cannot run, or which model of its fallback chain is not
            loaded; "" when all is well.
    """

    live: bool = True
    ready: bool
    version: str | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the engine works; made for a service's own health endpoint.

    Attributes:
        live: The engine can work in this process: it is not closed, this is no forked child, and every model is live.
        ready: It is live, and every model takes requests. An engine without models is ready.
        reason: Why not; "" when all is well.
        models: Each model by name.
    """

    live: bool
    ready: bool
    reason: str
    models: Mapping[str, ModelHealth]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent:
    """One change of a rollout.

    Attributes:
        time: When, in seconds since the epoch.
        move: What happened: "start", "switch", "advance", "pause", "resume", "promote", "rollback" or "unload".
        why: The reason, in words.
        weights: Share of the keys by version from then on, in percent.
    """

    time: float
    move: str
    why: str
    weights: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvidence:
    """What the judge of a canary holds on one metric.

    Attributes:
        against: This metric's evidence against the new version, as a betting score: 1 is none. The mean over all
            metrics is what is compared with 1 / alpha, and what `RolloutStatus.why` calls the evidence.
        in_favour: Likewise for it, of the present step; 1 / beta is enough.
        new: Units that the new version answered; see `Canary.min_requests`.
        new_bad: Bad ones among them.
        old: Units that the old version answered.
        old_bad: Bad ones among them.
    """

    against: float
    in_favour: float
    new: int
    new_bad: int
    old: int
    old_bad: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShadowReport:
    """How a version that answers nobody compares with the one that does.

    Attributes:
        compared: Requests answered by both.
        agreed: Of these, within the tolerance.
        top1_agreed: Of these, with the same largest element in every row of the first output; what classifiers decide.
        max_abs_difference: Largest difference of one element so far.
        max_rel_difference: Largest difference of one element relative to the old one's value.
        failed: Requests that the new version did not answer, with the last error's code in `last_error`.
        dropped: Copies not made, or refused by the new version's queue, because of load.
        last_error: Code of the last error; "" when there was none.
    """

    compared: int = 0
    agreed: int = 0
    top1_agreed: int = 0
    max_abs_difference: float = 0.0
    max_rel_difference: float = 0.0
    failed: int = 0
    dropped: int = 0
    last_error: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStatus:
    """Where a model's change of version stands.

    Attributes:
        name: The model.
        state: "idle" (no rollout since the first load), "progressing", "paused", "promoted" or "rolled_back".
        strategy: "blue-green", "canary", "shadow"; "" when idle.
        stable: The version that answers those the new one does not.
        candidate: The new version; None when idle.
        weights: Share of the keys by version now, in percent.
        step: Of a canary, from 0; its number of steps once they are all passed.
        steps: A canary's shares in percent.
        verdict: Of the judge: "waiting", "passed", "failed" or "inconclusive"; "" where there is no judge.
        why: Reason for state and verdict, in words.
        evidence: By metric.
        shadow: What was compared; None when there is no shadow.
        rollback_to: The version that `rollback` would give the traffic to; None: there is none.
        out_of_step: Why this process does not answer as its group does, for example because a version is not loaded
            here; "" when it does.
        events: What happened, oldest first; the last hundred.
        circuits: The circuit breaker of each version that has one.
    """

    name: str
    state: Literal["idle", "progressing", "paused", "promoted", "rolled_back"]
    strategy: str = ""
    stable: str
    candidate: str | None = None
    weights: Mapping[str, float]
    step: int = 0
    steps: tuple[float, ...] = ()
    verdict: str = ""
    why: str = ""
    evidence: Mapping[str, MetricEvidence] = dataclasses.field(default_factory=dict)
    shadow: ShadowReport | None = None
    rollback_to: str | None = None
    out_of_step: str = ""
    events: tuple[RolloutEvent, ...] = dataclasses.field(default=(), repr=False)
    circuits: Mapping[str, CircuitStats] = dataclasses.field(default_factory=dict)
