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

from interleave import RESULTS, Bar, machine_line, number

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
README = Path(__file__).parents[1] / "README.md"


def table(document: Mapping[str, Any], file_name: str) -> str:
    """The result file as Markdown: one row per comparison, then where, when and how it was measured."""
    lines = [
        "| benchmark | ours | best rival, same run | ours / rival (min to max) | bar |",
        "|---|---|---|---|---|",
    ]
    for entry in document["results"]:
        bar = "none"
        if entry["bar"] is not None:
            bar = f"{Bar(limit=entry['bar'], better=entry['better'])} {'holds' if entry['holds'] else '**missed**'}"
        lines.append(
            f"| {entry['name']} | {number(entry['ours'])} {entry['unit']} "
            f"| {number(entry['rival'])} {entry['unit']} ({entry['rival_name']}) "
            f"| **{entry['ratio']:.2f}** ({entry['ratio_min']:.2f} to {entry['ratio_max']:.2f}) | {bar} |"
        )
    measured = (
        f"{machine_line(document['machine'])}. {document['date'][:10]}, commit `{document['commit']}`, "
        f"`{document['command']}`; medians of interleaved repeats. All numbers, and what is timed from where to where: "
        f"[benchmarks/README.md](benchmarks/README.md), [{file_name}](benchmarks/results/{file_name})."
    )
    return "\n".join([*lines, "", measured])


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
