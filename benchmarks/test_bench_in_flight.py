# SPDX-License-Identifier: Apache-2.0
"""64 requests in flight on one event loop, closed loop: against micro-batchers, and against plain runs at their best.

What is timed, from where to where, is in benchmarks/README.md. Every round's answers are checked, one of each client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import pypi_rivals
import pytest
import rivals
from interleave import Bar
from loops import closed_loop
from pypi_rivals import Batcher
from subjects import CLIENTS, Subject, subject
from versus import Figures, Series, Versus, in_turn

import anya_engine as anya

# Both libraries ask asyncio for a function that Python 3.14 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")

PLAIN, TUNED, PYPI = "30-line micro-batcher", "tuned micro-batcher", "PyPI batcher"
IDEAL = "ideal: plain batch 32, 2 threads"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One event loop with an engine, a model and its batchers, asked in closed loops."""

    loop: asyncio.Runner
    of: Subject
    engine: anya.Engine
    seconds: float
    clients: int

    def of_batcher(self, batcher: Batcher | rivals.QueueMicroBatcher | rivals.AsyncMicroBatcher) -> Any:
        """What measures a batcher."""
        return partial(self._measure, batcher.infer, self.of.items)

    def of_engine(self) -> Any:
        """What measures ours."""
        return partial(self._measure, partial(self.engine.infer_async, self.of.name), self.of.feeds)

    def _measure(self, infer: Callable[[Any], Awaitable[Any]], items: Sequence[Any]) -> Figures:
        loop = closed_loop(infer, items, clients=self.clients, seconds=self.seconds)
        return self.of.checked(self.loop.run(loop))


def micro_batchers(of: Subject) -> dict[str, rivals.QueueMicroBatcher | rivals.AsyncMicroBatcher]:
    """The two that a user would write, each in its two settings, by name."""
    return {
        f"{kind}, {workers} x {rows}": batcher(of.run, workers=workers, max_batch=rows, join=of.join)
        for kind, batcher in ((PLAIN, rivals.QueueMicroBatcher), (TUNED, rivals.AsyncMicroBatcher))
        for workers, rows in ((1, 64), (2, 32))
    }


@contextmanager
def bench(
    engine: anya.Engine, of: Subject, batchers: Mapping[str, Any], *, seconds: float, clients: int
) -> Iterator[tuple[Bench, dict[str, Callable[[], Figures]]]]:
    """A loop, and what measures each of the batchers on it; ends both."""
    engine.load(of.name, of.model)
    with asyncio.Runner() as loop, ExitStack() as stack:
        on = Bench(loop=loop, of=of, engine=engine, seconds=seconds, clients=clients)
        yield on, {name: on.of_batcher(stack.enter_context(closing(batcher))) for name, batcher in batchers.items()}


def of_kind(took: Series, figure: str, *kinds: str) -> dict[str, Sequence[float]]:
    """The rivals whose names begin with one of these."""
    return {side: series[figure] for side, series in took.items() if side.startswith(kinds) and side != "ours"}


@pytest.mark.parametrize(
    ("name", "bar", "of_ideal"),
    [
        ("tiny", Bar(limit=2.5, better="higher", goal=3.3), Bar(better="higher")),
        ("medium", Bar(limit=1.6, better="higher", goal=1.8), Bar(better="higher", goal=0.65)),
    ],
)
def test_64_in_flight(versus: Versus, engine: anya.Engine, name: str, bar: Bar, of_ideal: Bar) -> None:
    """64 tasks of one loop get more answers per second than through the better of two hand-written micro-batchers.

    The bar is against the thirty lines anyone writes, and p99 against the same. How far the same idea, tuned, and what
    PyPI offers get, and what two cores could do at all, is measured beside it.
    """
    of = subject(name, rows=4 * CLIENTS)
    seconds = 0.02 if versus.quick else 0.25
    batchers = {**micro_batchers(of), **pypi_rivals.pypi_batchers(of.run, of.join)}
    with bench(engine, of, batchers, seconds=seconds, clients=CLIENTS) as (on, sides):
        plain = partial(of.plain, of.run, of.batch(32), rows=32, threads=2, seconds=seconds)
        took = versus.measure(in_turn({IDEAL: plain, **sides, "ours": on.of_engine()}))

    def over(label: str, *kinds: str, by: Bar, headline: bool = True) -> str:
        rival = of_kind(took, "items/s", *kinds)
        title = f"64 in flight, over {label}: {name}"
        result = versus.compare(title, took["ours"]["items/s"], rival, unit="items/s", bar=by, headline=headline)
        return result.rival_name

    best = over("a 30-line micro-batcher", PLAIN, by=bar)
    versus.compare(
        f"64 in flight, p99 over the 30-line micro-batcher's: {name}",
        took["ours"]["p99 ms"],
        of_kind(took, "p99 ms", PLAIN),
        unit="ms",
        bar=Bar(limit=1.0, better="lower"),
        against=best,
    )
    over("a tuned micro-batcher", TUNED, by=Bar(better="higher"))
    over("the best of PyPI", "batched", "async-batcher", by=Bar(better="higher"))
    over("the ideal", IDEAL, by=of_ideal, headline=of_ideal.goal is not None)


@dataclass(frozen=True)
class Setting:
    """One way of running plain sessions on the whole machine: callers x the threads of each run, rows per run."""

    callers: int
    threads: int
    rows: int

    def __str__(self) -> str:
        return f"plain batch {self.rows}, {self.callers} x {self.threads} threads"


@pytest.mark.parametrize(
    ("name", "libraries"), [("magika", True), ("minilm, 32 tokens", True), ("minilm, 128 tokens", False)]
)
def test_where_batching_hardly_pays(versus: Versus, engine: anya.Engine, name: str, libraries: bool) -> None:
    """With default settings 64 tasks get what plain sessions at their best setting give, and wait no longer.

    Batch sizes 1, 8 and 32 by one caller, by two, and by one with two threads per run are tried once, the best three
    of them twice more, and then measured with the rest. `libraries`: PyPI's batchers as well.
    """
    of = subject(name, rows=4 if versus.quick else 32)
    runs = {threads: rivals.runner(rivals.open_session(of.model, threads)) for threads in (1, 2)}
    sizes = (1, 2) if versus.quick else (1, 8, 32)

    def plain(setting: Setting) -> Callable[[], Figures]:
        batch = of.batch(setting.rows)
        seconds = 0.02 if versus.quick else 0.6
        run = runs[setting.threads]
        return lambda: of.plain(run, batch, rows=setting.rows, threads=setting.callers, seconds=seconds)

    settings = [Setting(*each, rows) for each in ((1, 1), (2, 1), (1, 2)) for rows in sizes]
    tried = {setting: plain(setting)()["items/s"] for setting in settings}
    best = sorted(settings, key=tried.__getitem__, reverse=True)[:3]
    again = [{setting: plain(setting)()["items/s"] for setting in best} for _ in range(0 if versus.quick else 2)]
    best.sort(key=lambda setting: median([tried[setting], *(each[setting] for each in again)]), reverse=True)

    batchers: dict[str, Any] = {}
    if libraries:
        chosen = ("batched, 32, 5 ms (its defaults)", "async-batcher, 2 x 32, 1 ms")
        every = pypi_rivals.pypi_batchers(of.run, of.join)
        batchers = {key: value for key, value in micro_batchers(of).items() if key.startswith(PLAIN)}
        batchers |= {key: every[key] for key in chosen}
    loop_of_best = f"64 clients on {best[0]}"
    batchers[loop_of_best] = rivals.AsyncMicroBatcher(
        runs[best[0].threads], workers=best[0].callers, max_batch=best[0].rows, join=of.join
    )
    clients, seconds = (4, 0.02) if versus.quick else (CLIENTS, 1.0)
    with bench(engine, of, batchers, seconds=seconds, clients=clients) as (on, sides):
        at_best = {str(setting): plain(setting) for setting in best}
        took = versus.measure(in_turn({**at_best, **sides, "ours": on.of_engine()}), repeats=5)

    ours = took["ours"]
    versus.compare(
        f"64 in flight, batching hardly pays, over the best plain setting: {name}",
        ours["items/s"],
        of_kind(took, "items/s", "plain batch"),
        unit="items/s",
        bar=Bar(limit=0.95, better="higher"),
        context={f"{setting}, tried once, items/s": rate for setting, rate in tried.items()},
    )
    versus.compare(
        f"64 in flight, batching hardly pays, p50 over that setting's: {name}",
        ours["p50 ms"],
        {loop_of_best: took[loop_of_best]["p50 ms"]},
        unit="ms",
        bar=Bar(limit=1.0, better="lower"),
    )
    if libraries:
        versus.compare(
            f"64 in flight, batching hardly pays, over the best batcher: {name}",
            ours["items/s"],
            of_kind(took, "items/s", PLAIN, "batched", "async-batcher"),
            unit="items/s",
            better="higher",
            headline=False,
        )
