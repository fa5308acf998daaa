# SPDX-License-Identifier: Apache-2.0
"""Classifies real files of this machine, half of them seen before, with a response cache and without.

The files are those of magika_demo.py; each is asked twice, in one shuffled order. Both engines must give the same
scores to the bit. Exit status 1 when they do not.

    python docs/examples/cache_demo.py --files 10000       # in `nox -s demo`, with fewer
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from importlib.resources import as_file

import numpy as np
from magika_demo import CLIENTS, MODEL, Rules, choose_files
from rich.console import Console
from rich.progress import track
from rich.table import Table

import anya_engine as anya

SEED = 11


def distinct_rows(wanted: int, rules: Rules, console: Console) -> list[np.ndarray]:
    """The model's input rows of so many files, or of as many as differ."""
    rows: dict[bytes, np.ndarray] = {}
    for path in track(choose_files(wanted * 2), "reading files", console=console, transient=True):
        row = rules.features(path)
        if row is not None:
            rows.setdefault(row.tobytes(), row)
        if len(rows) == wanted:
            break
    return list(rows.values())


async def in_flight(engine: anya.Engine, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Every row asked by one of so many tasks."""
    answers: dict[int, np.ndarray] = {}
    waiting = iter(enumerate(rows))

    async def client() -> None:
        for index, row in waiting:
            answers[index] = (await engine.infer_async("magika", {"bytes": row}))["target_label"]

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return [answers[index] for index in range(len(rows))]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--files", type=int, default=10_000, help="questions; half of them are repeats (default: 10000)"
    )
    wanted = max(2, parser.parse_args().files) // 2
    console = Console()
    rows = distinct_rows(wanted, Rules(), console)
    asked = [*rows, *rows]
    random.Random(SEED).shuffle(asked)

    configs = {"without a cache": None, "with a cache": anya.CacheConfig(capacity_bytes=256 << 20)}
    answers: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, float] = {}
    for name, cache in configs.items():
        with anya.Engine() as engine, as_file(MODEL) as folder:
            # One row per run, so that both round alike whoever shares a batch.
            batching = anya.BatchingConfig(max_batch_size=1)
            engine.load("magika", folder, config=anya.ModelConfig(cache=cache, batching=batching))
            begin = time.perf_counter()
            answers[name] = asyncio.run(in_flight(engine, asked))
            seconds[name] = time.perf_counter() - begin
            stats = engine.cache_stats("magika")

    same = all(np.array_equal(a, b) for a, b in zip(*answers.values(), strict=True))
    table = Table(title=f"{len(asked)} files, {len(rows)} different, {CLIENTS} in flight")
    for column in ("", "seconds", "files/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, took in seconds.items():
        table.add_row(name, f"{took:.2f}", f"{len(asked) / took:.0f}")
    console.print(table)
    console.print(
        f"{stats.hits} hits, {stats.coalesced} by an equal request's run, {stats.misses - stats.coalesced} runs; "
        f"{stats.bytes / 2**20:.0f} MiB; {seconds['without a cache'] / seconds['with a cache']:.2f} times as fast; "
        f"scores {'equal to the bit' if same else 'DIFFER'}"
    )
    return 0 if same and stats.hits + stats.coalesced == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
