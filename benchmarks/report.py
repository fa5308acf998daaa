# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of results from a committed result file, each between two markers: a few rows that say most into
the README, everything that is told into benchmarks/RESULTS.md.

`python benchmarks/report.py` takes the newest file of benchmarks/results/, `--check` only says whether both agree with
it (exit status 1 if not).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interleave import RESULTS, Comparison, machine_line, number, spread

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
ROOT = Path(__file__).parents[1]
#: What the README shows, in this order: one row of each subject, and what is missed of them. At most a dozen.
FRONT = (
    "one caller, batch of one: tiny",
    "lone request every 20 ms, infer, no delay: tiny",
    "64 in flight, over a 30-line micro-batcher: tiny",
    "64 in flight, over a 30-line micro-batcher: medium",
    "64 in flight, p99 over the 30-line micro-batcher's: medium",
    "a cached answer, 256 B, infer",
    "64 threads, over plain run: medium",
    "2 x capacity, answered in time, of the capacity: encoder",
    "verified load of 200 MB, one file",
    "a scrape of 20 models in 2 versions, over 5 ms",
    "rollback of a canary switch to the next answer",
    "70 % load, versions come and go, p99 over that in between: encoder",
)


def table(results: Iterable[Comparison]) -> str:
    """Comparisons as Markdown."""
    lines = [
        "| benchmark | ours | held against, same run | ours / that (min to max) | bar |",
        "|---|---|---|---|---|",
    ]
    for each in results:
        middle, around = each.value().split(" ", 1)
        lines.append(
            f"| {each.name} | {number(each.ours)} {each.unit} | {number(each.rival)} {each.unit} "
            f"({each.rival_name}) | **{middle}** {around} | {each.verdict().replace('MISSED', '**missed**')} |"
        )
    return "\n".join(lines)


def front(document: Mapping[str, Any]) -> str:
    """What the README shows of a result file."""
    by_name = {entry["name"]: Comparison(**entry) for entry in document["results"]}
    rows = table(by_name[name] for name in FRONT if name in by_name)
    measured = (
        f"{summary(list(by_name.values()))} {machine_line(document['machine'])}, {document['date'][:10]}. All of them: "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)."
    )
    return f"{rows}\n\n{measured}"


def page(document: Mapping[str, Any], file_name: str) -> str:
    """What the page of results shows: the headlines and every missed bar, then where, when and how it was measured."""
    results = [Comparison(**entry) for entry in document["results"]]
    rows = table(each for each in results if each.headline or each.holds is False)
    measured = (
        f"{summary(results)} {machine_line(document['machine'])}. {document['date'][:10]}, "
        f"commit `{document['commit']}`, `{document['command']}`; medians of interleaved repeats. All numbers: "
        f"[{file_name}](results/{file_name})."
    )
    return f"{rows}\n\n{measured}"


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
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and benchmarks/RESULTS.md are")
    parser.add_argument("--check", action="store_true", help="change nothing, compare")
    options = parser.parse_args(arguments)
    source: Path | None = options.results or newest(RESULTS)
    if source is None:
        print(f"no result file in {RESULTS}: run `pytest benchmarks --record` first", file=sys.stderr)
        return 2
    document = json.loads(source.read_text())
    for name in sorted(set(FRONT) - {entry["name"] for entry in document["results"]}):
        print(f"{source.name} has no {name!r}, which the README would show", file=sys.stderr)
    bodies = {"README.md": front(document), "benchmarks/RESULTS.md": page(document, source.name)}
    old = {name: (options.root / name).read_text() for name in bodies}
    new = {name: between_markers(old[name], body) for name, body in bodies.items()}
    if options.check:
        print(f"README.md and benchmarks/RESULTS.md {'agree with' if old == new else 'are older than'} {source.name}")
        return 0 if old == new else 1
    for name, text in new.items():
        (options.root / name).write_text(text)
    print(f"README.md and benchmarks/RESULTS.md: tables of {source.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
