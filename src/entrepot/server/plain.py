"""A small HTTP server for what must be answered beside the workers, or before there are any."""

import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"

Answer = tuple[int, str, bytes]
"""Status, media type and body."""

_RETRY_SECONDS = 5


class Routes(Protocol):
    """What such a server answers."""

    def answer(self, method: str, path: str) -> Answer:
        """Return the answer to a request."""


class PlainServer(ThreadingHTTPServer):
    """Serves routes on a socket that is listening already; with `tls` over TLS."""

    daemon_threads = True
    keeps_connections = True
    """Whether another request may come on a connection."""

    def __init__(
        self, listener: socket.socket, routes: Routes, *, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.routes = routes
        self._tls = tls

    def get_request(self) -> tuple[socket.socket, object]:
        """Take a connection; the thread that reads from it does the handshake."""
        connection, client = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, client

    def handle_error(self, *_: object) -> None:
        """Nothing: a client went away, or doesn't speak HTTP."""


class _Handler(BaseHTTPRequestHandler):
    server: PlainServer
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
        if status == 503:
            self.send_header("Retry-After", str(_RETRY_SECONDS))
        # Whatever body came along is not read.
        if self.command not in {"GET", "HEAD"} or not self.server.keeps_connections:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Leave these requests out of the logs: probes and scrapes would fill them."""
