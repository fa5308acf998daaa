# SPDX-License-Identifier: Apache-2.0
"""One short run of everything the engine does with memory: for tools that make a process fifty times slower."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from models.make_models import MODELS

import anya_engine as anya


def main() -> None:
    """Ask in every way, with every kind of end; each answer is checked."""
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    with anya.Engine() as engine:
        engine.load("unnamed_batch", MODELS["unnamed_batch"]())
        engine.load("slow", MODELS["slow"](), config=anya.ModelConfig(instances=1))
        alone = engine.infer("unnamed_batch", x)

        def same(answer: dict[str, np.ndarray]) -> None:
            for name, expected in alone.items():
                np.testing.assert_allclose(answer[name], expected, rtol=1e-5)

        async def crowd() -> None:
            for answer in await asyncio.gather(*(engine.infer_async("unnamed_batch", x) for _ in range(8))):
                same(answer)

        asyncio.run(crowd())
        with ThreadPoolExecutor(3) as pool:
            for answer in pool.map(lambda _: engine.infer("unnamed_batch", x), range(12)):
                same(answer)
        same(engine.infer("unnamed_batch", np.asfortranarray(x)))  # copied
        same(engine.infer_detailed("unnamed_batch", x).outputs)
        futures = [engine.submit("unnamed_batch", x) for _ in range(8)]
        for future in futures:
            same(future.result(60))
        try:
            engine.infer("unnamed_batch", x.astype(np.int32))
        except anya.InvalidInput as error:
            print(error)
        slow = {"x": np.ones((1, 4), np.float32), "spins": np.array([2000], np.int64)}
        running, queued = engine.submit("slow", slow), engine.submit("slow", slow)
        print("cancelled" if queued.cancel() else "too late")
        np.testing.assert_array_equal(running.result(60)["y"], 2 * slow["x"])
        try:
            engine.load("broken", b"\\x08\\x07 no model")
        except anya.ModelLoadError as error:
            print(error)
        engine.unload("slow")
        print(engine.health())


if __name__ == "__main__":
    main()
