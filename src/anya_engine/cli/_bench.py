# SPDX-License-Identifier: Apache-2.0
"""`anya-engine bench MODEL`."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

from .._engine import Engine
from .._info import ModelInfo
from .._load_driver import LoadPlan, LoadReport, drive
from ..errors import ExecutionError, InvalidInput
from ._arrays import read_inputs
from ._model import add_model, opened
from ._parser import add_json, integer, number
from ._progress import progress
from ._questions import from_arrays, made_up
from ._text import CliError, counted, milliseconds, plain, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "measure a model under load"
DESCRIPTION = """\
Ask a model from C++ threads and tell how it answers. Closed loop (the default): --concurrency requests are
in flight all the time, as from an event loop; with --blocking that many threads ask and wait instead. Open
loop: --rate requests a second leave on schedule, whatever has become of those before them; latency counts
from when a request was due.

Beside it, in the same run, the same requests from one thread, one after the other: a lone request runs on
its caller's thread, through the same session, unbatched. What that differs by is what batching and parallel
runs give."""
EPILOG = """\
example:
  anya-engine bench models/ranker.onnx --concurrency 64 --seconds 5
  anya-engine bench models/ranker.onnx --rate 2000 --input x.npz --p99-below 0.020

exit status: 0 measured, 1 the p99 is not below --p99-below or a request failed beside it, 2 could not be measured
"""
_BASELINE_SECONDS = 2.0


def _dimension(text: str) -> tuple[str, int]:
    name, equals, value = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"takes NAME=SIZE, got {text!r}")
    return name, integer(1, 1 << 31)(value)


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_model(parser)
    load = parser.add_argument_group("the load")
    how = load.add_mutually_exclusive_group()
    how.add_argument(
        "--concurrency", type=integer(1, 1 << 16), metavar="N", help="closed loop: requests in flight (64)"
    )
    how.add_argument("--rate", type=number(0, 1e6), metavar="R", help="open loop: requests per second")
    load.add_argument("--blocking", action="store_true", help="closed loop from N threads that wait (at most 1024)")
    load.add_argument("--distribution", choices=("poisson", "constant"), help="open loop: the gaps (poisson)")
    load.add_argument("--seconds", type=number(0, 86_400), default=5.0, metavar="S", help="measured time (5)")
    load.add_argument(
        "--warmup",
        type=number(0, 3600, or_equal=True),
        default=0.5,
        metavar="S",
        help="asked before, not reported (0.5)",
    )
    load.add_argument("--no-baseline", action="store_true", help="leave the one thread beside it out")
    load.add_argument(
        "--p99-below", type=number(0, 3600), metavar="S", help="the verdict (exit status 1): p99 in seconds, no failure"
    )
    data = parser.add_argument_group("the data")
    data.add_argument("--input", metavar="X.npz", help="rows to ask, in turn; default: made up from the model's schema")
    data.add_argument("--rows", type=integer(1, 1 << 20), default=1, metavar="N", help="rows in one request (1)")
    data.add_argument(
        "--dim",
        type=_dimension,
        action="append",
        metavar="NAME=SIZE",
        help="made-up data: size of a free axis, by name",
    )
    data.add_argument(
        "--free-size", type=integer(1, 1 << 31), metavar="N", help="made-up data: size of every other free axis (8)"
    )
    data.add_argument("--seed", type=integer(0, (1 << 63) - 1), default=1, metavar="N", help="of data and gaps (1)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Ask, measure, compare."""
    plan = _plan(arguments)
    with opened(arguments, in_flight=plan.concurrency if plan.mode == "closed" else 0) as (engine, info):
        questions = _questions(arguments, engine, info)
        baseline = None
        if not arguments.no_baseline:
            lone = LoadPlan(
                mode="blocking",
                concurrency=1,
                warm_up=min(plan.warm_up, _BASELINE_SECONDS / 4),
                duration=min(plan.duration, _BASELINE_SECONDS),
            )
            baseline = _measured("one thread", engine, info, questions, lone)
        report = _measured("under load", engine, info, questions, plan)
    if report["ok"] == 0:
        raise CliError(f"no request was answered: {report['first_error'] or 'the time was too short for one'}")
    failed = report["asked"] - report["ok"] + report["malformed"] + report["unsent"]
    passed = arguments.p99_below is None or (report["latency"]["p99"] < arguments.p99_below and failed == 0)
    if arguments.json:
        print_json(_facts(arguments, info, plan, report, baseline, passed))
    else:
        _print(arguments, info, plan, report, baseline, passed)
    return passed


def _plan(arguments: argparse.Namespace) -> LoadPlan:
    common: dict[str, Any] = {"seed": arguments.seed, "warm_up": arguments.warmup, "duration": arguments.seconds}
    if arguments.rate is not None:
        if arguments.blocking:
            raise CliError("--blocking belongs to the closed loop; leave it out with --rate")
        return LoadPlan(mode="open", rate=arguments.rate, arrivals=arguments.distribution or "poisson", **common)
    if arguments.distribution is not None:
        raise CliError("--distribution belongs to the open loop; give a --rate")
    concurrency = 64 if arguments.concurrency is None else arguments.concurrency
    return LoadPlan(mode="blocking" if arguments.blocking else "closed", concurrency=concurrency, **common)


def _questions(arguments: argparse.Namespace, engine: Engine, info: ModelInfo) -> list[dict[str, Any]]:
    if arguments.input is not None:
        if arguments.dim or arguments.free_size is not None:
            raise CliError("--dim and --free-size shape made-up data; leave them out with --input")
        questions = from_arrays(read_inputs(arguments.input, info.inputs), info.inputs, arguments.rows)
    else:
        questions = made_up(
            info.inputs,
            rows=arguments.rows,
            sizes=dict(arguments.dim or ()),
            free_size=arguments.free_size or 8,
            seed=arguments.seed,
        )
    try:
        engine.infer(info.name, questions[0])  # a question that cannot be answered says so once, in words
    except (InvalidInput, ExecutionError) as error:
        if arguments.input is not None:
            raise
        raise CliError(f"made-up data does not fit this model, try --dim or --input: {error}") from error
    return questions


def _measured(
    text: str, engine: Engine, info: ModelInfo, questions: list[dict[str, Any]], plan: LoadPlan
) -> LoadReport:
    began = time.monotonic()
    with progress(text, plan.warm_up + plan.duration) as done:
        return drive(engine, info.name, questions, plan, progress=lambda _: done(time.monotonic() - began))


def _speedup(plan: LoadPlan, report: LoadReport, baseline: LoadReport | None) -> float | None:
    """How much more the load got done than one thread; an open loop gets what it asks for."""
    if plan.mode == "open" or baseline is None or baseline["requests_per_second"] == 0:
        return None
    return report["requests_per_second"] / baseline["requests_per_second"]


def _facts(
    arguments: argparse.Namespace,
    info: ModelInfo,
    plan: LoadPlan,
    report: LoadReport,
    baseline: LoadReport | None,
    passed: bool,
) -> dict[str, Any]:
    return {
        "path": arguments.model,
        "digest": info.digest,
        "batchable": info.batchable,
        "batching_note": info.batching_note,
        "instances": info.instances,
        "max_batch_size": info.max_batch_size,
        "load": {**dataclasses.asdict(plan), "rows": arguments.rows, "input": arguments.input},
        "engine": report,
        "baseline": baseline,
        "speedup": _speedup(plan, report, baseline),
        "p99_below": arguments.p99_below,
        "passed": passed,
    }


def _print(
    arguments: argparse.Namespace,
    info: ModelInfo,
    plan: LoadPlan,
    report: LoadReport,
    baseline: LoadReport | None,
    passed: bool,
) -> None:
    if plan.mode == "open":
        load = f"open loop, {plan.rate:g} requests a second ({plan.arrivals})"
    elif plan.mode == "blocking":
        load = f"closed loop, {counted(plan.concurrency, 'waiting thread')}"
    else:
        load = f"closed loop, {counted(plan.concurrency, 'request')} in flight"
    data = f"from {arguments.input}" if arguments.input else f"made up (seed {arguments.seed})"
    print_table(
        [
            ("model", f"{arguments.model}  sha256:{info.digest[:16]}…"),
            ("batching", info.batching_note),
            ("load", f"{load}, {counted(arguments.rows, 'row')} each, {plan.duration:g} s; data {data}"),
        ]
    )
    print()
    columns = [("engine", report)] + ([("one thread, unbatched", baseline)] if baseline else [])
    rows = [("", *(name for name, _ in columns))]
    for label, cell in _lines(plan):
        rows.append((label, *(cell(each) for _, each in columns)))
    print_table(rows, right=range(1, 1 + len(columns)))
    print()
    for code, count in report["errors"].items():
        print(f"{code}: {counted(count, 'request')}")
    if report["first_error"]:
        print(plain(f"the first: {report['first_error']}"))
    if report["unsent"]:
        never = counted(report["unsent"], "request")
        print(f"{never} never left: this machine cannot ask {plan.rate:g} times a second")
    if report["malformed"]:
        print(f"{counted(report['malformed'], 'answer')} not of the model's schema: a bug, please report it")
    if (speedup := _speedup(plan, report, baseline)) is not None:
        print(f"{speedup:.2f} times the throughput of one thread, unbatched")
    if arguments.p99_below is not None:
        limit = milliseconds(arguments.p99_below)
        print(f"p99 below {limit} and nothing failed: {'yes' if passed else 'no'}")


def _lines(plan: LoadPlan) -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = [
        ("requests per second", lambda r: f"{r['requests_per_second']:,.0f}"),
        ("rows per second", lambda r: f"{r['rows_per_second']:,.0f}"),
        *[
            (f"latency {name}", lambda r, key=key: milliseconds(r["latency"][key]))
            for name, key in (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("max", "max"))
        ],
        ("waiting, mean", lambda r: milliseconds(r["queue"]["mean"])),
        ("running, mean", lambda r: milliseconds(r["compute"]["mean"])),
        ("rows per run, mean", lambda r: f"{r['mean_run_rows']:,.1f}"),
        ("rows per run, max", lambda r: f"{r['batch_rows']['max']:,.0f}"),
        ("answered", lambda r: f"{r['ok']:,}"),
        ("failed", lambda r: f"{r['asked'] - r['ok']:,}"),
    ]
    if plan.mode == "open":
        lines.append(
            ("left late by, p99", lambda r: milliseconds(r["lateness"]["p99"]) if r["lateness"]["count"] else "-")
        )
    return lines
