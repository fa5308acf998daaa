# SPDX-License-Identifier: Apache-2.0
"""`anya-engine keygen KEY`."""

from __future__ import annotations

import argparse

from .._signing import generate_key
from ._keys import add_password, ask_password
from ._parser import add_json
from ._text import print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "make a key that signs models or registries"
DESCRIPTION = (
    "Write a new private key to KEY and its public half to KEY.pub, both readable by you alone (chmod 644 KEY.pub, or "
    "copy it, for who verifies as another user); nothing is written over."
)
EPILOG = """\
example:
  anya-engine keygen release.key
  anya-engine keygen --curve P-384 --password root.key
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("key", metavar="KEY", help="where the private key goes (PEM, PKCS#8)")
    parser.add_argument("--curve", choices=("P-256", "P-384", "P-521"), default="P-256", help="P-256 unless said")
    add_password(parser, "protect the key by a password")
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Make it."""
    password = ask_password(f"password of {arguments.key}", twice=True) if arguments.password else ""
    made = generate_key(arguments.key, curve=arguments.curve, password=password)
    facts = {"key": arguments.key, "public_key": f"{arguments.key}.pub", "id": made, "curve": arguments.curve}
    if arguments.json:
        print_json({**facts, "password": arguments.password})
    else:
        print_table([("private key", facts["key"]), ("public key", facts["public_key"]), ("id", made)])
    return True
