# SPDX-License-Identifier: Apache-2.0
"""`anya-engine plan CONFIG`."""

from __future__ import annotations

import argparse

from .._apply import described
from .._goal import goal
from .._repository import look
from .._state import State
from ..config import EngineConfig
from ._parser import add_json
from ._text import plain, print_json

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "tell what a configuration would change"
DESCRIPTION = (
    "Check a configuration file and tell what applying it would do: to an engine without models, or to one that holds "
    "another configuration. Looks at the model repository; loads nothing."
)
EPILOG = """\
example:
  anya-engine plan engine.toml
  anya-engine plan new.toml --against engine.toml
  anya-engine plan engine.toml --json | jq '.steps | length'

exit status: 1 when a step is known to fail, 2 when the configuration is refused
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, as Engine.from_file reads it")
    parser.add_argument("--against", metavar="OLD", help="the TOML file that is in force (default: nothing is loaded)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Print it."""
    now = State()
    if arguments.against is not None:
        old = EngineConfig.from_toml(arguments.against)
        now = goal(now, old, look(old))
    config = EngineConfig.from_toml(arguments.config)
    found = look(config)
    made = described(now, goal(now, config, found), config, found)
    if arguments.json:
        print_json(made.as_dict())
    else:
        print("\n".join(plain(line) for line in str(made).splitlines()))
    return not made.problems
