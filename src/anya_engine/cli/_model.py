# SPDX-License-Identifier: Apache-2.0
"""The model that a command is about, in an engine of its own."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .._engine import Engine
from .._info import ModelInfo
from ..config import BatchingConfig, ModelConfig
from ..drift import DriftConfig
from ._parser import integer
from ._progress import progress
from ._text import CliError

__all__ = ["add_model", "opened"]


def add_model(parser: argparse.ArgumentParser) -> None:
    """The argument MODEL, and how to run it: the names and defaults are those of ModelConfig."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx file, or a directory that holds model.onnx")
    group = parser.add_argument_group("how to run it (as in ModelConfig and BatchingConfig)")
    group.add_argument(
        "--provider",
        action="append",
        metavar="NAME",
        help="an execution provider by ONNX Runtime's name, several in order of preference (CPUExecutionProvider)",
    )
    group.add_argument("--instances", type=integer(1, 1024), metavar="N", help="runs at once (default: usable cores)")
    group.add_argument("--intra-op-num-threads", type=integer(1, 1024), metavar="N", help="threads in one operator (1)")
    group.add_argument(
        "--max-batch-size", type=integer(1, 1 << 20), metavar="ROWS", help="rows in one run at most (64)"
    )
    group.add_argument(
        "--max-queue-delay-microseconds",
        type=integer(0, 60_000_000),
        metavar="US",
        help="how long a freed instance may wait for more company (0)",
    )
    group.add_argument(
        "--max-queue-size", type=integer(1, 1 << 20), metavar="N", help="waiting requests at most (1024)"
    )
    group.add_argument("--runtime", metavar="PATH", help="a libonnxruntime to use instead of the installed wheel's")


def _config(arguments: argparse.Namespace, in_flight: int) -> ModelConfig:
    batching = {
        field: value
        for field in ("max_batch_size", "max_queue_delay_microseconds", "max_queue_size")
        if (value := getattr(arguments, field)) is not None
    }
    # Whoever asks for that many in flight wants them to wait, not to be refused.
    batching.setdefault("max_queue_size", max(BatchingConfig().max_queue_size, in_flight))
    return ModelConfig(
        providers=tuple(arguments.provider or ("CPUExecutionProvider",)),
        instances=arguments.instances,
        intra_op_num_threads=arguments.intra_op_num_threads or 1,
        batching=BatchingConfig(**batching),
        drift=DriftConfig(enabled=False),  # commands that compare say with what
    )


@contextmanager
def opened(arguments: argparse.Namespace, *, in_flight: int = 0) -> Iterator[tuple[Engine, ModelInfo]]:
    """An engine with the model of the arguments in it; closed afterwards."""
    path = Path(arguments.model)
    if not path.exists():
        raise CliError(f"there is no {path}")
    # A file is called by its own name, the model.onnx of a directory by the directory's.
    stem = path.absolute().name if path.is_dir() else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]", "-", stem).strip("-.")[:128] or "model"
    with Engine(runtime=arguments.runtime) as engine:
        with progress(f"loading {path.name}"):
            info = engine.load(name, path, config=_config(arguments, in_flight))
        yield engine, info
