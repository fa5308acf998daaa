# SPDX-License-Identifier: Apache-2.0
"""What was counted, shown below the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

COUNTS: pytest.StashKey[dict[str, Mapping[str, object]]] = pytest.StashKey()


@pytest.fixture
def record_counts(request: pytest.FixtureRequest) -> Callable[[str, Mapping[str, object]], None]:
    """Takes a title and counts: a table for the end of the run."""
    tables = request.config.stash.setdefault(COUNTS, {})

    def record(title: str, counts: Mapping[str, object]) -> None:
        tables[title] = counts

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables."""
    for title, counts in config.stash.get(COUNTS, {}).items():
        terminalreporter.section(title)
        for what, count in counts.items():
            terminalreporter.write_line(f"{count!s:>10}  {what}")
        numbers = [count for count in counts.values() if isinstance(count, int)]
        if len(numbers) == len(counts):
            terminalreporter.write_line(f"{sum(numbers):>10}  together")
