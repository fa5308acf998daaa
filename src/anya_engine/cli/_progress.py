# SPDX-License-Identifier: Apache-2.0
"""A bar for what takes longer than a second, on a terminal, where rich is installed. Elsewhere: nothing at all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._text import plain

__all__ = ["progress"]

_PATIENCE = 1.0


@contextmanager
def progress(text: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Show how far the body is; it calls what it is given with the amount done. `total` None: nobody knows."""
    bar = _make_bar() if sys.stderr.isatty() else None
    if bar is None:
        yield lambda _: None
        return
    task = bar.add_task(plain(text), total=total)
    lock = threading.Lock()
    over = False

    def start() -> None:
        with lock:
            if not over:
                bar.start()

    patience = threading.Timer(_PATIENCE, start)
    patience.daemon = True
    patience.start()
    try:
        yield lambda done: bar.update(task, completed=min(done, total) if total is not None else done)
    finally:
        patience.cancel()
        with lock:
            over = True
            bar.stop()


def _make_bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        return None
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
