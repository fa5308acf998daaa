# SPDX-License-Identifier: Apache-2.0
"""`anya-engine metrics CONFIG`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from os import fspath
from pathlib import Path

from .._core import MetricFamily, metrics_text
from .._engine import Engine
from .._metrics_server import serve
from .._shared_families import families_of
from ..config import EngineConfig
from ._parser import integer
from ._text import CliError, print_json

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "show or serve the metrics of a configuration"
DESCRIPTION = (
    "Print metrics as Prometheus would scrape them; with --port, serve them until interrupted. Where the configuration "
    "has a metrics_directory: what the processes that share it have counted, without loading anything. Else: those of "
    "an engine that has loaded the configuration and has not been asked anything yet."
)
EPILOG = """\
example:
  anya-engine metrics engine.toml
  anya-engine metrics engine.toml --port 9464
  anya-engine metrics engine.toml --json | jq -r '.families[].name'
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, as Engine.from_file reads it")
    parser.add_argument("--port", type=integer(0, 65535), metavar="N", help="serve /metrics on this port (0: any)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (127.0.0.1)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--openmetrics", action="store_true", help="print OpenMetrics 1.0, not the text format 0.0.4")
    how.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(arguments: argparse.Namespace) -> bool:
    """Print or serve."""
    config = EngineConfig.from_toml(arguments.config)
    if config.metrics_directory is None:
        with Engine.from_file(arguments.config) as engine:
            _show(arguments, engine.metrics_text, engine._metrics.families)
    else:
        folder = fspath(config.metrics_directory)
        if not Path(folder).is_dir():
            raise CliError(f"{folder} is not there: no process counts in it yet")

        def text(*, openmetrics: bool) -> bytes:
            return metrics_text([], [families_of(folder)], openmetrics)

        _show(arguments, text, lambda: families_of(folder))
    return True


def _show(
    arguments: argparse.Namespace, text: Callable[..., bytes], families: Callable[[], list[MetricFamily]]
) -> None:
    if arguments.port is not None:
        with serve(lambda openmetrics: text(openmetrics=openmetrics), arguments.port, arguments.host) as server:
            print(f"serving {server.url}; interrupt to stop", flush=True)
            _until_told()
    elif arguments.json:
        print_json({"families": [_facts(each) for each in families()]})
    else:
        sys.stdout.write(text(openmetrics=arguments.openmetrics).decode())


def _facts(family: MetricFamily) -> dict[str, object]:
    return {name: getattr(family, name) for name in ("name", "kind", "help", "label_names", "samples")}


def _until_told() -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(3600.0):
        pass
