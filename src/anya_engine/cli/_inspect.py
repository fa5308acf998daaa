# SPDX-License-Identifier: Apache-2.0
"""`anya-engine inspect MODEL`."""

from __future__ import annotations

import argparse
import dataclasses

from .._runtime import find_runtime
from ._model import add_model, opened
from ._parser import add_json
from ._text import print_json, print_table, shape_text, size

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "load a model and tell what the engine knows of it"
DESCRIPTION = "Load a model as a service would, checks and warm-up included, and tell what the engine knows of it."
EPILOG = """\
example:
  anya-engine inspect models/ranker.onnx
  anya-engine inspect models/ranker --json | jq .batchable
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_model(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Print it."""
    with opened(arguments) as (_, info):
        pass
    runtime = find_runtime(arguments.runtime)
    if arguments.json:
        facts = dataclasses.asdict(info)
        for field in ("version", "state"):  # of the moment in the engine, not of the model
            del facts[field]
        print_json({"path": arguments.model, **facts, "onnxruntime": runtime.version})
        return True
    together = f"{info.instances} at once" + (f", up to {info.max_batch_size} rows each" if info.batchable else "")
    print_table(
        [
            ("model", arguments.model),
            ("digest", f"sha256:{info.digest}"),
            ("signer", info.signer or "unsigned"),
            ("files", size(info.memory)),
            ("batchable", "yes" if info.batchable else "no"),
            ("", info.batching_note),
            ("runs", together),
            ("providers", ", ".join(info.providers)),
            ("runtime", f"ONNX Runtime {runtime.version or 'of unknown version'}"),
            ("loaded in", f"{info.load_seconds:.3f} s"),
        ]
    )
    print()
    tensors = [("input", spec) for spec in info.inputs] + [("output", spec) for spec in info.outputs]
    rows = [(kind, spec.name, spec.dtype, shape_text(spec.shape)) for kind, spec in tensors]
    print_table([("", "name", "dtype", "shape"), *rows])
    return True
