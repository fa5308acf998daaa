# SPDX-License-Identifier: Apache-2.0
"""Worker processes for the tests of process groups, as their parent sees them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from models.awkward import POISON_ROWS, poison
from models.make_models import MODELS
from python import support
from python.rollouts import LOST
from python.support import HUNG


class Refused(Exception):
    """What a worker raised: the name of its class, and its words."""


class Worker(support.Worker):
    """A process that does what it is told, expression by expression; see group_worker.py."""

    def __init__(self, models: Path) -> None:
        super().__init__(Path(__file__).with_name("group_worker.py"), models)

    @property
    def alive(self) -> bool:
        """It has not been killed."""
        return self.process.poll() is None

    def do(self, code: str) -> Any:
        """Let it do something; return what came of it."""
        self.begin(code)
        return self.result()

    def begin(self, code: str) -> None:
        """Let it do something without waiting for what comes of it."""
        self.tell(json.dumps(code))

    def result(self) -> Any:
        """What came of what it was told."""
        failed, value = json.loads(self.answer())
        if failed:
            raise Refused(*value)
        return value

    def stop(self, lock: Path) -> None:
        """SIGSTOP, at a moment when it does not have this lock."""
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Let it come to its own end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(HUNG)
        self.process.stdout.close()


class Workers:
    """Some of them; those that were killed are replaced by the next test's call of `open`."""

    def __init__(self, models: Path) -> None:
        """`models`: a folder for the models p (version 2 fails for the row LOST) and m (says its version)."""
        self.made: list[Worker] = []
        self._models = models
        for number, rows in ((1, POISON_ROWS), (2, LOST)):
            (models / f"p{number}.onnx").write_bytes(poison(rows))
            (models / f"m{number}.onnx").write_bytes(MODELS[f"version_{number}"]())

    def open(self, folder: Path, count: int = 3) -> list[Worker]:
        """So many workers, each with an engine of one new group."""
        for worker in [each for each in self.made if not each.alive]:
            worker.end()
            self.made.remove(worker)
        self.made += [Worker(self._models) for _ in range(count - len(self.made))]
        workers = self.made[:count]
        for worker in workers:
            worker.begin(f"open_group({str(folder)!r})")
        for worker in workers:
            worker.result()
        return workers

    def end(self) -> None:
        """End all."""
        for worker in self.made:
            worker.end()


def work_until(
    workers: list[Worker], condition: Callable[[], bool], row: int = 1, only: list[Worker] | None = None
) -> None:
    """Let workers (or only some) ask for a row of `p`, with new keys all the time, until something is so."""
    end = time.monotonic() + HUNG
    number = 0
    while not condition():
        assert time.monotonic() < end, [worker.do("status()") for worker in workers if worker.alive]
        for worker in workers if only is None else only:
            if worker.alive:
                worker.do(f"work({row}, {number})")
                number += 20


def all_say(workers: list[Worker], **wanted: Any) -> bool:
    """Whether every worker's status has these values."""
    for worker in workers:
        status = worker.do("status()")
        if any(status[field] != value for field, value in wanted.items()):
            return False
    return True


@contextlib.contextmanager
def ended(workers: Workers) -> Iterator[Workers]:
    """End them all, whatever comes."""
    try:
        yield workers
    finally:
        for worker in workers.made:
            worker.do("close()") if worker.alive else None
            worker.end()
