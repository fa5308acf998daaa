# SPDX-License-Identifier: Apache-2.0
"""The measuring tools themselves: arithmetic, files, the table, and that the rivals are honest rivals."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import interleave
import numpy as np
import pytest
import report
import rivals
from models import awkward, make_models

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


def test_a_bar_holds_at_its_limit() -> None:
    """Exactly the limit is good enough, whichever side is better."""
    assert LOWER.holds(0.75)
    assert not LOWER.holds(0.7501)
    assert interleave.Bar(limit=1.3, better="higher").holds(1.3)
    assert not interleave.Bar(limit=1.3, better="higher").holds(1.299)


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
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\na stale table\n{report.END}\nafter\n")
    command = [str(results), "--readme", str(readme)]
    assert report.main([*command, "--check"]) == 1
    assert report.main(command) == 0
    text = readme.read_text()
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


@pytest.mark.parametrize(("workers", "max_batch"), [(1, 64), (2, 32)])
def test_the_asyncio_rival_batches_and_answers_right(workers: int, max_batch: int) -> None:
    """64 clients of the hand-written batcher get their own rows' answers, from batches and not one by one."""
    run = rivals.runner(rivals.open_session(make_models.MODELS["tiny"]()))
    rows = np.random.default_rng(1).standard_normal((64, 1, 64), dtype=np.float32)
    sizes: list[int] = []

    def counted(batch: Any) -> Any:
        sizes.append(len(batch))
        return run(batch)

    with (
        asyncio.Runner() as loop,
        closing(rivals.AsyncMicroBatcher(counted, workers=workers, max_batch=max_batch)) as batcher,
    ):
        done = loop.run(interleave.closed_loop(batcher.infer, list(rows), clients=64, per_client=10))
    assert sum(sizes) == 640
    assert max(sizes) <= max_batch
    assert len(sizes) <= 640 / max_batch * 4
    for index, answer in done.answers:
        np.testing.assert_allclose(answer, run(rows[index]), rtol=1e-3, atol=1e-5)


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


def test_the_ideal_runs_on_as_many_threads_as_asked() -> None:
    """The helper starts every copy of the work before it waits for one, and raises what they raise."""
    barrier = threading.Barrier(2, timeout=10)

    def meet() -> None:
        barrier.wait()

    def fail() -> None:
        raise ZeroDivisionError

    rivals.in_threads(meet, 2)
    with pytest.raises(ZeroDivisionError):
        rivals.in_threads(fail, 2)
