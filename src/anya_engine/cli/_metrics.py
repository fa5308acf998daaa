# SPDX-License-Identifier: Apache-2.0
"""`anya-engine metrics CONFIG`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from .._engine import Engine
from .._metrics_server import start_metrics_server
from ._parser import integer
from ._text import print_json

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "show or serve the metrics of a configuration"
DESCRIPTION = (
    "Load what a configuration names and print its metrics as Prometheus would scrape them: names, labels, what is "
    "loaded. With --port, serve them until interrupted."
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
    with Engine.from_file(arguments.config) as engine:
        if arguments.port is not None:
            with start_metrics_server(arguments.port, engine, host=arguments.host) as server:
                print(f"serving {server.url}; interrupt to stop", flush=True)
                _until_told()
        elif arguments.json:
            print_json({"families": [_facts(each) for each in engine._metrics.families()]})
        else:
            sys.stdout.write(engine.metrics_text(openmetrics=arguments.openmetrics).decode())
    return True


def _facts(family: object) -> dict[str, object]:
    return {name: getattr(family, name) for name in ("name", "kind", "help", "label_names", "samples")}


def _until_told() -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    while not told.wait(3600.0):
        pass
