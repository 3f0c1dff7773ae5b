"""HTTP/1.1 by hand, for requests that no client library would send."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tests.conformance.answers import FURTHER_CODES, SPECIFIED_CODES

PATIENCE_SECONDS: Final = 15.0
"""How long the server may be silent before a worker counts as hung."""

TRACES: Final = (b"Traceback (most recent call last)", b'File "/', b'.py", line ')

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Target:
    """Where the requests go."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"


@dataclass(frozen=True)
class Request:
    """A request as bytes; every part of it may be nonsense."""

    method: bytes
    path: bytes
    headers: Headers = ()
    body: bytes = b""
    version: bytes = b"HTTP/1.1"

    def to_bytes(self, target: Target) -> bytes:
        """The request with Host, Connection and Content-Length where they are not given."""
        lines = [b"%s %s %s" % (self.method, self.path, self.version)]
        names = {name.lower() for name, _ in self.headers}
        if b"host" not in names:
            lines.append(b"Host: " + target.authority.encode())
        if b"connection" not in names:
            lines.append(b"Connection: close")
        if self.body and not names & {b"content-length", b"transfer-encoding"}:
            lines.append(b"Content-Length: %d" % len(self.body))
        lines += [b"%s: %s" % header for header in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is 0 if the server hung up without a word."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""


class HungError(AssertionError):
    """The server neither answered nor hung up in time."""


def exchange(target: Target, request: Request) -> Answer:
    """Sends a complete request and reads the answer. Raises HungError."""
    with _connected(target) as connection:
        _send(connection, request.to_bytes(target))
        return _answer(connection, request.method)


def break_off(target: Target, request: Request) -> Answer:
    """Sends a request that promises more than it has, says that it is over, and reads on.

    The server may answer or hang up, but not wait. Raises HungError.
    """
    return say(target, request.to_bytes(target), method=request.method)


def say(target: Target, data: bytes, *, method: bytes = b"GET") -> Answer:
    """Sends `data`, says that this is all, and reads what is answered. Raises HungError."""
    with _connected(target) as connection:
        _send(connection, data)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        return _answer(connection, method)


def hang_up(target: Target, request: Request) -> None:
    """Sends the request and is gone without waiting for the answer."""
    with _connected(target) as connection:
        _send(connection, request.to_bytes(target))


def _connected(target: Target) -> socket.socket:
    return socket.create_connection((target.host, target.port), PATIENCE_SECONDS)


def _send(connection: socket.socket, data: bytes) -> None:
    # The server may refuse and hang up while we are still sending.
    with suppress(ConnectionError):
        connection.sendall(data)


def _answer(connection: socket.socket, method: bytes) -> Answer:
    reply = http.client.HTTPResponse(connection, method="HEAD" if method == b"HEAD" else "GET")
    try:
        reply.begin()
        body = reply.read()
    except http.client.IncompleteRead as cut:
        body = cut.partial
    except (http.client.RemoteDisconnected, ConnectionError):
        return Answer(0)
    except TimeoutError:
        raise HungError(f"no answer within {PATIENCE_SECONDS:g} s") from None
    return Answer(reply.status, tuple(reply.getheaders()), body)


def assert_decent(request: Request, answer: Answer) -> None:
    """What must hold for every answer to whatever request.

    Never a fault of the server and never a trace of its insides; errors below /v2/ in the
    specification's JSON form. An HTTP parser may refuse what is no HTTP without a body, or by
    hanging up.
    """
    asked = f"{request.method[:20]!r} {request.path[:300]!r} {request.headers!r}"[:2000]
    told = f"{asked}\n-> {answer.status} {answer.headers} {answer.body[:500]!r}"
    # 501 and 505 are an HTTP parser's refusals of a coding or version that it doesn't know.
    assert answer.status < 500 or answer.status in (501, 505), told
    assert not any(trace in answer.body for trace in TRACES), told
    if answer.status >= 400 and answer.body and request.path.startswith(b"/v2/"):
        assert _is_error_list(answer.body), told


def _is_error_list(body: bytes) -> bool:
    """Whether a body is in the specification's JSON form ("Error Codes")."""
    try:
        errors = json.loads(body)["errors"]
    except (ValueError, TypeError, KeyError):
        return False
    codes = SPECIFIED_CODES | FURTHER_CODES
    return bool(errors) and all(error["code"] in codes for error in errors)


def assert_alive(target: Target) -> None:
    """Every worker still answers: short connections, enough of them to meet each one."""
    for _ in range(12):
        answer = exchange(target, Request(b"GET", b"/v2/"))
        assert answer.status == 200, f"{answer}"
        assert answer.body == b"{}", f"{answer}"
