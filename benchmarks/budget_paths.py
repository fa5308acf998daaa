# SPDX-License-Identifier: Apache-2.0
"""The requests whose instructions are counted; run in callgrind by instruction_budget.py.

Each path is warmed up first, then asked N times between two marks. Beside `engine.infer` and `infer_async` stand the
same calls without the Python layer: the difference is what that layer costs.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from models import make_models

import anya_engine as anya

#: Exit status when the machine was so slow that requests took another path than the one that is counted.
OTHER_PATH = 75


def main(library: str, requests: int, in_flight: int) -> int:
    """Warm up, then count."""
    marks = ctypes.CDLL(library)

    def count(name: str, work: Callable[[], Any]) -> None:
        marks.anya_marks_zero()
        work()
        marks.anya_marks_dump(name.encode())

    engine = anya.Engine()
    # In callgrind a run seems to take so long that only a wide limit lets the event loop run it in place.
    in_place = anya.BatchingConfig(max_in_place_microseconds=1_000_000)
    # Of one row, so that the number of runs is not a matter of what the engine has learned of a run's time.
    queued = anya.BatchingConfig(max_in_place_microseconds=0, max_batch_size=1)
    engine.load("tiny", make_models.MODELS["tiny"](), config=anya.ModelConfig(batching=in_place))
    engine.load("queued", make_models.MODELS["tiny"](), config=anya.ModelConfig(batching=queued, instances=1))
    tiny = {"x": np.zeros((1, make_models.TINY[0]), np.float32)}
    core = engine._models.serving["tiny"]

    def infer(times: int) -> None:
        for _ in range(times):
            engine.infer("tiny", tiny)

    def infer_bare(times: int) -> None:
        for _ in range(times):
            core.infer(tiny, None, None, None, None, None)

    async def one_by_one(times: int) -> None:
        for _ in range(times):
            await engine.infer_async("tiny", tiny)

    async def one_by_one_bare(times: int) -> None:
        for _ in range(times):
            await core.ask(engine._door, tiny, None, None, None, None, None)

    async def together(times: int) -> None:
        await asyncio.gather(*(one_by_one(times // in_flight) for _ in range(in_flight)))

    async def in_rounds(times: int) -> None:
        """A round goes in together, and is looked at when all of it has ended: one turn, one wake-up, every time."""
        for _ in range(times // in_flight):
            round_of = [asyncio.ensure_future(engine.infer_async("queued", tiny)) for _ in range(in_flight)]
            await asyncio.sleep(0)  # they submit
            await asyncio.sleep(0)  # the turn is over, they go in
            marks.anya_marks_toggle()
            while next(each.in_flight for each in engine.stats().models if each.name == "queued"):
                time.sleep(0.005)  # noqa: ASYNC251
            marks.anya_marks_toggle()
            await asyncio.gather(*round_of)

    gc.collect()
    gc.disable()  # when it comes is a matter of what else was allocated
    with asyncio.Runner() as loop:
        paths: dict[str, Callable[[int], Any]] = {
            "infer": infer,
            "infer_bare": infer_bare,
            "async_1": lambda times: loop.run(one_by_one(times)),
            "async_1_bare": lambda times: loop.run(one_by_one_bare(times)),
            "async_64": lambda times: loop.run(together(times)),
            "async_64_queued": lambda times: loop.run(in_rounds(times)),
        }
        for work in paths.values():
            work(2 * in_flight)
        marks.anya_marks_begin()
        for name, work in paths.items():
            work(in_flight)  # the first time callgrind sees code it also counts the dynamic linker's work
            count(name, lambda work=work: work(requests))  # type: ignore[misc]
        not_in_place = {each.name: each.batches - each.in_place for each in engine.stats().models}
    engine.close()
    expected = {"tiny": 0, "queued": (3 + requests // in_flight) * in_flight}
    if not_in_place == expected:
        return 0
    print(f"runs on worker threads: {not_in_place} instead of {expected}", flush=True)
    return OTHER_PATH


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
