# SPDX-License-Identifier: Apache-2.0
"""Asks a loaded model on a plan, from C++ threads, and tells how it answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from . import _core

if TYPE_CHECKING:
    from ._engine import Engine

__all__ = ["LoadPlan", "LoadReport", "Spread", "drive"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What to ask, and when.

    Attributes:
        mode: "closed": `concurrency` requests in flight through one thread, as an event loop has them. "blocking":
            `concurrency` threads, each asks and waits. "open": requests leave on a schedule, whatever became of others.
        concurrency: Of the closed loop and of blocking callers.
        rate: Requests per second of the open loop.
        arrivals: The gaps of the open loop: exponential, or all the same.
        seed: Of the gaps.
        warm_up: Seconds of asking that are not reported.
        duration: Seconds of the measured window.
    """

    mode: Literal["closed", "blocking", "open"] = "closed"
    concurrency: int = 64
    rate: float = 0.0
    arrivals: Literal["poisson", "constant"] = "poisson"
    seed: int = 1
    warm_up: float = 0.0
    duration: float = 1.0


class Spread(TypedDict):
    """How values lie: seconds, or rows for `LoadReport.batch_rows`. Percentiles are within 2 % of the exact ones."""

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float


class LoadReport(TypedDict):
    """How the requests of the measured window were answered; each is in exactly one of `ok` and `errors`.

    `latency` is from when a request was asked (open loop: was due) to when the asker knew; `lateness` is how much
    later than due the open loop's requests left, and `unsent` how many never did. `seconds` is from the start of the
    window to the last of its answers. `mean_run_rows` is per run, `batch_rows` as the requests saw it.
    """

    asked: int
    ok: int
    errors: dict[str, int]
    first_error: str
    malformed: int
    unsent: int
    rows: int
    seconds: float
    requests_per_second: float
    rows_per_second: float
    peak_in_flight: int
    stopped: bool
    latency: Spread
    queue: Spread
    compute: Spread
    lateness: Spread
    batch_rows: Spread
    mean_run_rows: float


def drive(
    engine: Engine,
    name: str,
    questions: Sequence[Mapping[str, Any]],
    plan: LoadPlan,
    progress: Callable[[int], None] | None = None,
) -> LoadReport:
    """Ask `name` these questions in turn. Blocks without the GIL.

    `progress` is called about ten times a second with the number of answers so far. A signal handler that raises ends
    the load: what is in flight is drained, then the exception goes on.

    Raises:
        ConfigError: The plan cannot be.
        InvalidInput: A question does not fit the model.
    """
    model = engine._models.stable(name)
    answer = _core.drive(model, list(questions), progress=progress, **dataclasses.asdict(plan))
    return cast("LoadReport", answer)
