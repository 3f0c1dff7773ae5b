"""Lean HTTP/1.1 clients: they must cost little CPU, for they share the cores with the servers."""

from __future__ import annotations

import hashlib
import select
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.errors import WrongAnswerError

_RECEIVE = 1 << 20
_END_OF_HEAD = b"\r\n\r\n"
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Answer:
    """A response; `head` is everything before the empty line, `body` is empty if it was skipped."""

    status: int
    head: bytes
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The value of a header, None if absent."""
        start = self.head.lower().find(b"\r\n" + name.lower().encode() + b":")
        if start < 0:
            return None
        start += len(name) + 3
        end = self.head.find(b"\r\n", start)
        return self.head[start : end if end >= 0 else None].decode().strip()

    @property
    def location(self) -> str:
        """Path and query of the Location header, whether that is absolute or relative."""
        value = self.header("Location")
        if value is None:
            raise WrongAnswerError(f"no Location: {self.head.decode(errors='replace')}")
        if "://" in value:
            return "/" + value.split("://", 1)[1].partition("/")[2]
        return value

    def expect(self, *statuses: int) -> Answer:
        """This answer, if it has one of these statuses; else raises WrongAnswerError."""
        if self.status not in statuses:
            text = (self.head + b" " + self.body[:500]).decode(errors="replace")
            raise WrongAnswerError(f"expected {statuses}, got: {text}")
        return self


class Connection:
    """One keep-alive connection to a server at 127.0.0.1-like `host`:`port`."""

    def __init__(self, host: str, port: int, *, headers: str = "") -> None:
        """`headers` go with every request, each line ending in CRLF."""
        self.fixed = f"Host: {host}:{port}\r\n{headers}"
        self._socket = socket.create_connection((host, port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def request(self, method: str, path: str, headers: str = "", body: Buffer = b"") -> Answer:
        """Send a request with a body of known length and read the whole answer."""
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT") else ""
        head = f"{method} {path} HTTP/1.1\r\n{self.fixed}{headers}{length}\r\n".encode()
        if len(body) < 65536:
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)
        return self._answer(method)

    def request_pieces(
        self, method: str, path: str, headers: str, pieces: Sequence[Buffer]
    ) -> Answer:
        """Send a body of known length that is the pieces one after the other."""
        length = f"Content-Length: {sum(map(len, pieces))}\r\n"
        head = f"{method} {path} HTTP/1.1\r\n{self.fixed}{headers}{length}\r\n"
        self._socket.sendall(head.encode())
        for piece in pieces:
            self._socket.sendall(piece)
        return self._answer(method)

    def request_framed(self, method: str, path: str, framed: Buffer) -> Answer:
        """Send a body that is already in chunked transfer coding."""
        head = (
            f"{method} {path} HTTP/1.1\r\n{self.fixed}"
            "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        self._socket.sendall(framed)
        return self._answer(method)

    def download(self, path: str) -> int:
        """GET whose body the kernel throws away uncopied; its length in bytes.

        The cheapest client there is, so that the server's speed is measured and not the client's.
        Raises WrongAnswerError.
        """
        length, rest = self._begin_download(path)
        left = length - len(rest)
        while left > 0:
            left -= self._receive_into(min(left, _RECEIVE), socket.MSG_TRUNC)
        return length

    def download_digest(self, path: str) -> str:
        """GET, and the sha256 digest of what came. Raises WrongAnswerError."""
        length, rest = self._begin_download(path)
        received = hashlib.sha256(rest)
        left = length - len(rest)
        while left > 0:
            count = self._receive_into(min(left, _RECEIVE), 0)
            received.update(memoryview(self._buffer)[:count])
            left -= count
        return f"sha256:{received.hexdigest()}"

    def _begin_download(self, path: str) -> tuple[int, bytes]:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\n{self.fixed}\r\n".encode())
        answer, rest = self._head()
        length = answer.expect(200).header("Content-Length")
        if length is None:
            raise WrongAnswerError(f"{path} came without Content-Length")
        return int(length), rest

    def _receive_into(self, size: int, flags: int) -> int:
        if not self._buffer:
            self._buffer = bytearray(_RECEIVE)
        received = self._socket.recv_into(self._buffer, size, flags)
        if received == 0:
            raise WrongAnswerError("the server closed the connection in the middle of a body")
        return received

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise WrongAnswerError("the server closed the connection")
        return data

    def _head(self) -> tuple[Answer, bytes]:
        data = self._rest
        self._rest = b""
        while (end := data.find(_END_OF_HEAD)) < 0:
            data += self._receive()
        head = data[:end]
        if head[9:12] == b"100":
            self._rest = data[end + 4 :]
            return self._head()
        return Answer(status=int(head[9:12]), head=head), data[end + 4 :]

    def _answer(self, method: str) -> Answer:
        answer, rest = self._head()
        if method == "HEAD" or answer.status in (204, 304):
            self._rest = rest
            return answer
        if "chunked" in (answer.header("Transfer-Encoding") or ""):
            return Answer(answer.status, answer.head, self._chunks(rest))
        length = int(answer.header("Content-Length") or 0)
        while len(rest) < length:
            rest += self._receive()
        self._rest = rest[length:]
        return Answer(answer.status, answer.head, rest[:length])

    def _chunks(self, data: bytes) -> bytes:
        body = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self._receive()
            size = int(data[:end].split(b";")[0], 16)
            while len(data) < end + 2 + size + 2:
                data += self._receive()
            body += data[end + 2 : end + 2 + size]
            data = data[end + 2 + size + 2 :]
            if size == 0:
                self._rest = data
                return body


@dataclass(frozen=True)
class Load:
    """What a load generator did: answers, seconds by its clock, bytes received, latencies in s."""

    requests: int
    seconds: float
    received: int = 0
    p50: float = 0.0
    p99: float = 0.0


def head_load(
    host: str, port: int, path: str, *, headers: str, connections: int, seconds: float
) -> Load:
    """HEAD over many keep-alive connections; wrk cannot (it waits for the body that never comes).

    Raises WrongAnswerError for any status but 200.
    """
    request = f"HEAD {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n".encode()
    sockets = {}
    poll = select.epoll()
    for _ in range(connections):
        connected = socket.create_connection((host, port), timeout=60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connected.fileno()] = connected
        poll.register(connected, select.EPOLLIN)
    try:
        start = time.perf_counter()
        for connected in sockets.values():
            connected.send(request)
        requests, received = _answer_loop(poll, sockets, request, until=start + seconds)
        return Load(requests, time.perf_counter() - start, received)
    finally:
        poll.close()
        _close(sockets.values())


def _answer_loop(
    poll: select.epoll, sockets: dict[int, socket.socket], request: bytes, *, until: float
) -> tuple[int, int]:
    partial: dict[int, bytes] = {}
    requests = received = 0
    while time.perf_counter() < until:
        for number, _ in poll.poll(1.0):
            data = sockets[number].recv(65536)
            if not data:
                raise WrongAnswerError("the server closed a connection")
            received += len(data)
            if not data.endswith(_END_OF_HEAD) or partial:
                data = partial.pop(number, b"") + data
                if not data.endswith(_END_OF_HEAD):
                    partial[number] = data
                    continue
            if data[9:12] != b"200":
                raise WrongAnswerError(data.decode(errors="replace"))
            requests += 1
            sockets[number].send(request)
    return requests, received


def _close(sockets: Iterable[socket.socket]) -> None:
    for connected in sockets:
        connected.close()
