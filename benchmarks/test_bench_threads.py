# SPDX-License-Identifier: Apache-2.0
"""64 Python threads, each blocking on its request: against a micro-batcher for threads, and against plain `run`."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import rivals
from interleave import Bar
from loops import threaded_loop
from subjects import CLIENTS, subject
from versus import Figures, Versus, in_turn

import anya_engine as anya

RUN = "64 threads on InferenceSession.run"


def test_64_threads(versus: Versus, engine: anya.Engine) -> None:
    """64 threads that call `infer` get twice what a micro-batcher gives them, no less than by plain runs, and sooner.

    Plain runs of 64 threads on two cores answer few of them fast and the others late, hence the bar on p99.
    """
    of = subject("medium", rows=4 * CLIENTS)
    engine.load("medium", of.model)
    seconds = 0.02 if versus.quick else 0.4
    with (
        closing(rivals.ThreadMicroBatcher(of.run, workers=1, max_batch=64)) as one,
        closing(rivals.ThreadMicroBatcher(of.run, workers=2, max_batch=32)) as two,
    ):

        def measure(infer: Any, items: Any) -> Figures:
            return of.checked(threaded_loop(infer, items, clients=CLIENTS, seconds=seconds))

        sides = {
            RUN: partial(measure, of.run, of.items),
            "thread micro-batcher, 1 x 64": partial(measure, one.infer, of.items),
            "thread micro-batcher, 2 x 32": partial(measure, two.infer, of.items),
            "ours": partial(measure, partial(engine.infer, "medium"), of.feeds),
        }
        took = versus.measure(in_turn(sides))

    ours = took["ours"]
    batchers = {side: took[side]["items/s"] for side in sides if side.startswith("thread micro-batcher")}
    versus.compare(
        "64 threads, over a thread micro-batcher: medium",
        ours["items/s"],
        batchers,
        unit="items/s",
        bar=Bar(better="higher", goal=2.0),
    )
    versus.compare(
        "64 threads, over plain run: medium",
        ours["items/s"],
        {RUN: took[RUN]["items/s"]},
        unit="items/s",
        bar=Bar(limit=1.0, better="higher"),
    )
    versus.compare(
        "64 threads, p99 over plain run's: medium",
        ours["p99 ms"],
        {RUN: took[RUN]["p99 ms"]},
        unit="ms",
        bar=Bar(limit=0.5, better="lower"),
    )
