# SPDX-License-Identifier: Apache-2.0
"""Private keys on the command line: the option, and the password that is asked for, never given as an argument."""

from __future__ import annotations

import argparse
import getpass
import sys

from .._signing import KeyFile
from ._text import CliError

__all__ = ["add_keys", "add_password", "ask_password", "key_files"]


def add_keys(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The option --key for private keys, and --password."""
    more = ", one for each signature" if several else ""
    parser.add_argument(
        *("--key", "-k"), metavar="KEY", action="append", required=True, help=f"the private key (PEM){more}"
    )
    add_password(parser, "ask for the key's password")


def add_password(parser: argparse.ArgumentParser, what: str) -> None:
    """The option --password."""
    parser.add_argument("--password", action="store_true", help=f"{what}; one line of standard input where it is piped")


def ask_password(prompt: str, *, twice: bool = False) -> str:
    """From the terminal, unseen; from standard input where that is no terminal."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"{prompt}: ")
        if twice and getpass.getpass(f"{prompt}, again: ") != password:
            raise CliError("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise CliError("the password is empty")
    return password


def key_files(arguments: argparse.Namespace) -> list[KeyFile]:
    """The private keys of the arguments, with their passwords."""
    if not arguments.password:
        return [(path, "") for path in arguments.key]
    return [(path, ask_password(f"password of {path}")) for path in arguments.key]
