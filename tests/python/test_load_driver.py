# SPDX-License-Identifier: Apache-2.0
"""The load driver as Python sees it; its counting is tested in C++."""

from __future__ import annotations

import threading

import pytest
from python.conftest import Load
from python.support import floats, stats_of, until

import anya_engine as anya
from anya_engine._load_driver import LoadPlan, drive


class Enough(Exception):
    """Raised by a test's own progress callback."""


def test_python_goes_on_while_it_drives(engine: anya.Engine, load: Load) -> None:
    """The GIL is released: this thread sees requests of an hour's load being accepted, and then ends it."""
    load("tiny")
    seen = threading.Event()

    def progress(_: int) -> None:
        if seen.is_set():
            raise Enough

    failures: list[BaseException] = []

    def body() -> None:
        try:
            drive(engine, "tiny", [{"x": floats(1, 64)}], LoadPlan(duration=3600), progress)
        except Enough as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    until(lambda: stats_of(engine, "tiny").accepted > 100, "requests of the load")
    seen.set()
    thread.join()
    assert len(failures) == 1


def test_report_agrees_with_the_counters(engine: anya.Engine, load: Load) -> None:
    """Without warm-up, what the driver asked is what the model counted."""
    load("tiny")
    for mode in ("closed", "blocking", "open"):
        before = stats_of(engine, "tiny").accepted
        plan = LoadPlan(mode=mode, concurrency=4, rate=500.0, duration=0.1)
        report = drive(engine, "tiny", [{"x": floats(1, 64)}, {"x": floats(3, 64)}], plan)
        assert report["asked"] == report["ok"] == stats_of(engine, "tiny").accepted - before
        assert not report["errors"] and not report["stopped"] and report["first_error"] == ""


def test_a_plan_or_a_question_that_cannot_be_is_refused(engine: anya.Engine, load: Load) -> None:
    """The core's own words and classes come through; nothing is asked."""
    load("tiny")
    good = {"x": floats(1, 64)}
    for plan in (
        LoadPlan(concurrency=0),
        LoadPlan(duration=0.0),
        LoadPlan(mode="open"),
        LoadPlan(mode="nope"),  # type: ignore[arg-type]
        LoadPlan(arrivals="nope"),  # type: ignore[arg-type]
        LoadPlan(warm_up=float("nan")),
    ):
        with pytest.raises(anya.ConfigError):
            drive(engine, "tiny", [good], plan)
    with pytest.raises(anya.ConfigError, match="at least one"):
        drive(engine, "tiny", [], LoadPlan())
    with pytest.raises(anya.InvalidInput, match="63"):
        drive(engine, "tiny", [good, {"x": floats(1, 63)}], LoadPlan())
    with pytest.raises(anya.ModelNotFound):
        drive(engine, "nope", [good], LoadPlan())
    assert stats_of(engine, "tiny").accepted == 0
