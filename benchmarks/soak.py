# SPDX-License-Identifier: Apache-2.0
"""A long run at 80 % load, models coming and going beside it: nothing may grow, and the event loop must stay free.

`nox -s soak -- --seconds 600`. Windows alternate: in a serving window this process's event loop sends requests on an
open schedule through `infer_async`; in a control window the core's own C++ driver sends them at the same rate, and the
loop has nothing to do. A heartbeat on the loop measures in both how late it wakes. A thread loads, asks and unloads
a second model every second throughout, and samples the process when the second model is gone.

A request is due when the schedule says so. The client sends what it is late with at once, and a latency counts from
when the request was due. Exit status: 0 all holds, 1 something that must hold does not.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soak_judge as judge

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import interleave
from soak_load import BEAT, Churn, Client, Heart, native_seconds

import anya_engine as anya
from anya_engine import _load_driver as load_driver

LOAD = 0.8
SERVING, CONTROL = 6.0, 2.0
SETTLE = 0.25  # seconds at the start of a window that belong to neither


async def soak(options: argparse.Namespace) -> dict[str, Any]:
    """The run; returns everything that was found."""
    engine = anya.Engine()
    client = Client(engine, options.seed, options.rows)
    heart, churn = Heart(), Churn(client, int(options.seconds) + 1)
    beating = asyncio.create_task(heart.beat())
    churn.start()
    # Once more than the queue takes, so that every pool has the size that a hiccup of the machine would give it later.
    for _ in range(2 * anya.BatchingConfig().max_queue_size):
        client.start(time.perf_counter())
    await client.drained()
    await client.closed_loop(1.0)
    client.asked, client.errors, client.latency = 0, {}, judge.Histogram(most=100.0)
    capacities: list[float] = []
    native = {"serving": [0.0, 0.0], "control": [0.0, 0.0]}  # CPU seconds of the model's threads, seconds
    reports: list[load_driver.LoadReport] = []
    begin = time.perf_counter()
    while churn.failure is None and (now := time.perf_counter() - begin) < options.warm_up + options.seconds:
        churn.measuring = measured = now >= options.warm_up
        # Found anew for every pair of windows: 80 % of what the machine could do a minute ago may be 120 % now.
        capacities.append(await client.closed_loop(options.capacity_seconds))
        rate = options.rate or LOAD * float(np.median(capacities[-3:]))
        if len(capacities) % 8 == 1:
            print(f"{now:5.0f} s: capacity {capacities[-1]:,.0f} requests/s, driven at {rate:,.0f}", flush=True)
        for kind, seconds, histogram in (("serving", SERVING, heart.serving), ("control", CONTROL, heart.control)):
            churn.windows += 1
            asyncio.get_running_loop().call_later(SETTLE, setattr, heart, "now", histogram if measured else None)
            cpu, wall = native_seconds(), time.perf_counter()
            if kind == "serving":
                churn.serving.set()
                await client.open_loop(seconds, rate)
                churn.serving.clear()
            else:
                plan = load_driver.LoadPlan(mode="open", rate=rate, seed=churn.windows, duration=seconds)
                report = await asyncio.to_thread(load_driver.drive, engine, "medium", client.questions, plan)
                reports.append(report)
            heart.now = None
            if measured:
                native[kind][0] += native_seconds() - cpu
                native[kind][1] += time.perf_counter() - wall
    churn.stopped.set()
    await asyncio.to_thread(churn.join)
    beating.cancel()
    if churn.failure is not None:
        raise churn.failure
    stats = [
        {"name": each.name, "accepted": each.accepted, "ended": dict(each.ended), "in_flight": each.in_flight}
        | {"batches": each.batches, "rows": each.rows}
        for each in engine.stats().models
    ]
    engine.close()

    control_errors = sum(sum(each["errors"].values()) + each["malformed"] + each["unsent"] for each in reports)
    control_asked = max(1, sum(each["asked"] + each["unsent"] for each in reports))
    share = {kind: cpu / max(wall, 1e-9) for kind, (cpu, wall) in native.items()}
    heavier = share["control"] / share["serving"] if share["serving"] else math.nan
    few = int(options.seconds / 4)  # on a machine where a load and its unload take four seconds, say
    shed = client.errors.pop("OVERLOADED", 0)
    criteria = [
        *judge.growth(churn.samples()),
        *judge.conservation(stats),
        judge.Criterion(name="wrong answers", value=client.wrong, bound=0, note=f"{client.checked} checked"),
        judge.Criterion(name="failed requests", value=sum(client.errors.values()), bound=0, note=str(client.errors)),
        judge.Criterion(name="shed requests", value=shed / client.asked, bound=0.001, noisy=True),
        judge.Criterion(name="loads missing", value=max(0, few - churn.loads), bound=0, note=f"{churn.loads} loads"),
        judge.Criterion(name="control requests failed", value=control_errors / control_asked, bound=0.001, noisy=True),
        # A control beside more native work than the serving loop has would flatter the heartbeat.
        judge.Criterion(name="native load, control over serving", value=heavier, bound=1.25, noisy=True),
        judge.heartbeat(heart.serving, heart.control),
    ]
    return {
        "machine": interleave.machine(),
        "commit": interleave.commit(),
        "seconds": options.seconds,
        "capacities": capacities,
        "rate": rate,
        "asked": client.asked,
        "control_requests": sum(each["asked"] for each in reports),
        "control_errors": control_errors,
        "control_latency_p99": max((each["latency"]["p99"] for each in reports), default=math.nan),
        "control_lateness_p99": max((each["lateness"]["p99"] for each in reports), default=math.nan),
        "latency": {str(share): client.latency.percentile(share) for share in (0.5, 0.9, 0.99, 0.999)},
        "native_cpu_share": share,
        "loads": churn.loads,
        "stats": stats,
        "samples": [dataclasses.asdict(each) for each in churn.samples()],
        "heartbeat": {name: getattr(heart, name).counts for name in ("serving", "control")},
        "bars": {name: getattr(heart, name).bars() for name in ("serving", "control")},
        "criteria": criteria,
    }


def show(found: dict[str, Any]) -> None:
    """The report in text."""
    print(interleave.machine_line(found["machine"]), f"commit {found['commit']}")
    latency = ", ".join(f"p{float(share) * 100:g} {value * 1e3:.1f} ms" for share, value in found["latency"].items())
    print(f"{found['asked']} requests; latency from due to answer: {latency}")
    print(f"{found['control_requests']} requests by the driver, {found['control_errors']} of them failed or unsent")
    cpu = ", ".join(f"{kind} {share:.2f}" for kind, share in found["native_cpu_share"].items())
    print(f"CPU seconds per second in the model's own threads: {cpu}")
    for name, bars in found["bars"].items():
        print(f"\nheartbeat of {BEAT * 1e3:g} ms, how late it woke, {name}:")
        print("\n".join(bars))
    print()
    for criterion in found["criteria"]:
        print(criterion)


def main(arguments: list[str]) -> int:
    """Run, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="measured, the warm-up not included")
    parser.add_argument("--warm-up", type=float, default=16.0, help="seconds before that")
    parser.add_argument(
        "--capacity-seconds", type=float, default=0.5, help="of each closed loop that finds the capacity"
    )
    parser.add_argument(
        "--rate", type=float, default=None, help=f"requests per second instead of {LOAD:.0%} of capacity"
    )
    parser.add_argument("--rows", type=int, default=16, help="of a request; so many that the model is the bottleneck")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write everything that was found")
    parser.add_argument(
        "--enforce", action="store_true", help="what is noisy fails too; for long runs on a quiet machine"
    )
    options = parser.parse_args(arguments)
    found = asyncio.run(soak(options))
    show(found)
    status = judge.exit_status(found["criteria"], enforce=options.enforce)
    if options.json:
        found["criteria"] = [dataclasses.asdict(each) | {"holds": each.holds} for each in found["criteria"]]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
