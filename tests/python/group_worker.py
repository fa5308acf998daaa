# SPDX-License-Identifier: Apache-2.0
"""A worker process of the tests of process groups: does what its parent says, a line of code at a time.

Started as `python group_worker.py FOLDER_OF_MODELS`; it imports little, so that it starts quickly. Each line on stdin
is a JSON string of an expression; each answer on stdout is a JSON list: whether it was an error, then its value or its
class and words.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import numpy as np

import anya_engine as anya

#: What the expressions may name.
WORLD: dict[str, Any] = {"anya": anya}


def world(function: Any) -> Any:
    """Let the expressions name a function."""
    WORLD[function.__name__] = function
    return function


def the_engine() -> anya.Engine:
    """The one that was opened last."""
    engine: anya.Engine = WORLD["engine"]
    return engine


@world
def open_group(folder: str, versions: tuple[int, ...] = (1, 2)) -> None:
    """An engine of the group in this folder, with these versions of `p` and `m`."""
    close()
    WORLD["engine"] = anya.Engine(anya.EngineConfig(process_group=folder))
    for version in versions:
        load("p", version)
        load("m", version)


@world
def load(name: str, version: int, like: int = 0) -> None:
    """A version of a model, or another one that only says that it is."""
    the_engine().load(name, f"{sys.argv[1]}/{name}{like or version}.onnx", version=str(version))


@world
def close() -> None:
    """Leave the group."""
    if engine := WORLD.pop("engine", None):
        engine.close()


@world
def work(row: int, first: int, count: int = 20) -> int:
    """Ask `p` so often with keys from `first` on; how many were not answered."""
    failed = 0
    for number in range(first, first + count):
        try:
            the_engine().infer("p", {"i": np.array([row], np.int64)}, key=f"user-{number}")
        except anya.ExecutionError:
            failed += 1
    return failed


@world
def status(name: str = "p") -> dict[str, Any]:
    """Where a rollout stands."""
    found = the_engine().status(name)
    evidence = found.evidence.get("errors")
    return {
        "state": found.state,
        "stable": found.stable,
        "weights": dict(found.weights),
        "step": found.step,
        "why": found.why,
        "rollback_to": found.rollback_to,
        "out_of_step": found.out_of_step,
        "moves": [event.move for event in found.events],
        "new": evidence.new if evidence else 0,
        "counted": evidence.new + evidence.old if evidence else 0,
        "versions": [info.version for info in the_engine().models() if info.name == name],
    }


@world
def versions_of(keys: int) -> list[int]:
    """Which version of `m` each key meets."""
    x = {"x": np.zeros((1, 1), np.float32)}
    return [int(the_engine().infer("m", x, key=f"user-{key}")["version"][0]) for key in range(keys)]


@world
def deploy(name: str = "p", version: str = "2", strategy: str = "Canary", **policy: Any) -> None:
    """As `Engine.deploy`."""
    the_engine().deploy(name, version, getattr(anya, strategy)(**policy))


@world
def die_while_writing(number: int) -> None:
    """Be killed when the state is written for this time from now: just before it takes its place."""
    replace = os.replace
    left = [number]

    def last(*arguments: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments, **more)

    setattr(os, "replace", last)  # noqa: B010


@world
def die_after_writing(number: int) -> None:
    """Likewise, just after it has taken its place, with the lock in hand."""
    replace = os.replace
    left = [number]

    def last(*arguments: Any, **more: Any) -> None:
        replace(*arguments, **more)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, "replace", last)  # noqa: B010


def main() -> None:
    """Answer until there is nothing more to answer."""
    for line in sys.stdin:
        try:
            answer = [False, eval(json.loads(line), WORLD)]  # the parent's own words
        except Exception as error:  # the parent's to judge
            answer = [True, [type(error).__name__, str(error)]]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
