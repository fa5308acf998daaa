# SPDX-License-Identifier: Apache-2.0
"""The command line `anya-engine`: what an engine does with a model, for people and, with --json, for programs.

Exit status: 0 done, 1 the verdict is no, 2 it could not be done; then one line on stderr says why.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence

from ..errors import AnyaError
from . import _bench, _drift, _infer, _inspect, _keygen, _metrics, _plan, _profile, _registry, _sign, _verify
from ._parser import Parser, VersionAction
from ._text import CliError, one_line

__all__ = ["main"]

DONE, VERDICT_NO, NOT_DONE = 0, 1, 2

_COMMANDS = {"inspect": _inspect, "infer": _infer, "bench": _bench, "profile": _profile, "drift": _drift, "plan": _plan}
_COMMANDS["metrics"] = _metrics
_COMMANDS |= {"keygen": _keygen, "sign": _sign, "verify": _verify, "registry": _registry}


def _build_parser() -> Parser:
    parser = Parser(
        prog="anya-engine",
        description="Look at a model, run, measure, sign it, plan: through the engine that a service would embed.",
        epilog="exit status: 0 done, 1 the verdict is no, 2 it could not be done",
    )
    parser.add_argument("--version", action=VersionAction, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, module in _COMMANDS.items():
        module.add_to(
            commands.add_parser(name, help=module.SUMMARY, description=module.DESCRIPTION, epilog=module.EPILOG)
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; never raises for what a user can cause."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal's encoding lacks must not end the program
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    parser = _build_parser()
    if not argv:
        parser.print_help(sys.stderr)
        return NOT_DONE
    try:
        if not argv[0].startswith("-") and argv[0] not in _COMMANDS:
            near = difflib.get_close_matches(argv[0], _COMMANDS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            parser.error(f"there is no command {argv[0]!r}{hint}; commands: {', '.join(_COMMANDS)}")
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # --help, --version, or a usage error that has been said
        return end.code if isinstance(end.code, int) else NOT_DONE
    try:
        accepted = _COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left; Python's own flush at exit must not complain about it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_DONE
    except KeyboardInterrupt:
        return _fail(arguments.command, "interrupted")
    except CliError as error:
        return _fail(arguments.command, str(error))
    except AnyaError as error:
        return _fail(arguments.command, f"{error.code}: {error}")
    except MemoryError as error:
        return _fail(arguments.command, f"out of memory: {error}")
    except OSError as error:
        return _fail(arguments.command, str(error))
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        kind = type(error).__name__
        return _fail(arguments.command, f"unexpected {kind}: {error} (python -X dev -m anya_engine shows where)")
    return DONE if accepted else VERDICT_NO


def _fail(command: str, sentence: str) -> int:
    print(f"anya-engine {command}: {one_line(sentence)}", file=sys.stderr)
    return NOT_DONE
