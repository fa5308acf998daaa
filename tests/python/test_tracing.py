# SPDX-License-Identifier: Apache-2.0
"""Spans of traced requests: what they say, and exporters that fail or hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from models.make_models import MODELS
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from python.support import HUNG, ONE, assert_clean, busy, floats, run_python, slow_inputs, until

import anya_engine as anya

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
exports = pytest.importorskip("opentelemetry.sdk.trace.export")


class Kept(exports.SpanExporter):  # type: ignore[misc]
    """Keeps spans; may fail, or wait."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.entered, self.leave = threading.Event(), threading.Event()
        self.leave.set()
        self.fails = False

    def export(self, spans: Sequence[Any]) -> Any:
        self.entered.set()
        self.leave.wait(HUNG)
        if self.fails:
            raise RuntimeError("the collector is gone")
        self.spans.extend(spans)
        return exports.SpanExportResult.SUCCESS

    def named(self, name: str) -> list[Any]:
        """Spans of this name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    """An exporter behind the tracer provider that the engine finds."""
    exporter = Kept()
    provider = sdk.TracerProvider()
    provider.add_span_processor(exports.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    exporter.leave.set()


@pytest.fixture
def engine(kept: Kept) -> Iterator[anya.Engine]:
    """A traced engine."""
    with anya.Engine() as made:
        made.load("m", MODELS["unnamed_batch"]())
        yield made


def tracer() -> Any:
    """The service's own."""
    return trace.get_tracer("service")


def test_a_request_has_a_queue_and_a_run(engine: anya.Engine, kept: Kept) -> None:
    """In a sampled span it is a child, with its queue and its run inside, at the times that were measured."""
    with tracer().start_as_current_span("handler") as handler:
        response = engine.infer_detailed("m", floats(2, 3))
    until(lambda: len(kept.named("anya.batch")) == 1, "spans")
    (request,), (queue,), (compute,) = (kept.named(f"anya.{name}") for name in ("request", "queue", "compute"))
    assert request.parent.span_id == handler.get_span_context().span_id
    assert {span.context.trace_id for span in (request, queue, compute)} == {handler.get_span_context().trace_id}
    assert queue.parent.span_id == compute.parent.span_id == request.context.span_id
    assert request.attributes["anya.request_id"] == response.request_id
    assert (request.attributes["anya.model"], request.attributes["anya.code"]) == ("m", "OK")
    assert compute.attributes["anya.batch_rows"] == 2
    assert queue.end_time - queue.start_time == pytest.approx(response.queue_time * 1e9, abs=1)
    assert compute.end_time - compute.start_time == pytest.approx(response.compute_time * 1e9, abs=1)
    assert handler.start_time <= request.start_time <= request.end_time <= handler.end_time


def test_a_batch_links_to_its_members(engine: anya.Engine, kept: Kept) -> None:
    """Requests of one run are linked from one span of a trace of its own; each stays in its caller's trace."""
    engine.load("slow", MODELS["slow"](), config=ONE)

    async def one() -> None:
        with tracer().start_as_current_span("task"):
            await engine.infer_async("slow", slow_inputs())

    async def crowd() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    with busy(engine):
        asyncio.run(asyncio.wait_for(asyncio.to_thread(lambda: None), HUNG))
        thread = threading.Thread(target=lambda: asyncio.run(crowd()))
        thread.start()
        until(lambda: next(m for m in engine.stats().models if m.name == "slow").queue_depth == 5)
    thread.join(HUNG)
    until(lambda: sum(len(span.links) for span in kept.named("anya.batch")) == 5, "batches")
    members = {span.context.span_id: span for span in kept.named("anya.request")}
    assert len({span.context.trace_id for span in members.values()}) == 5
    for batch in kept.named("anya.batch"):
        assert batch.parent is None
        rows = {members[link.context.span_id].attributes["anya.model"] for link in batch.links}
        assert rows == {"slow"}
    assert max(len(batch.links) for batch in kept.named("anya.batch")) > 1


def test_errors_and_what_never_ran(engine: anya.Engine, kept: Kept) -> None:
    """A request that failed says its code; one that never ran has no run."""
    engine.load("slow", MODELS["slow"](), config=ONE)
    with busy(engine), tracer().start_as_current_span("handler"):
        engine.submit("slow", slow_inputs()).cancel()
    until(lambda: len(kept.named("anya.request")) == 1, "span")
    (request,) = kept.named("anya.request")
    assert request.attributes["anya.code"] == "CANCELLED" and not request.status.is_ok
    assert kept.named("anya.compute") == kept.named("anya.batch") == []


def test_without_a_sampled_span_there_is_none(engine: anya.Engine, kept: Kept) -> None:
    """Requests outside a span, or in one that is not sampled, are not traced."""
    engine.infer("m", floats(1, 3))
    off = trace.NonRecordingSpan(trace.SpanContext(5, 7, is_remote=False, trace_flags=trace.TraceFlags(0)))
    with trace.use_span(off):
        engine.infer("m", floats(1, 3))
    with tracer().start_as_current_span("handler"):
        engine.infer("m", floats(1, 3))
    until(lambda: len(kept.named("anya.batch")) == 1, "span")
    assert len(kept.named("anya.request")) == 1


def test_exemplars_carry_the_trace(engine: anya.Engine) -> None:
    """OpenMetrics shows a recent trace in the bucket that it fell into, in text and collector alike."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    with tracer().start_as_current_span("handler") as handler:
        engine.infer("m", floats(1, 3))
    wanted = f"{handler.get_span_context().trace_id:032x}"
    registry = CollectorRegistry()
    registry.register(engine.collector())
    for text in (engine.metrics_text(openmetrics=True), generate_latest(registry)):
        found = [
            (sample.labels["le"], sample.exemplar)
            for family in parse_openmetrics(text.decode())
            for sample in family.samples
            if family.name == "anya_request_duration_seconds" and sample.exemplar
        ]
        assert [each.labels for _, each in found] == [{"trace_id": wanted}]
        assert 0 < found[0][1].value <= float(found[0][0])
    assert b"trace_id" not in engine.metrics_text()


def test_an_exporter_that_hangs_holds_up_nobody(engine: anya.Engine, kept: Kept) -> None:
    """Requests are answered while it hangs; what found no room is counted, and spans come again when it goes on."""
    # The service's own span is exported by the service's own thread: only the engine's may hang.
    inside = trace.NonRecordingSpan(trace.SpanContext(5, 7, is_remote=False, trace_flags=trace.TraceFlags(1)))
    kept.leave.clear()
    with trace.use_span(inside):
        engine.infer("m", floats(1, 3))
        assert kept.entered.wait(HUNG)
        for _ in range(10_000):
            engine.infer("m", floats(1, 3))
    text = engine.metrics_text().decode()
    dropped = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("anya_trace_events_dropped"))
    assert dropped >= 10_000 - 8192
    kept.leave.set()
    until(lambda: len(kept.named("anya.request")) > 100, "spans")


def test_an_exporter_that_fails_costs_its_spans(engine: anya.Engine, kept: Kept) -> None:
    """Requests are answered, and later spans arrive."""
    kept.fails = True
    inside = trace.NonRecordingSpan(trace.SpanContext(5, 7, is_remote=False, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(inside):
        engine.infer("m", floats(1, 3))
        assert kept.entered.wait(HUNG)
        kept.fails = False
        kept.spans.clear()
        engine.infer("m", floats(1, 3))
    until(lambda: len(kept.named("anya.request")) >= 1, "span")


def test_tracing_is_asked_for_or_found() -> None:
    """Without a provider nobody traces; asked for without the API, the engine says what to install."""
    code = """
    sys.modules["opentelemetry"] = None
    anya.Engine().close()
    try:
        anya.Engine(anya.EngineConfig(tracing=True))
    except anya.ConfigError as error:
        print(error.field, "anya-engine[otel]" in str(error))
    """
    assert_clean(run_python(code), "tracing", "True")
