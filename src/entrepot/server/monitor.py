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
from pathlib import Path

from entrepot.config import Config
from entrepot.health import MANUAL, Check, HealthBoard, watch
from entrepot.server.plain import JSON, TEXT, Answer, PlainServer
from entrepot.telemetry import CONTENT_TYPE, configure_logging, render


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
        server = PlainServer(given.listener, Routes(given))
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
            ("GET", "/livez"): lambda: (200, TEXT, b"ok\n"),
            ("GET", "/readyz"): self._ready,
        }
        prometheus = given.config.http.debug.prometheus
        if prometheus.enabled:
            self._routes["GET", prometheus.path] = self._rendered

    def answer(self, method: str, path: str) -> Answer:
        """Return the answer to a request."""
        route = self._routes.get(("GET" if method == "HEAD" else method, path))
        return route() if route else (404, TEXT, b"404 page not found\n")

    def _health(self) -> Answer:
        failures = self._board.failures()
        return (503 if failures else 200), JSON, json.dumps(failures).encode()

    def _down(self) -> Answer:
        self._board.report(MANUAL, "manual Check")
        return 200, TEXT, b""

    def _up(self) -> Answer:
        self._board.report(MANUAL, None)
        return 200, TEXT, b""

    def _ready(self) -> Answer:
        if self._board.draining:
            return 503, TEXT, b"draining\n"
        if not self._board.healthy:
            return 503, TEXT, b"unhealthy\n"
        return 200, TEXT, b"ok\n"

    def _rendered(self) -> Answer:
        return 200, CONTENT_TYPE, render(self._metrics)
