"""A small real HTTP server that says what a test tells it to, as registries do that mean no good.

with scripted(lambda request: Reply(200, b"{}")) as site:
    site.url, site.requests
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.certificates import Pair


@dataclass(frozen=True)
class Heard:
    """A request; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True)
class Reply:
    """An answer; `announced` is its Content-Length where that is not the body's, so that the
    connection ends too early.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None


Answer = Callable[[Heard], Reply]


class Site:
    """The server, what it was asked, and what it answers: replace `answer` at any time."""

    def __init__(self, answer: Answer, tls: Pair | None, clients: Path | None) -> None:
        self.answer = answer
        self.requests: list[Heard] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls.certificate, tls.key)
            if clients is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def asked(self, path: str) -> list[Heard]:
        """The requests for a path."""
        return [request for request in self.requests if request.path == path]


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard = Heard(self.command, self.path, headers)
            site.requests.append(heard)
            reply = site.answer(heard)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            length = len(reply.body) if reply.announced is None else reply.announced
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
            self.close_connection = reply.announced is not None

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    return Handler


@contextmanager
def scripted(
    answer: Answer, *, tls: Pair | None = None, clients: Path | None = None
) -> Iterator[Site]:
    """A running server of this kind; `clients` has the authority that signs their certificates."""
    site = Site(answer, tls, clients)
    site.start()
    try:
        yield site
    finally:
        site.stop()


def challenge(text: str) -> Reply:
    """A 401 that asks for something."""
    return Reply(401, b"", {"WWW-Authenticate": text})
