# SPDX-License-Identifier: Apache-2.0
"""Spans for requests that stand in a trace; the only module that speaks to OpenTelemetry.

A request is asked once, on its caller's thread, for the span it is called in. Its end is a few numbers in a bounded
queue of the core; a thread makes spans of them, with the times that were measured. An exporter that hangs holds up that
thread alone: what the queue has no room for is dropped, and counted.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ._log import Log
from .errors import ConfigError

if TYPE_CHECKING:
    from . import _core

__all__ = ["Tracing", "tracing_for"]

_log = Log("anya_engine")

#: Seconds between two looks at what has ended.
PERIOD = 0.25
#: Seconds that `close` waits for the last spans.
PATIENCE = 2.0


class Ended(NamedTuple):
    """What became of one request; times in nanoseconds of time.monotonic_ns()."""

    trace: int
    span: int
    request: int
    model: str
    version: str
    instance: int
    code: str
    role: str
    rows: int
    accepted: int
    started: int
    ended: int

    def run(self) -> tuple[object, ...]:
        """What it has in common with those of its run; unlike any other where it never ran."""
        return (self.model, self.version, self.instance, self.started or -self.request)


def tracing_for(core: _core.Engine, wanted: bool | None) -> Tracing | None:
    """Tracing, where it is wanted; None leaves it to whether OpenTelemetry has been set up.

    Raises:
        ConfigError: It is wanted, and OpenTelemetry's API is not installed.
    """
    if wanted is False or (wanted is None and not _is_set_up()):
        return None
    try:
        from opentelemetry import trace  # noqa: F401
    except ModuleNotFoundError as error:
        message = "tracing needs OpenTelemetry's API: pip install 'anya-engine[otel]'"
        raise ConfigError(message, field="tracing", value=wanted) from error
    return Tracing(core)


def _is_set_up() -> bool:
    api = sys.modules.get("opentelemetry.trace")
    if api is None:  # nobody has set up what nobody has imported
        return False
    return not isinstance(api.get_tracer_provider(), (api.ProxyTracerProvider, api.NoOpTracerProvider))


class Tracing:
    """The thread that makes spans. Thread-safe; holds the engine's core while it runs."""

    def __init__(self, core: _core.Engine) -> None:
        from opentelemetry import trace

        self._api = trace
        self._tracer = trace.get_tracer("anya_engine")
        self._core = weakref.ref(core)
        self._over = threading.Event()
        self.failures = 0
        core.trace(_context_of(trace.get_current_span))
        self._thread = threading.Thread(target=self._run, name="anya-traces", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Trace nothing more; wait for the last spans, not longer than `PATIENCE`."""
        if (core := self._core()) is not None:
            core.trace(None)
        self._over.set()
        self._thread.join(PATIENCE)

    @property
    def dropped(self) -> int:
        """Ends that found no room."""
        core = self._core()
        return 0 if core is None else core.trace_events_dropped

    def _run(self) -> None:
        kept: list[Ended] = []
        while True:
            last = self._over.wait(PERIOD)
            core = self._core()
            ended = kept if core is None else [*kept, *map(Ended._make, core.trace_events())]
            del core
            # The last run's requests may still be on their way: they are told of together.
            newest = ended[-1].run() if ended and not last else None
            kept = [each for each in ended if each.run() == newest and each not in kept]
            try:
                self.tell([each for each in ended if each not in kept])
            except Exception:  # noqa: BLE001  # an exporter's; the next ones may go well
                self.failures += 1
                _log.exception("spans could not be made")
            if last:
                return

    def tell(self, ended: Iterable[Ended]) -> None:
        """Make spans: each request's, with its queue and its run, and one for each run that links to its members."""
        api, offset = self._api, time.time_ns() - time.monotonic_ns()
        runs: dict[tuple[object, ...], list[tuple[Ended, Any]]] = {}
        for each in ended:
            parent = api.SpanContext(each.trace, each.span, is_remote=False, trace_flags=api.TraceFlags(1))
            above = api.set_span_in_context(api.NonRecordingSpan(parent))
            facts = {
                "anya.model": each.model,
                "anya.version": each.version,
                "anya.request_id": each.request,
                "anya.role": each.role,
            }
            whole = self._span("anya.request", above, each.accepted + offset, {**facts, "anya.code": each.code})
            if each.code != "OK":
                whole.set_status(api.Status(api.StatusCode.ERROR, each.code))
            inside = api.set_span_in_context(whole)
            self._span("anya.queue", inside, each.accepted + offset, facts).end((each.started or each.ended) + offset)
            if each.started:
                rows = {**facts, "anya.batch_rows": each.rows}
                self._span("anya.compute", inside, each.started + offset, rows).end(each.ended + offset)
                runs.setdefault(each.run(), []).append((each, whole.get_span_context()))
            whole.end(each.ended + offset)
        for members in runs.values():
            one = members[0][0]
            shared: dict[str, Any] = {"anya.model": one.model, "anya.version": one.version, "anya.batch_rows": one.rows}
            links = [api.Link(context) for _, context in members]
            batch = self._tracer.start_span(
                "anya.batch", context=_nowhere(), start_time=one.started + offset, attributes=shared, links=links
            )
            batch.end(one.ended + offset)

    def _span(self, name: str, above: Any, start: int, facts: dict[str, Any]) -> Any:
        return self._tracer.start_span(name, context=above, start_time=start, attributes=facts)


def _context_of(current_span: Callable[[], Any]) -> Callable[[], bytes | None]:
    def context_of() -> bytes | None:
        context = current_span().get_span_context()
        if not context.trace_flags & 1 or not context.is_valid:
            return None
        return bytes(context.trace_id.to_bytes(16, "big") + context.span_id.to_bytes(8, "big"))

    return context_of


def _nowhere() -> Any:
    from opentelemetry.context import Context

    return Context()
