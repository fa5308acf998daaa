# SPDX-License-Identifier: Apache-2.0
"""`anya-engine profile MODEL --data X.npz --out profile.json`."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from .._profile_build import BINS, build_profile
from ._arrays import Arrays, read_inputs, read_one, replacing, write_text
from ._infer import answers
from ._model import add_model, opened
from ._parser import add_json, integer
from ._text import counted, plain, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "write down how a model's inputs and outputs are distributed"
DESCRIPTION = """\
Run a model on the rows of an .npz file and write a reference profile (anya.profile/1): for each number that is
watched of each row its counts in bins. Put it into the model's directory as profile.json, or name it in
DriftConfig(reference=...), and the engine compares what it is asked and answers with it."""
EPILOG = """\
example:
  anya-engine profile models/ranker --data train.npz --out models/ranker/profile.json
  anya-engine profile models/classifier --data train.npz --labels labels.npy --out profile.json
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="X.npz", help="rows of inputs; a few thousand or more")
    parser.add_argument("--out", required=True, metavar="profile.json", help="where the profile goes")
    parser.add_argument(
        "--labels", metavar="Y.npy", help="the right class of each row, for an estimate of the accuracy without labels"
    )
    parser.add_argument("--bins", type=integer(2, 512), default=BINS, metavar="N", help=f"of a number ({BINS})")
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Ask, count, write."""
    with opened(arguments) as (engine, info), replacing(arguments.out) as write:
        inputs = read_inputs(arguments.data, info.inputs)
        outputs: Arrays = answers(engine, info, inputs)
        profile = build_profile(
            model=info.name,
            version=info.version,
            digest=info.digest,
            inputs=inputs,
            outputs=outputs,
            specs=(info.inputs, info.outputs),
            bins=arguments.bins,
            labels=None if arguments.labels is None else read_one(arguments.labels),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        text = profile.to_json()
        write(lambda file: write_text(file, text))
    facts = [(t.name, t.role, t.kind, len(t.features)) for t in profile.tensors]
    if arguments.json:
        tensors = [dict(zip(("name", "role", "kind", "features"), each, strict=True)) for each in facts]
        print_json({"out": arguments.out, "digest": info.digest, "rows": profile.rows, "tensors": tensors})
        return True
    print(plain(f"{counted(profile.rows, 'row')} counted, written to {arguments.out}"))
    print_table([(name, role, kind, counted(features, "feature")) for name, role, kind, features in facts])
    return True
