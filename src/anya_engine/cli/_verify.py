# SPDX-License-Identifier: Apache-2.0
"""`anya-engine verify PATH --key KEY.pub`."""

from __future__ import annotations

import argparse

from .._signing import verify
from ..errors import TrustError
from ._parser import add_json
from ._progress import progress
from ._text import counted, one_line, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "hold a model against its signature"
DESCRIPTION = "Hold a directory with all it holds, or an .onnx file by itself, against its signature and your keys."
EPILOG = """\
example:
  anya-engine verify models/ranker --key release.key.pub

exit status: 0 the model is what was signed, 1 it is not, 2 it could not be looked at
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("path", metavar="PATH", help="an .onnx file, or a directory")
    parser.add_argument(
        *("--key", "-k"), metavar="KEY.pub", action="append", required=True, help="a public key to believe (PEM)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Look, and say."""
    try:
        with progress(f"hashing {arguments.path}"):
            facts = verify(arguments.path, arguments.key)
    except TrustError as error:
        if arguments.json:
            print_json({"path": arguments.path, "verified": False, "code": error.code, "reason": str(error)})
        else:
            print(f"{error.code}: {one_line(error)}")
        return False
    if arguments.json:
        files = [{"name": name, "sha256": sha256} for name, sha256 in facts["files"]]
        print_json({"path": arguments.path, "verified": True, "signer": facts["signer"], "files": files})
    else:
        print_table([("verified", counted(len(facts["files"]), "file")), ("signed by", facts["signer"])])
    return True
