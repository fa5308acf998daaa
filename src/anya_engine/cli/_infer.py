# SPDX-License-Identifier: Apache-2.0
"""`anya-engine infer MODEL --input X.npz --out Y.npz`."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .._engine import Engine
from .._info import ModelInfo
from ._arrays import Arrays, leading_rows, read_inputs, replacing, write_npz
from ._model import add_model, opened
from ._parser import add_json
from ._progress import progress
from ._text import CliError, counted, milliseconds, plain, print_json, print_table, shape_text

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "answers", "run"]

SUMMARY = "run a model on the arrays of a file"
DESCRIPTION = """\
Run a model on the arrays of an .npz file, whose names are those of the model's inputs (one array without a
name will do for a model of one input), and write its outputs as .npz. Rows of a model that batches go in
requests of --max-batch-size rows, several at once; any other model gets the whole file as one request. Text
outputs are stored as NumPy's fixed-width text, bfloat16 as float32. The output file appears whole or not at
all."""
EPILOG = """\
example:
  python -c "import numpy as np; np.savez('x.npz', x=np.zeros((1000, 64), np.float32))"
  anya-engine infer models/ranker.onnx --input x.npz --out y.npz
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_model(parser)
    parser.add_argument("--input", required=True, metavar="X.npz", help="the inputs; pickled arrays are refused")
    parser.add_argument("--out", required=True, metavar="Y.npz", help="where the outputs go")
    parser.add_argument("--output", action="append", metavar="NAME", help="an output to keep; several; default: all")
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Ask, collect, write."""
    with opened(arguments) as (engine, info), replacing(arguments.out) as write:
        inputs = read_inputs(arguments.input, info.inputs)
        rows = leading_rows(inputs) if info.batchable else None
        began = time.monotonic()
        outputs = answers(engine, info, inputs, arguments.output)
        seconds = time.monotonic() - began
        write(lambda file: write_npz(file, outputs))
    if arguments.json:
        tensors = [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in outputs.items()]
        print_json({"out": arguments.out, "digest": info.digest, "rows": rows, "seconds": seconds, "outputs": tensors})
        return True
    what = "one request" if rows is None else counted(rows, "row")
    print(plain(f"{what} in {milliseconds(seconds)}, written to {arguments.out}"))
    print_table([(n, "str" if a.dtype == object else a.dtype.name, shape_text(a.shape)) for n, a in outputs.items()])
    return True


def answers(engine: Engine, info: ModelInfo, inputs: Arrays, wanted: list[str] | None = None) -> Arrays:
    """The outputs of all rows: of a model that batches in requests of max_batch_size rows, else in one."""
    rows = leading_rows(inputs) if info.batchable else None
    if rows is not None and rows > info.max_batch_size:
        with progress("running", rows) as done:
            return _in_parts(engine, info, inputs, rows, wanted, done)
    with progress("running"):
        return engine.infer(info.name, inputs, outputs=wanted)


def _in_parts(
    engine: Engine, info: ModelInfo, inputs: Arrays, rows: int, wanted: list[str] | None, done: Callable[[float], None]
) -> Arrays:
    """Requests of max_batch_size rows, enough of them under way to keep every instance busy."""
    window = 2 * info.instances
    step = info.max_batch_size
    waiting: deque[tuple[int, Any]] = deque()
    parts: list[Arrays] = []

    def take() -> None:
        end, future = waiting.popleft()
        parts.append(future.result())
        done(end)

    for first in range(0, rows, step):
        if len(waiting) == window:
            take()
        part = {name: array[first : first + step] for name, array in inputs.items()}
        waiting.append((min(first + step, rows), engine.submit(info.name, part, outputs=wanted)))
    while waiting:
        take()
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except ValueError as error:
        raise CliError(
            f"the outputs of different rows differ in shape and make no one array ({error}); "
            f"--max-batch-size {rows} runs them all together"
        ) from error
