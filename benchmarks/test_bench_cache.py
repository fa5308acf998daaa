# SPDX-License-Identifier: Apache-2.0
"""What a cached answer costs, and what a miss adds, against the caches one would put before a model.

The rivals are keyed by `xxh3_128` of the input's bytes alone: they know no shapes, no tenants, no versions and count
nothing. Each hands out a copy, as the engine does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cachebox
import cachetools
import numpy as np
import pytest
from interleave import Bar
from loops import calls_for, microseconds_per_call
from models.parts import const, model, value
from onnx import helper
from programs import cache_round
from subjects import subject
from versus import Figures, Versus, in_turn
from xxhash import xxh3_128_digest

import anya_engine as anya

ROUND_SECONDS = 0.05
SHORT_TURN = 0.005  # many of them: the machine's moods change between, and a median leaves them out
TTL = 3600.0
CACHED = anya.ModelConfig(cache=anya.CacheConfig(capacity_bytes=256 << 20, ttl=TTL))
ENGINE, BOX, TOOLS, DICT, HASH = "engine.infer", "cachebox + xxh3", "cachetools + Lock + xxh3", "dict", "xxh3_128 alone"


def sums(width: int) -> bytes:
    """x [N, width] -> y [N, 16], each row's sum over again."""
    node = helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1)
    spread = helper.make_node("Mul", ["sum", "ones"], ["y"])
    axis, ones = const("axis", [1], np.int64), const("ones", np.ones((1, 16), np.float32))
    return model([node, spread], [value("x", ["N", width])], [value("y", ["N", 16])], [axis, ones])


def rivals_with(x: Any, answer: Any) -> Mapping[str, Callable[[], Any]]:
    """The other caches, with this answer in them; each call looks it up by the array's bytes."""
    box: Any = cachebox.TTLCache(10_000, TTL)
    tools: Any = cachetools.TTLCache(10_000, TTL)
    lock = threading.Lock()
    plain = {x.tobytes(): answer}
    box[xxh3_128_digest(x)] = tools[xxh3_128_digest(x)] = answer

    def of_tools() -> Any:
        key = xxh3_128_digest(x)
        with lock:
            found = tools[key]
        return {"y": found.copy()}

    return {
        BOX: lambda: {"y": box[xxh3_128_digest(x)].copy()},
        TOOLS: of_tools,
        DICT: lambda: {"y": plain[x.tobytes()].copy()},
        HASH: lambda: xxh3_128_digest(x),
    }


def microseconds(call: Callable[[], Any], calls: int) -> Figures:
    """One round of bare calls."""
    return {"µs": microseconds_per_call(call, calls)[0]}


@pytest.mark.parametrize("size", [256, 4096, 602_112])
def test_hit(versus: Versus, engine: anya.Engine, size: int) -> None:
    """A cached answer, end to end."""
    engine.load("m", sums(size // 4), config=CACHED)
    x = np.random.default_rng(3).standard_normal((1, size // 4)).astype(np.float32)
    answer = engine.infer("m", {"x": x})["y"]
    calls: dict[str, Callable[[], Any]] = dict(rivals_with(x, answer))
    calls[ENGINE] = partial(engine.infer, "m", {"x": x})
    for side in (ENGINE, BOX, TOOLS, DICT):
        given = calls[side]()["y"]
        np.testing.assert_array_equal(given, answer)
        given += 1.0  # a copy
    turns = calls_for(SHORT_TURN, calls[ENGINE], quick=versus.quick)
    sides = {side: partial(microseconds, call, turns) for side, call in calls.items()}
    took = versus.measure(in_turn(sides), repeats=101)
    assert engine.cache_stats("m").misses == 1
    ours = took[ENGINE]["µs"]
    rivals = {side: took[side]["µs"] for side in (BOX, TOOLS, DICT)}
    if size > 100_000:
        bar = Bar(limit=2.0, better="lower")
        versus.compare(
            f"a cached answer, {size} B, over hashing alone", ours, {HASH: took[HASH]["µs"]}, unit="µs", bar=bar
        )
        return
    title = f"a cached answer, {size} B, infer"
    versus.compare(title, ours, rivals, unit="µs", bar=Bar(limit=2.0, better="lower", goal=1.5), against=BOX)
    bar = Bar(limit=0.7, better="lower")
    versus.compare(f"{title}, over {TOOLS}", ours, rivals, unit="µs", bar=bar, against=TOOLS, headline=False)


def test_miss(versus: Versus, engine: anya.Engine) -> None:
    """A cache that never has the answer adds 2 % to a run of Magika at most."""
    of = subject("magika", rows=1)
    engine.load("plain", of.model)
    engine.load("cached", of.model, config=CACHED)
    fresh = count()
    row = np.array(of.items[0])

    def ask(name: str) -> Any:
        row[0, 0] = next(fresh) % 256
        row[0, 1] = next(fresh) // 256 % 256
        row[0, 2] = next(fresh) // 65536
        return engine.infer(name, row)

    for name in ("plain", "cached"):
        of.check([(0, engine.infer(name, of.items[0]))])
    turns = calls_for(ROUND_SECONDS, partial(ask, "plain"), quick=versus.quick)
    sides = {name: partial(microseconds, partial(ask, name), turns) for name in ("plain", "cached")}
    took = versus.measure(in_turn(sides), repeats=25)
    assert engine.cache_stats("cached").hits == 0
    bar = Bar(limit=1.02, better="lower")
    rival = {"the same without a cache": took["plain"]["µs"]}
    versus.compare("a miss, magika", took["cached"]["µs"], rival, unit="µs", bar=bar)


def test_core(versus: Versus, programs: Path) -> None:
    """Two threads get 1.7 times the hits of one; an insertion costs the same when the cache is full."""
    seconds = 0.01 if versus.quick else 0.3
    took = versus.measure(lambda: cache_round(programs, seconds))
    for size in ("256 B", "4096 B"):
        bar = Bar(limit=1.7, better="higher")
        one = {"one thread": took[size]["one"]}
        versus.compare(f"hits of two threads in C++, {size}", took[size]["two"], one, unit="hits/s", bar=bar)
    insertions = took["insertions"]
    versus.compare(
        "the last of a million insertions",
        insertions["last µs"],
        {"when it has just become full": insertions["full µs"]},
        unit="µs",
        bar=Bar(limit=1.3, better="lower"),
        headline=False,
        context={"into an empty cache, last repeat, µs": insertions["empty µs"][-1]},
    )


def test_threads(versus: Versus, engine: anya.Engine) -> None:
    """With four Python threads a cached answer slows down no more than a look into `cachebox` does."""
    engine.load("m", sums(64), config=CACHED)
    x = np.random.default_rng(3).standard_normal((1, 64)).astype(np.float32)
    answer = engine.infer("m", {"x": x})["y"]
    calls: dict[str, Callable[[], Any]] = {
        ENGINE: partial(engine.infer, "m", {"x": x}),
        BOX: rivals_with(x, answer)[BOX],
    }
    turns = {side: calls_for(0.02, call, quick=versus.quick) for side, call in calls.items()}

    def slowdown(side: str) -> Figures:
        call, number = calls[side], turns[side]
        alone = microseconds_per_call(call, number)[0]
        # From the moment they all may go to the last one's end: a thread that goes first meets no other.
        ready = threading.Barrier(5)

        def go() -> None:
            ready.wait()
            for _ in range(number):
                call()

        threads = [threading.Thread(target=go) for _ in range(4)]
        for thread in threads:
            thread.start()
        ready.wait()
        start = time.perf_counter()
        for thread in threads:
            thread.join()
        return {"times": (time.perf_counter() - start) * 1e6 / (4 * number) / alone}

    # Many short turns: what else the machine does must meet both sides alike.
    took = versus.measure(in_turn({side: partial(slowdown, side) for side in calls}), repeats=101)
    versus.compare(
        "a cached answer with 4 threads over 1, per answer",
        took[ENGINE]["times"],
        {BOX: took[BOX]["times"]},
        unit="times",
        bar=Bar(limit=1.1, better="lower"),
        headline=False,
    )
