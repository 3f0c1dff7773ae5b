"""The process beside the workers: health checks, and the server at `http.debug.addr`.

It has threads, so it is not the supervisor: that one forks, and a process with threads must not.

    GET  /debug/health             200 {} or 503 with what fails, as registry:2
    POST /debug/health/down, /up   take the registry out of service, and back
    GET  /livez, /readyz           for whoever can't reach the main address
    GET  http.debug.prometheus.path
"""

import json
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from entrepot.config import Config
from entrepot.health import MANUAL, Check, HealthBoard, watch
from entrepot.telemetry import CONTENT_TYPE, configure_logging, render

_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]


@dataclass(frozen=True, slots=True)
class Watch:
    """What the monitor is to do, and with what."""

    config: Config
    checks: tuple[Check, ...]
    board: HealthBoard
    metrics: Path
    listener: socket.socket | None
    """Listening already; None without `http.debug.addr`."""


def monitor(given: Watch) -> int:
    """Check and serve until SIGTERM. Must run in a process of its own."""
    configure_logging(given.config.log)
    stop = threading.Event()
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    ended = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_SETMASK, ended)
    for check in given.checks:
        arguments = {"board": given.board, "stop": stop}
        threading.Thread(target=watch, args=(check,), kwargs=arguments, daemon=True).start()
    if given.listener is not None:
        server = DebugServer(given.listener, Routes(given))
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.sigwait(ended)
    stop.set()
    return 0


class Routes:
    """What the debug server answers."""

    def __init__(self, given: Watch) -> None:
        self._board = given.board
        self._metrics = given.metrics
        self._routes: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/debug/health"): self._health,
            ("POST", "/debug/health/down"): self._down,
            ("POST", "/debug/health/up"): self._up,
            ("GET", "/livez"): lambda: (200, _TEXT, b"ok\n"),
            ("GET", "/readyz"): self._ready,
        }
        prometheus = given.config.http.debug.prometheus
        if prometheus.enabled:
            self._routes["GET", prometheus.path] = self._rendered

    def answer(self, method: str, path: str) -> Answer:
        """Status, media type and body for a request."""
        route = self._routes.get(("GET" if method == "HEAD" else method, path))
        return route() if route else (404, _TEXT, b"404 page not found\n")

    def _health(self) -> Answer:
        failures = self._board.failures()
        return (503 if failures else 200), _JSON, json.dumps(failures).encode()

    def _down(self) -> Answer:
        self._board.report(MANUAL, "manual Check")
        return 200, _TEXT, b""

    def _up(self) -> Answer:
        self._board.report(MANUAL, None)
        return 200, _TEXT, b""

    def _ready(self) -> Answer:
        if self._board.draining:
            return 503, _TEXT, b"draining\n"
        if not self._board.healthy:
            return 503, _TEXT, b"unhealthy\n"
        return 200, _TEXT, b"ok\n"

    def _rendered(self) -> Answer:
        return 200, CONTENT_TYPE, render(self._metrics)


class DebugServer(ThreadingHTTPServer):
    """Serves routes on a socket that is listening already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, routes: Routes) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.routes = routes


class _Handler(BaseHTTPRequestHandler):
    server: DebugServer
    protocol_version = "HTTP/1.1"
    server_version = "Entrepot"
    sys_version = ""
    timeout = 30
    """Seconds for which a connection may be idle."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status, media_type, body = self.server.routes.answer(self.command, path)
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if self.command == "POST":
            self.close_connection = True  # whatever body came along is not read
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Leave these requests out of the logs: probes and scrapes would fill them."""
