# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server for Prometheus, for services that have none of their own for it."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Self

from . import _checks as check
from ._core import MetricFamily
from ._log import Log
from ._metrics import all_metrics, text_of
from ._system import process_families
from .errors import ConfigError

if TYPE_CHECKING:
    from ._engine import Engine

__all__ = ["MetricsServer", "serve", "start_metrics_server"]

_log = Log("anya_engine")

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: Seconds that a client may take over its request.
_PATIENCE = 10.0


class MetricsServer:
    """A running endpoint. Thread-safe. Its threads end with the process, or with `close()`.

    Attributes:
        port: Where it listens.
        url: What to scrape.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.port: int = server.server_address[1]
        host = str(server.server_address[0])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self._thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="anya-metrics", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<anya_engine.MetricsServer {self.url if self._thread.is_alive() else 'closed'}>"

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def start_metrics_server(port: int, engine: Engine | None = None, *, host: str = "127.0.0.1") -> MetricsServer:
    """Serve `/metrics` from a thread of its own: Prometheus' text, or OpenMetrics for who accepts it.

    The text is written by the core without the GIL; requests do not wait for it.

    Args:
        port: Where to listen, 1 to 65535; 0: any free one, see `.port` of what is returned.
        engine: Whose metrics; None: those of every engine of this process, equal versions summed.
        host: Address to listen on; "0.0.0.0" for every network, which everybody there can then read.

    Raises:
        ConfigError: The port is taken, or may not be had.
    """
    if engine is not None and not hasattr(engine, "_metrics"):
        check.refuse("engine", "must be an anya.Engine; the port comes before it", engine)
    found = None if engine is None else weakref.ref(engine._metrics)

    def text(openmetrics: bool) -> bytes:
        one = None if found is None else found()
        process: Iterable[MetricFamily] = ()
        with contextlib.suppress(ImportError):  # `anya_metrics_source_up` says it
            process = process_families()
        return text_of(all_metrics() if found is None else [one] if one is not None else [], openmetrics, process)

    return serve(text, port, host)


def serve(text: Callable[[bool], bytes], port: int, host: str) -> MetricsServer:
    """Serve what `text` gives, told whether it is to be OpenMetrics. Raises as `start_metrics_server`."""
    number = check.integer("port", port, 0, 65535)

    try:
        server = _Server((host, number), text)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served on {host}:{number}: {error.strerror or error}; choose another port, or 0 for "
            "any free one",
            field="port",
            value=number,
        ) from error
    running = MetricsServer(server)
    _log.info("metrics url=%s", running.url)
    return running


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], text: Callable[[bool], bytes]) -> None:
        super().__init__(address, _Handler)
        self.text = text

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        _log.debug("a metrics client went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server_version = "anya-engine"
    sys_version = ""

    def do_GET(self) -> None:  # the base class calls it that
        """Answer a scrape."""
        if self.path.split("?")[0] not in ("/metrics", "/"):
            self.send_error(404, explain="metrics are at /metrics")
            return
        openmetrics = "application/openmetrics-text" in self.headers.get("Accept", "")
        try:
            assert isinstance(self.server, _Server)
            body = self.server.text(openmetrics)
        except Exception as error:  # noqa: BLE001  # a scraper gets an answer, whatever it is
            _log.exception("the metrics could not be written")
            self.send_error(500, explain=f"{type(error).__name__}: {error}")
            return
        self.send_response(200)
        self.send_header("Content-Type", OPENMETRICS if openmetrics else TEXT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """A scrape every few seconds is no news."""
