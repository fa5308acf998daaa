# SPDX-License-Identifier: Apache-2.0
"""`anya-engine bench` on real models."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from models.make_models import MODELS
from python.cli_support import Capture, ModelFiles, assert_refused, npz, run
from python.support import floats

import anya_engine as anya
from anya_engine.cli import _bench


@pytest.fixture
def model(tmp_path: Path) -> ModelFiles:
    """Writes a model of the table as a file: called with its name, gives its path."""
    return ModelFiles(tmp_path)


def bench(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The JSON of a short bench that ends well."""
    status, out, err = run(capsys, "bench", *arguments, "--seconds", 0.2, "--warmup", 0.05, "--json")
    assert (status, err) == (0, "")
    facts: dict[str, Any] = json.loads(out)
    for report in (facts["engine"], facts["baseline"]):
        if report is not None:
            assert report["asked"] == report["ok"] + sum(report["errors"].values()) > 0
            assert report["malformed"] == 0
            assert report["latency"]["count"] == report["ok"]
            latency = report["latency"]
            assert (
                latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
            )
    return facts


def test_bench_closed_loop(capsys: Capture, model: ModelFiles) -> None:
    """The closed loop keeps its concurrency in flight, shares runs, and stands beside one thread."""
    facts = bench(capsys, model("tiny"), "--concurrency", 32)
    assert facts["engine"]["peak_in_flight"] == 32
    assert facts["engine"]["mean_run_rows"] > 1
    assert facts["baseline"]["mean_run_rows"] == 1
    assert facts["baseline"]["peak_in_flight"] == 1
    ratio = facts["engine"]["requests_per_second"] / facts["baseline"]["requests_per_second"]
    assert facts["speedup"] == pytest.approx(ratio)


def test_bench_more_in_flight_than_the_queue_holds_by_default(capsys: Capture, model: ModelFiles) -> None:
    """The queue grows to the concurrency that was asked for; with --max-queue-size it is as small as one says."""
    facts = bench(capsys, model("tiny"), "--concurrency", 3000, "--no-baseline")
    assert facts["engine"]["errors"] == {}
    assert facts["engine"]["peak_in_flight"] == 3000
    assert facts["baseline"] is None
    facts = bench(capsys, model("tiny"), "--concurrency", 3000, "--max-queue-size", 16, "--no-baseline")
    assert facts["engine"]["errors"]["OVERLOADED"] > 0
    assert "16" in facts["engine"]["first_error"]


def test_bench_open_loop(capsys: Capture, model: ModelFiles) -> None:
    """The open loop asks its schedule: at a constant 1000 a second 0.2 s hold 200, give or take the edges."""
    facts = bench(capsys, model("tiny"), "--rate", 1000, "--distribution", "constant")
    report = facts["engine"]
    assert 199 <= report["asked"] + report["unsent"] <= 201
    assert report["lateness"]["count"] == report["asked"]
    assert facts["speedup"] is None
    assert facts["load"]["mode"] == "open"


@pytest.mark.parametrize(
    "name",
    ["scalar", "fixed_batch", "unlike_batch", "softmax_axis0", "strings", "sequence", "identity_bfloat16", "total"],
)
def test_bench_makes_data_up_for_every_kind_of_model(capsys: Capture, model: ModelFiles, name: str) -> None:
    """Models without a batch axis, of text, of free sizes, of rare types: made-up data fits, and nothing fails."""
    facts = bench(capsys, model(name), "--blocking", "--concurrency", 2, "--no-baseline")
    assert facts["engine"]["errors"] == {}


def test_bench_asks_the_rows_of_a_file(tmp_path: Path, capsys: Capture, model: ModelFiles) -> None:
    """--input is asked in requests of --rows rows."""
    facts = bench(capsys, model("tiny"), "--input", npz(tmp_path / "x.npz", x=floats(10, 64)), "--rows", 5)
    assert facts["engine"]["rows"] == 5 * facts["engine"]["ok"]
    assert facts["load"]["input"].endswith("x.npz")


def test_bench_gives_free_axes_the_sizes_asked_for(capsys: Capture, model: ModelFiles) -> None:
    """--dim sets an axis by its name, and a name that is not there is refused with those that are."""
    with anya.Engine() as engine:
        named = [a for s in engine.load("m", MODELS["sequence"]()).inputs for a in s.shape[1:] if isinstance(a, str)]
    bench(capsys, model("sequence"), "--dim", f"{named[0]}=3", "--no-baseline", "--concurrency", 2)
    assert_refused(run(capsys, "bench", model("sequence"), "--dim", "nope=3"), "nope", named[0])


def test_bench_prints_a_table_beside_one_thread(capsys: Capture, model: ModelFiles) -> None:
    """Without --json: throughput, percentiles, waiting and running apart, batch sizes, and the ratio."""
    status, out, err = run(capsys, "bench", model("tiny"), "--seconds", 0.1, "--warmup", 0)
    assert (status, err) == (0, "")
    assert re.search(r"^ +engine +one thread, unbatched$", out, re.MULTILINE)
    for line in ("requests per second", "latency p50", "latency p99", "waiting, mean", "running, mean", "rows per run"):
        assert re.search(rf"^{line}.* [\d.,]+", out, re.MULTILINE), line
    assert re.search(r"^[\d.]+ times the throughput of one thread, unbatched$", out, re.MULTILINE)


def test_bench_gives_a_verdict(capsys: Capture, model: ModelFiles) -> None:
    """--p99-below ends with 0 when it holds, with 1 when it does not, and when a request failed beside it."""
    short = ("--seconds", 0.1, "--warmup", 0, "--no-baseline", "--concurrency", 2)
    assert run(capsys, "bench", model("tiny"), *short, "--p99-below", 3600)[0] == 0
    status, out, err = run(capsys, "bench", model("tiny"), *short, "--p99-below", 1e-9)
    assert (status, err) == (1, "")
    assert out.endswith("nothing failed: no\n")
    overloaded = ("--concurrency", 3000, "--max-queue-size", 1, *short[:-2], "--p99-below", 3600)
    assert run(capsys, "bench", model("tiny"), *overloaded)[0] == 1


def test_bench_interrupted_ends_in_one_line(
    capsys: Capture, model: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of an hour stops the load and drains it."""

    @contextmanager
    def interrupting(*_: object) -> Iterator[Callable[[float], None]]:
        yield lambda _: signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_bench, "progress", interrupting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    try:
        assert_refused(run(capsys, "bench", model("tiny"), "--seconds", 3600, "--no-baseline"), "interrupted")
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_rich_there_is_no_bar_and_no_complaint(
    capsys: Capture, model: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal without the extra `tools` sees the same output and nothing on stderr."""
    for name in ("rich", "rich.console", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert bench(capsys, model("tiny"), "--concurrency", 2)["engine"]["ok"] > 0
