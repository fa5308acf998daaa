# SPDX-License-Identifier: Apache-2.0
"""Runs targets under atheris for so many seconds: `python tests/fuzz/run.py schema walk --seconds 30`.

Several are processes of their own, as many at a time as there are cores.

What was found before is the start of the next run: inputs are kept in build/fuzz/<target>. An input that breaks a
target is written to build/fuzz/<target>-crash-…; `--input FILE` tries it again.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

with atheris.instrument_imports(include=["anya_engine", "tomllib", "fuzz"]):
    from fuzz.targets import TARGETS


#: Bytes of an input to start from: enough for every decision of a target.
LENGTH = 96


def several(targets: list[str], seconds: int) -> None:
    """Each in a process of its own; what it printed is shown when it is over. Exits with 1 when one has failed."""

    def run(target: str) -> bool:
        command = [sys.executable, __file__, target, "--seconds", str(seconds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        shown = done.stdout if done.returncode else "\n".join(done.stdout.splitlines()[-8:])
        print(f"{target}: {'failed' if done.returncode else 'holds'}\n{shown}", flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        sys.exit(0 if all(list(pool.map(run, targets))) else 1)


def main() -> None:
    """Fuzz, or try one input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS), nargs="+")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--input", type=Path, help="try this input alone")
    arguments = parser.parse_args()
    if len(arguments.target) > 1:
        several(arguments.target, arguments.seconds)
    (name,) = arguments.target
    target = TARGETS[name]()
    if arguments.input is not None:
        print(target(arguments.input.read_bytes()))
        target.close()
        return
    corpus = ROOT / "build" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = corpus.parent / f"{name}-seeds"
    seeds.mkdir(exist_ok=True)
    for index in range(64):
        (seeds / str(index)).write_bytes(random.Random(index).randbytes(LENGTH))
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-artifact_prefix={corpus}-",
        *("-timeout=20", "-rss_limit_mb=2048", f"-max_len={2 * LENGTH}", "-len_control=0", "-print_final_stats=1"),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], lambda data: target(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
