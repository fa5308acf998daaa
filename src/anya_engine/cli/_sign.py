# SPDX-License-Identifier: Apache-2.0
"""`anya-engine sign PATH --key KEY`."""

from __future__ import annotations

import argparse

from .._signing import sign
from ._keys import add_keys, key_files
from ._parser import add_json
from ._progress import progress
from ._text import CliError, counted, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "sign a model"
DESCRIPTION = (
    "Sign a directory with all it holds (into model.sig in it), or an .onnx file by itself (into FILE.sig), as "
    "OpenSSF Model Signing 1.0 has it. Links are refused; .git, .github, .gitignore and .gitattributes are left out."
)
EPILOG = """\
example:
  anya-engine sign models/ranker --key release.key
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("path", metavar="PATH", help="an .onnx file, or a directory")
    add_keys(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Sign it."""
    keys = key_files(arguments)
    if len(keys) != 1:
        raise CliError("a model has one signature: give --key once")
    with progress(f"hashing {arguments.path}"):
        facts = sign(arguments.path, keys[0])
    if arguments.json:
        files = [{"name": name, "sha256": sha256} for name, sha256 in facts["files"]]
        print_json({"path": arguments.path, "signature": facts["path"], "signer": facts["signer"], "files": files})
    else:
        rows = [("signed", counted(len(facts["files"]), "file")), ("into", facts["path"]), ("by", facts["signer"])]
        print_table(rows)
    return True
