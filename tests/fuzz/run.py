# SPDX-License-Identifier: Apache-2.0
"""Runs one target under atheris for so many seconds: `python tests/fuzz/run.py schema --seconds 30`.

What was found before is the start of the next run: inputs are kept in build/fuzz/<target>. An input that breaks a
target is written to build/fuzz/<target>-crash-…; `--input FILE` tries it again.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

with atheris.instrument_imports(include=["anya_engine", "tomllib", "fuzz"]):
    from fuzz.targets import TARGETS


#: Bytes of an input to start from: enough for every decision of a target.
LENGTH = 96


def main() -> None:
    """Fuzz, or try one input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--input", type=Path, help="try this input alone")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]()
    if arguments.input is not None:
        print(target(arguments.input.read_bytes()))
        target.close()
        return
    corpus = ROOT / "build" / "fuzz" / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = corpus.parent / "seeds"
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
