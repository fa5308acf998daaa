# SPDX-License-Identifier: Apache-2.0
"""Writes the README's table of results from a committed result file, between two markers.

`python benchmarks/report.py` takes the newest file of benchmarks/results/, `--check` only says whether the README
agrees with it (exit status 1 if not).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from interleave import RESULTS, Comparison, machine_line, number, spread

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
README = Path(__file__).parents[1] / "README.md"


def table(document: Mapping[str, Any], file_name: str) -> str:
    """The result file as Markdown: the headlines and every missed bar, then where, when and how it was measured."""
    results = [Comparison(**entry) for entry in document["results"]]
    lines = [
        "| benchmark | ours | held against, same run | ours / that (min to max) | bar |",
        "|---|---|---|---|---|",
    ]
    for each in results:
        if each.headline or each.holds is False:
            middle, around = each.value().split(" ", 1)
            lines.append(
                f"| {each.name} | {number(each.ours)} {each.unit} | {number(each.rival)} {each.unit} "
                f"({each.rival_name}) | **{middle}** {around} | {each.verdict().replace('MISSED', '**missed**')} |"
            )
    measured = (
        f"{summary(results)} {machine_line(document['machine'])}. {document['date'][:10]}, "
        f"commit `{document['commit']}`, `{document['command']}`; medians of interleaved repeats. All numbers, and "
        f"what is timed from where to where: [benchmarks/README.md](benchmarks/README.md), "
        f"[{file_name}](benchmarks/results/{file_name})."
    )
    return "\n".join([*lines, "", measured])


def summary(results: Sequence[Comparison]) -> str:
    """How many bars there are, and how many hold."""
    bars = [each for each in results if each.bar is not None]
    goals = [each for each in results if each.goal is not None]
    return (
        f"{sum(each.holds is True for each in bars)} of {len(bars)} bars hold, "
        f"{sum(each.reached is True for each in goals)} of {len(goals)} goals are reached."
    )


def plain_table(results: Sequence[Comparison]) -> list[str]:
    """Every comparison with every rival for a terminal: ours in a line, the rivals below it in columns."""
    rival_width = max(len(rival) for each in results for rival in each.medians)
    lines = []
    for each in results:
        lines.append(f"{each.name}: {number(each.ours)} {each.unit}")
        for rival, median in each.medians.items():
            held = rival == each.rival_name
            ratio = each.value() if held else spread(each.ratios[rival])
            cells = f"  {rival:<{rival_width}}  {f'{number(median)} {each.unit}':<16}  {ratio:<26}"
            lines.append(f"{cells}  {each.verdict()}" if held else cells.rstrip())
        lines += [f"  ({label}: {number(value)})" for label, value in each.context.items()]
    head = "ours, and below it each rival: its median, ours / rival (min to max), and what became of the bar"
    return [head, "", *lines, "", summary(results)]


def between_markers(text: str, body: str) -> str:
    """The text with everything between the markers replaced; both markers must be there, once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the file needs {BEGIN} and {END}, once each and in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{body}\n{END}{rest.split(END)[1]}"


def newest(folder: Path) -> Path | None:
    """The result file measured last, by the date inside it."""
    files = {path: json.loads(path.read_text())["date"] for path in folder.glob("*.json")}
    return max(files, key=files.__getitem__) if files else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", help="a result file (default: the newest)")
    parser.add_argument("--readme", type=Path, default=README, help="the file with the markers")
    parser.add_argument("--check", action="store_true", help="change nothing, compare")
    options = parser.parse_args(arguments)
    source: Path | None = options.results or newest(RESULTS)
    if source is None:
        print(f"no result file in {RESULTS}: run `pytest benchmarks --record` first", file=sys.stderr)
        return 2
    old = options.readme.read_text()
    new = between_markers(old, table(json.loads(source.read_text()), source.name))
    if options.check:
        print("the README agrees with " + source.name if old == new else f"the README is older than {source.name}")
        return 0 if old == new else 1
    options.readme.write_text(new)
    print(f"{options.readme.name}: table of {source.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
