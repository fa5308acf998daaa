# SPDX-License-Identifier: Apache-2.0
"""Classifies real files of this machine with Google's Magika model, three ways, and checks every label.

The files are the Python installation's, /usr/share, /etc and /usr/bin: a few hundred, of as many types as there are.
Each is classified by `infer`, by `submit` and by 64 concurrent `infer_async`; every label, the model's own and the
final one, is compared with what the `magika` package says about the same file. Plain ONNX Runtime runs in between, so
that the speeds can be compared. Exit status 1 when any label disagrees.

    nox -s demo                                        # or, with the package, magika and rich installed:
    python docs/examples/magika_demo.py --files 300
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import stat
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import magika
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import anya_engine as anya

MODEL = files("magika") / "models" / "standard_v3_3"
MAX_FILE_BYTES = 4 << 20
MAX_VISITED = 30_000  # files looked at in one folder tree
CLIENTS = 64
SLICES = 8
# The magika package lets ONNX Runtime use every core for one run, which rounds differently: on files of few distinct
# bytes the model makes 1e-3 of it. Labels must be the same all the same; a file whose score is as near as this to the
# threshold of its label is left out, because there rounding alone would decide.
SCORE_TOLERANCE = 5e-3


# --- real files ------------------------------------------------------------------------------------------------------


def readable_files(root: Path) -> Iterator[Path]:
    """Ordinary, readable files of bounded size below a folder, in a stable order; links are not followed."""
    visited = 0
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            visited += 1
            if visited > MAX_VISITED:
                return
            path = Path(folder, name)
            try:
                facts = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode) and facts.st_size <= MAX_FILE_BYTES and os.access(path, os.R_OK):
                yield path


def choose_files(wanted: int) -> list[Path]:
    """Files of many types: one of each suffix in turn (without one: of each folder tree), until there are enough."""
    roots = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platlib", "include", "scripts")}
    roots |= {Path("/usr/share"), Path("/etc"), Path("/usr/bin"), Path("/usr/lib")}
    kinds: dict[str, list[Path]] = defaultdict(list)
    for root in sorted(roots):
        for found in readable_files(root):
            kinds[found.suffix.lower() or f"(none) {root}"].append(found)
    queues = [iter(paths) for paths in sorted(kinds.values(), key=len, reverse=True)]  # the usual types first
    chosen: dict[Path, None] = {}
    while queues and len(chosen) < wanted:
        for queue in list(queues):
            path = next(queue, None)
            if path is None:
                queues.remove(queue)
            else:
                chosen[path] = None
    return list(chosen)[:wanted]


# --- from bytes to features, from scores to labels -------------------------------------------------------------------


class Rules:
    """Magika's own rules around its model, from the files in its package: which bytes go in, which label comes out."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = json.loads((MODEL / "config.min.json").read_text())
        kinds = json.loads((files("magika") / "config" / "content_types_kb.min.json").read_text())
        self._is_text = {name: bool(kind["is_text"]) for name, kind in kinds.items()}

    def features(self, path: Path) -> np.ndarray | None:
        """The model's input row for a file, or None when there is too little in it for the model.

        The first and the last block, white space stripped at the outer ends, the nearest 1024 bytes of each; what is
        missing is filled with a token that no byte has.
        """
        block, fill = self.config["block_size"], self.config["padding_token"]
        head_size, tail_size = self.config["beg_size"], self.config["end_size"]
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            take = min(block, size)
            stream.seek(0)
            head = stream.read(take).lstrip()[:head_size]
            stream.seek(size - take)
            tail = stream.read(take).rstrip()[-tail_size:]
        if len(head) < self.config["min_file_size_for_dl"]:
            return None
        row: np.ndarray = np.full((1, head_size + tail_size), fill, dtype=np.int32)
        row[0, : len(head)] = np.frombuffer(head, np.uint8)
        if tail:
            row[0, -len(tail) :] = np.frombuffer(tail, np.uint8)
        return row

    def threshold(self, raw: str) -> float:
        """The score that a label of the model needs to be believed."""
        return float(self.config["thresholds"].get(raw, self.config["medium_confidence_threshold"]))

    def labels(self, scores: np.ndarray) -> Verdict:
        """The model's label, its score, and the final label: mapped, and made generic below the label's threshold."""
        best = int(scores.argmax())
        score = float(scores[best])
        raw: str = self.config["target_labels_space"][best]
        final: str = self.config["overwrite_map"].get(raw, raw)
        if score < self.threshold(raw):
            final = "txt" if self._is_text[final] else "unknown"
        return Verdict(raw=raw, final=final, score=score)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said about one file."""

    raw: str
    final: str
    score: float

    def agrees(self, other: Verdict) -> bool:
        """The same labels, the model's and the final one, from the same score but for rounding."""
        same = (self.raw, self.final) == (other.raw, other.final)
        return same and abs(self.score - other.score) <= SCORE_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file with its features and what the `magika` package says about it."""

    path: Path
    row: np.ndarray
    truth: Verdict


# --- ways to run the model -------------------------------------------------------------------------------------------

Classify = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


@dataclass(kw_only=True)
class Way:
    """One way to run the model over rows, and how it did."""

    name: str
    classify: Classify
    seconds: float = 0.0
    done: int = 0
    agreed: int = 0
    disagreements: list[str] = field(default_factory=list)

    def run(self, items: Sequence[Item], rules: Rules) -> None:
        """Classifies the items, adds the time, and compares every answer with the truth."""
        begin = time.perf_counter()
        answers = self.classify([item.row for item in items])
        self.seconds += time.perf_counter() - begin
        for item, scores in zip(items, answers, strict=True):
            mine = rules.labels(scores[0])
            self.done += 1
            if mine.agrees(item.truth):
                self.agreed += 1
            else:
                self.disagreements.append(f"{self.name}: {item.path}: {mine}, but magika says {item.truth}")


def engine_ways(engine: anya.Engine, loop: asyncio.Runner) -> list[Way]:
    """The three ways of asking the engine."""

    def one_by_one(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [engine.infer("magika", {"bytes": row})["target_label"] for row in rows]

    def submitted(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        futures = [engine.submit("magika", {"bytes": row}) for row in rows]
        return [future.result()["target_label"] for future in futures]

    async def in_flight(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        answers: dict[int, np.ndarray] = {}
        waiting = iter(enumerate(rows))

        async def client() -> None:
            for index, row in waiting:
                answers[index] = (await engine.infer_async("magika", {"bytes": row}))["target_label"]

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return [answers[index] for index in range(len(rows))]

    return [
        Way(name="anya infer, one by one", classify=one_by_one),
        Way(name="anya submit, all at once", classify=submitted),
        Way(name=f"anya infer_async, {CLIENTS} in flight", classify=lambda rows: loop.run(in_flight(rows))),
    ]


def plain_ways(model: bytes, threads: int, pool: ThreadPoolExecutor) -> list[Way]:
    """Plain ONNX Runtime: a loop, and a pool with one thread per core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(row: np.ndarray) -> np.ndarray:
        scores: np.ndarray = session.run(["target_label"], {"bytes": row})[0]
        return scores

    return [
        Way(name="onnxruntime, a loop", classify=lambda rows: [run(row) for row in rows]),
        Way(name=f"onnxruntime, {threads} threads", classify=lambda rows: list(pool.map(run, rows))),
    ]


# --- the demo --------------------------------------------------------------------------------------------------------


def collect(wanted: int, rules: Rules, progress: Progress) -> tuple[list[Item], Counter[str]]:
    """Files with features and the package's own answer; and how many were left out, by reason."""
    judge = magika.Magika()
    items: list[Item] = []
    left_out: Counter[str] = Counter()
    for path in progress.track(choose_files(wanted), description="asking the magika package"):
        try:
            row = rules.features(path)
        except OSError:  # gone, or not ours to read after all
            continue
        answer = judge.identify_path(path)
        if (row is None) != (answer.dl.label == "undefined"):
            raise SystemExit(f"{path}: magika says {answer.dl.label}; only one of the two would run the model")
        if row is None:
            left_out["holding too little for the model"] += 1
            continue
        truth = Verdict(raw=str(answer.dl.label), final=str(answer.output.label), score=answer.score)
        if abs(truth.score - rules.threshold(truth.raw)) <= SCORE_TOLERANCE:
            left_out["with a score on the threshold"] += 1
            continue
        items.append(Item(path=path, row=row, truth=truth))
    return items, left_out


def report(ways: Sequence[Way], items: Sequence[Item], left_out: Counter[str], batches: str, console: Console) -> None:
    """The table, what was found, and every disagreement."""
    table = Table(title=f"Magika on {len(items)} files")
    table.add_column("way")
    for heading in ("files", "agree", "items/s", "against the loop"):
        table.add_column(heading, justify="right")
    baseline = ways[0].done / ways[0].seconds
    for way in ways:
        speed = way.done / way.seconds
        table.add_row(way.name, str(way.done), str(way.agreed), f"{speed:.1f}", f"{speed / baseline:.2f} x")
    console.print(table)
    found = Counter(item.truth.final for item in items)
    console.print(f"{len(found)} types: {', '.join(f'{name} {count}' for name, count in found.most_common(12))} …")
    for reason, count in left_out.items():
        console.print(f"left out: {count} files {reason}")
    console.print(f"batch sizes of the engine: {batches}", highlight=False)
    for way in ways:
        for line in way.disagreements:
            console.print(f"[red]disagrees[/red] {line}", highlight=False)


def batch_sizes(engine: anya.Engine) -> str:
    """The batch sizes that the engine's own counters saw: how many runs had so many rows."""
    counts: Counter[str] = Counter()
    for model in engine.stats().models:
        seen, below = model.batch_size, 0
        for edge, runs in zip([*map(int, seen.edges), None], seen.counts, strict=True):
            label = f"over {below}" if edge is None else str(edge) if edge == below + 1 else f"{below + 1} to {edge}"
            counts[label] += runs
            below = edge or below
    return ", ".join(f"{label} rows: {runs} runs" for label, runs in counts.items() if runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; 0 when every label of every way agrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400, help="how many files to look at (default: 400)")
    wanted: int = parser.parse_args(arguments).files
    console = Console()
    rules = Rules()
    threads = len(os.sched_getaffinity(0))
    with (
        Progress(console=console) as progress,
        as_file(MODEL / "model.onnx") as model,
        anya.Engine() as engine,
        asyncio.Runner() as loop,
        ThreadPoolExecutor(threads) as pool,
    ):
        items, left_out = collect(wanted, rules, progress)
        if not items:
            console.print("no file to classify was found")
            return 1
        loaded = engine.load("magika", model)
        ways = plain_ways(model.read_bytes(), threads, pool) + engine_ways(engine, loop)
        for way in ways:  # one warm-up that is not counted
            way.classify([items[0].row])
        slices = min(SLICES, len(items))
        task = progress.add_task("classifying", total=slices * len(ways))
        for index in range(slices):
            for way in ways:  # every way in turn on the same files, so that all see the same machine
                way.run(items[index::slices], rules)
                progress.advance(task)
        batches = f"{batch_sizes(engine)} ({loaded.batching_note})"
    report(ways, items, left_out, batches, console)
    return 1 if any(way.agreed != len(items) for way in ways) else 0


if __name__ == "__main__":
    sys.exit(main())
