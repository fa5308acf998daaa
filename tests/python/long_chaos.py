# SPDX-License-Identifier: Apache-2.0
"""Rule 1 for as long as one likes: chaos after chaos, every second one closed in its middle, each with its own dice.

python -m python.long_chaos --seconds 300 (from tests/): what `nox -s chaos` runs. Exit status 1: a sum is wrong.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time

from python.support import assert_at_rest
from python.test_chaos import Chaos

import anya_engine as anya


def one(seed: int, rounds: int) -> dict[str, int]:
    """One engine's life under chaos; the outcomes, which add up to what was asked."""
    with anya.Engine() as engine:
        chaos = Chaos(engine, rounds, seed)

        def close() -> None:
            while sum(model.accepted for model in engine.stats().models) < 50 * (seed % 97):
                threading.Event().wait(0.001)
            engine.close()

        chaos.run(*([close] if seed % 2 else []))
        assert chaos.wrong == [], chaos.wrong[:3]
        assert_at_rest(engine)
        outcomes = chaos.outcomes
        made = outcomes.pop("made")
        assert made == sum(outcomes.values()), (made, outcomes)
        outcomes["STOPPED RUNS"] = sum(model.terminated_runs for model in engine.stats().models)
        return dict(outcomes)


def main() -> int:
    """Until the time is over; tells what there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1, help="of the first chaos")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    total: dict[str, int] = {}
    seed = arguments.seed
    while True:
        for outcome, count in one(seed, 2000).items():
            total[outcome] = total.get(outcome, 0) + count
        if time.monotonic() >= end:
            break
        seed += 1
    lives = seed - arguments.seed + 1
    print(f"{lives} engines, all sums right:", ", ".join(f"{count} {name}" for name, count in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
