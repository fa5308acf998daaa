# SPDX-License-Identifier: Apache-2.0
"""The fixture `versus`, its options, and the summary it leaves at the end of the run.

`--enforce` (or ANYA_BENCH_ENFORCE=1) makes a missed bar a failure; `--record` writes benchmarks/results/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
for _folder in (_ROOT / "tests", _ROOT / "benchmarks"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

import interleave  # noqa: E402
import report  # noqa: E402
from programs import build_programs  # noqa: E402
from versus import Versus  # noqa: E402

import anya_engine as anya  # noqa: E402

_COMPARISONS = pytest.StashKey[list[interleave.Comparison]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of this folder."""
    group = parser.getgroup("anya benchmarks")
    group.addoption("--enforce", action="store_true", help="a missed bar fails the benchmark")
    group.addoption("--record", action="store_true", help="write the results to benchmarks/results/")
    group.addoption("--long", action="store_true", help="versions come and go for three minutes instead of half a one")


def pytest_configure(config: pytest.Config) -> None:
    """An empty list of results."""
    config.stash[_COMPARISONS] = []


@pytest.fixture
def versus(benchmark: Any, pytestconfig: pytest.Config) -> Iterator[Versus]:
    """The measuring fixture of this folder; with --enforce a missed bar fails the test once all is measured."""
    measuring = Versus(benchmark, pytestconfig.stash[_COMPARISONS])
    yield measuring
    enforce = pytestconfig.getoption("--enforce") or os.environ.get("ANYA_BENCH_ENFORCE", "") not in ("", "0")
    if enforce and measuring.missed:
        pytest.fail("\n".join(map(str, measuring.missed)), pytrace=False)


@pytest.fixture
def engine() -> Iterator[anya.Engine]:
    """An engine with the defaults a user gets."""
    with anya.Engine() as opened:
        yield opened


@pytest.fixture
def long(pytestconfig: pytest.Config) -> bool:
    """Whether what can be measured for long is."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the C++ programs, built from this tree."""
    return build_programs()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints every comparison with the machine line, and writes the result file when asked to."""
    results = config.stash[_COMPARISONS]
    if not results:
        return
    measured = not config.getoption("--benchmark-disable")
    terminalreporter.section("against the rivals" if measured else "against the rivals (quick: no measurement)")
    terminalreporter.write_line(interleave.machine_line(interleave.machine()))
    for line in report.plain_table(results):
        terminalreporter.write_line(line)
    if measured and config.getoption("--record"):
        terminalreporter.write_line(f"recorded in {interleave.record(results)}")
