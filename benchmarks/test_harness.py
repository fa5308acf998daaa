# SPDX-License-Identifier: Apache-2.0
"""The measuring tools themselves: arithmetic, files, the table, and that the rivals are honest rivals."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import interleave
import loops
import numpy as np
import pypi_rivals
import pytest
import report
import rivals
import subjects
from models import awkward, make_models
from versus import Versus, in_turn

LOWER = interleave.Bar(limit=0.75, better="lower")


def comparison(**changes: Any) -> interleave.Comparison:
    """A comparison of made-up numbers: ours 2, 1, 3 against 4, 4, 4 and 5, 6, 7."""
    rival = {"slow": [5.0, 6.0, 7.0], "fast": [4.0, 4.0, 4.0]}
    options: dict[str, Any] = {"unit": "µs", "bar": LOWER} | changes
    return interleave.compare("case", [2.0, 1.0, 3.0], rival, **options)


def test_ratio_is_of_medians_against_the_best_rival() -> None:
    """The best rival is the one with the best median, and min and max are ratios within one repeat."""
    result = comparison()
    assert (result.rival_name, result.ratio) == ("fast", 0.5)
    assert (result.ratio_min, result.ratio_max) == (0.25, 0.75)
    assert result.holds is True
    assert comparison(bar=interleave.Bar(limit=0.4, better="lower")).holds is False
    higher = comparison(bar=interleave.Bar(limit=0.34, better="higher"))
    assert (higher.rival_name, higher.holds) == ("slow", False)
    assert comparison(against="slow").rival_name == "slow"
    assert comparison().ratios["slow"] == (2 / 6, 1 / 6, 3 / 7)


def test_a_bar_holds_at_its_limit() -> None:
    """Exactly the limit is good enough, whichever side is better."""
    assert LOWER.holds(0.75)
    assert not LOWER.holds(0.7501)
    assert interleave.Bar(limit=1.3, better="higher").holds(1.3)
    assert not interleave.Bar(limit=1.3, better="higher").holds(1.299)
    assert interleave.Bar(better="higher").holds(1.0) is None


def test_a_bar_on_the_difference_is_of_what_ours_adds() -> None:
    """A bar of differences looks at the medians' difference in the unit, whatever the ratio is."""
    added = comparison(bar=interleave.Bar(limit=-2.0, better="lower", of="difference"))
    assert (list(added.difference), added.holds) == ([-2.0, -3.0, -1.0], True)
    assert comparison(bar=interleave.Bar(limit=-2.1, better="lower", of="difference")).holds is False
    assert added.value() == "-2.00 (-3.00 to -1.00) µs"


def test_a_bar_on_pairs_is_of_the_median_within_repeats() -> None:
    """A bar of pairs looks at what each repeat's ratio was: a repeat in which the machine was slow counts once."""
    ours, theirs = [2.0, 20.0, 3.0], [4.0, 44.0, 5.0]
    bar = interleave.Bar(limit=0.5, better="lower", of="pairs")
    result = interleave.compare("case", ours, {"rival": theirs}, unit="µs", bar=bar)
    assert (result.ratio, result.ratio_min, result.ratio_max, result.holds) == (0.5, 20 / 44, 0.6, True)
    assert interleave.compare("case", ours, {"rival": theirs}, unit="µs", better="lower").ratio == 0.6


def test_a_missed_goal_is_told_and_fails_no_bar() -> None:
    """A goal has a verdict of its own beside that of the bar, and may stand without one."""
    both = comparison(bar=interleave.Bar(limit=0.75, goal=0.45, better="lower"))
    assert (both.holds, both.reached) == (True, False)
    assert both.verdict() == "≤ 0.75 holds; goal ≤ 0.45 not reached"
    alone = comparison(bar=interleave.Bar(goal=0.5, better="lower"))
    assert (alone.holds, alone.reached, alone.verdict()) == (None, True, "goal ≤ 0.50 reached")
    assert report.summary([both, alone]) == "1 of 1 bars hold, 1 of 2 goals are reached."


def test_uneven_sides_are_refused() -> None:
    """A comparison needs one value of each side per repeat, and a direction."""
    with pytest.raises(ValueError, match="one value per repeat"):
        interleave.compare("case", [1.0], {"rival": [1.0, 2.0]}, unit="µs", bar=LOWER)
    with pytest.raises(ValueError, match="better"):
        interleave.compare("case", [1.0], {"rival": [1.0]}, unit="µs")


def test_a_record_keeps_other_results_of_the_same_commit(tmp_path: Path) -> None:
    """Measuring one benchmark again replaces its result and leaves the others."""
    interleave.record([comparison()], tmp_path)
    path = interleave.record([interleave.compare("other", [1.0], {"r": [1.0]}, unit="µs", bar=LOWER)], tmp_path)
    interleave.record([comparison(unit="ms")], tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    document = json.loads(path.read_text())
    assert {entry["name"]: entry["unit"] for entry in document["results"]} == {"case": "ms", "other": "µs"}
    assert document["commit"] == interleave.commit()
    assert document["machine"]["cores"] >= 1


def test_the_report_replaces_what_is_between_the_markers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table lands between the markers, a second time changes nothing, and --check notices a stale file."""
    results = interleave.record([comparison()], tmp_path / "results")
    (tmp_path / "benchmarks").mkdir()
    readme, page = tmp_path / "README.md", tmp_path / "benchmarks/RESULTS.md"
    for file in (readme, page):
        file.write_text(f"before\n{report.BEGIN}\na stale table\n{report.END}\nafter\n")
    command = [str(results), "--root", str(tmp_path)]
    assert report.main([*command, "--check"]) == 1
    assert report.main(command) == 0
    for file in (readme, page):
        text = file.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "stale" not in text
    assert "| case | 2 µs | 4 µs (fast) | **0.50** (0.25 to 0.75) | ≤ 0.75 holds |" in text
    assert interleave.commit() in text
    assert report.main([*command, "--check"]) == 0
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="once each"):
        report.main(command)
    capsys.readouterr()


def test_the_readme_shows_a_dozen_rows_of_what_was_measured() -> None:
    """Those that are named for it, in that order and no others; each of them is in the newest result file."""
    made = [replace(comparison(), name=name) for name in ("case", *reversed(report.FRONT[:3]))]
    document = {"results": [asdict(each) for each in made], "machine": interleave.machine(), "date": "2026-01-01"}
    rows = [line.split(" | ")[0] for line in report.front(document).splitlines() if line.startswith("| ")]
    assert rows == ["| benchmark", *(f"| {name}" for name in report.FRONT[:3])]
    assert len(report.FRONT) <= 12
    newest = report.newest(interleave.RESULTS)
    assert newest is not None
    assert set(report.FRONT) <= {entry["name"] for entry in json.loads(newest.read_text())["results"]}


def test_the_page_of_results_shows_headlines_and_every_missed_bar() -> None:
    """What is no headline stays out of the page, unless its bar is missed; the terminal shows all."""
    missed = interleave.Bar(limit=0.4, better="lower")
    made = [comparison(), comparison(headline=False), comparison(headline=False, bar=missed)]
    results = [replace(each, name=f"case {index}") for index, each in enumerate(made)]
    document = {"results": [asdict(each) for each in results], "machine": interleave.machine()}
    text = report.page({**document, "date": "2026-01-01", "commit": "c", "command": "pytest"}, "file.json")
    assert [f"case {index}" in text for index in range(3)] == [True, False, True]
    assert "≤ 0.40 **missed**" in text
    assert "2 of 3 bars hold" in text
    lines = report.plain_table(results)
    assert [line for line in lines if line.startswith("case")] == [f"case {index}: 2 µs" for index in range(3)]
    assert sum("slow" in line for line in lines) == 3


class Rounds:
    """A stand-in for pytest-benchmark's fixture: calls what it is given."""

    enabled = True

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, target: Any, *, rounds: int, warmup_rounds: int) -> None:
        for _ in range(rounds + warmup_rounds):
            target()


def test_sides_take_turns_and_the_first_round_is_thrown_away() -> None:
    """Each repeat calls every side in order, and the warm-up is in no series."""
    calls: list[str] = []

    def side(name: str) -> Any:
        def measure() -> dict[str, float]:
            calls.append(name)
            return {"µs": float(len(calls))}

        return measure

    versus = Versus(Rounds(), [])
    took = versus.measure(in_turn({"rival": side("rival"), "ours": side("ours")}), repeats=2)
    assert calls == ["rival", "ours"] * 3
    assert took == {"rival": {"µs": [3.0, 5.0]}, "ours": {"µs": [4.0, 6.0]}}


def test_a_missed_bar_is_kept_for_enforce_and_means_nothing_when_quick() -> None:
    """A bar that is missed is remembered when it was measured, and not looked at when nothing was."""
    bar = interleave.Bar(limit=0.5, better="lower")
    kept: list[interleave.Comparison] = []
    measured = Versus(Rounds(), kept)
    measured.compare("good", [1.0], {"rival": [2.0]}, unit="µs", bar=bar)
    measured.compare("bad", [2.0], {"rival": [2.0]}, unit="µs", bar=bar)
    assert [each.name for each in measured.missed] == ["bad"]
    quick = Versus(Rounds(), kept)
    quick.quick = True
    quick.compare("bad", [2.0], {"rival": [2.0]}, unit="µs", bar=bar)
    assert quick.missed == []
    assert [each.holds for each in kept] == [True, False, None]


def counted_tiny() -> tuple[Any, list[int], Any]:
    """The tiny model, a run of it that notes the size of each batch, and the notes."""
    run = rivals.runner(rivals.open_session(make_models.MODELS["tiny"]()))
    sizes: list[int] = []

    def counted(batch: Any) -> Any:
        sizes.append(len(batch))
        return run(batch)

    return run, sizes, counted


@pytest.mark.parametrize(("workers", "max_batch"), [(1, 64), (2, 32)])
@pytest.mark.parametrize("kind", [rivals.QueueMicroBatcher, rivals.AsyncMicroBatcher])
def test_the_asyncio_rival_batches_and_answers_right(kind: Any, workers: int, max_batch: int) -> None:
    """64 clients of a hand-written batcher get their own rows' answers, from batches and not one by one."""
    run, sizes, counted = counted_tiny()
    rows = np.random.default_rng(1).standard_normal((64, 1, 64), dtype=np.float32)
    with asyncio.Runner() as loop, closing(kind(counted, workers=workers, max_batch=max_batch)) as batcher:
        done = loop.run(loops.closed_loop(batcher.infer, list(rows), clients=64, seconds=0.05))
    assert sum(sizes) == done.count
    assert max(sizes) <= max_batch
    assert len(sizes) <= done.count / max_batch * 4 + 4
    for index, answer in done.answers:
        np.testing.assert_allclose(answer, run(rows[index]), rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")
def test_the_libraries_batch_and_answer_right() -> None:
    """64 clients of each of PyPI's batchers get their own rows' answers, from batches and not one by one."""
    run, sizes, counted = counted_tiny()
    rows = np.random.default_rng(1).standard_normal((64, 1, 64), dtype=np.float32)
    for name, batcher in pypi_rivals.pypi_batchers(counted, np.concatenate).items():
        sizes.clear()
        with asyncio.Runner() as loop, closing(batcher):
            done = loop.run(loops.closed_loop(batcher.infer, list(rows), clients=64, seconds=0.02))
        assert sum(sizes) == done.count
        assert max(sizes) > 16, name
        assert max(sizes) <= 64
        for index, answer in done.answers:
            np.testing.assert_allclose(answer, run(rows[index]), rtol=1e-3, atol=1e-5)


def test_a_closed_loop_counts_every_answer_and_hands_back_the_last_of_each_client() -> None:
    """Tasks and threads alike: as many answers as calls, each client at its own rows, one answer of each to check."""
    calls: list[int] = []

    def double(item: int) -> int:
        calls.append(item)
        return 2 * item

    async def awaited(item: int) -> int:
        await asyncio.sleep(0)
        return double(item)

    items = list(range(8))
    for run in (
        lambda: asyncio.run(loops.closed_loop(awaited, items, clients=4, seconds=0.01)),
        lambda: loops.threaded_loop(double, items, clients=4, seconds=0.01),
    ):
        calls.clear()
        done = run()
        assert done.count == len(calls) >= 4
        assert sorted(index % 4 for index, _ in done.answers) == [0, 1, 2, 3]
        assert all(answer == 2 * items[index] for index, answer in done.answers)
        assert 0 < done.items_per_second <= done.count / 0.01
        assert 0 <= done.p50_ms <= done.p99_ms


def test_a_subject_notices_the_answer_to_another_row() -> None:
    """What checks the answers of every side refuses a neighbour's answer, and one of another shape."""
    of = subjects.subject("tiny", rows=2)
    of.check([(0, of.expected[0]), (1, {of.output: of.expected[1]})])
    with pytest.raises(AssertionError):
        of.check([(0, of.expected[1])])
    with pytest.raises(AssertionError):
        of.check([(0, of.expected[0][0])])
    swapped = of.join([of.items[1], of.items[0]])
    with pytest.raises(AssertionError):
        of.plain(of.run, swapped, rows=2, threads=1, seconds=0.0)


def test_the_rivals_hand_errors_to_every_waiter() -> None:
    """A run that fails is an exception for each request of its batch, and the batcher goes on."""
    run = rivals.runner(rivals.open_session(make_models.MODELS["poison"]()))
    good, bad = np.array([1], np.int64), np.array([awkward.POISON_ROWS], np.int64)

    async def three(batcher: rivals.AsyncMicroBatcher) -> list[Any]:
        together = await asyncio.gather(batcher.infer(good), batcher.infer(bad), return_exceptions=True)
        return [*together, await batcher.infer(good)]

    with closing(rivals.AsyncMicroBatcher(run, workers=1, max_batch=8)) as batcher:
        first, second, third = asyncio.run(three(batcher))
    assert isinstance(first, Exception)
    assert isinstance(second, Exception)
    assert third.tolist() == [[4, 5, 6, 7]]
    with closing(rivals.ThreadMicroBatcher(run, workers=2, max_batch=8)) as threads:
        with pytest.raises(Exception, match="out of data bounds"):
            threads.infer(bad)
        assert threads.infer(good).tolist() == [[4, 5, 6, 7]]


def test_plain_runs_count_rows_of_every_thread_and_raise() -> None:
    """Both threads run at once, each run counts its rows, and an error in one is raised."""
    barrier = threading.Barrier(2, timeout=10)
    begun = time.perf_counter()
    rate, answer = rivals.plain_runs(lambda batch: (barrier.wait(), batch)[1], "rows", rows=3, threads=2, seconds=0.0)
    assert answer == "rows"
    assert rate >= 6 / (time.perf_counter() - begun)

    def fail(batch: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rivals.plain_runs(fail, None, rows=1, threads=2, seconds=0.0)
