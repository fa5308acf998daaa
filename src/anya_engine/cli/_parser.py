# SPDX-License-Identifier: Apache-2.0
"""Arguments: a parser whose errors are one line, the kinds of values, what several commands take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from ._text import one_line

__all__ = ["Parser", "VersionAction", "add_json", "integer", "number"]


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line, help that keeps its examples, and no guessing of shortened options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit status 2."""
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


class VersionAction(argparse.Action):
    """Prints the version of the package, which is looked up only then."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"anya-engine {version('anya-engine')}")
        except PackageNotFoundError:
            parser.error("the package is imported from a place where it is not installed, so it has no version")
        parser.exit()


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """The kind of a whole number within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"takes a whole number from {lowest} to {highest}, got {text!r}")
        return value

    return parse


def number(above: float, highest: float, *, or_equal: bool = False) -> Callable[[str], float]:
    """The kind of a number above a bound (or equal to it) and at most another."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (above < value <= highest or (or_equal and value == above)):
            bound = "from" if or_equal else "above"
            raise argparse.ArgumentTypeError(f"takes a number {bound} {above:g} up to {highest:g}, got {text!r}")
        return value

    return parse


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
