"""Requests that are sent piece by piece, stop where a test wants, and know who serves them."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from tests.servers import Registry, wait_until

PATIENCE_SECONDS: Final = 30.0
"""How long an answer may take before a worker counts as hung."""

_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Answer:
    """What came back; the names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def codes(self) -> list[str]:
        """The error codes of the body."""
        return [error["code"] for error in json.loads(self.body)["errors"]]


class Connection:
    """A connection, on which one request is sent piece by piece."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._chunked = False
        self._socket = socket.create_connection(("127.0.0.1", registry.port), PATIENCE_SECONDS)

    def begin(
        self,
        method: str,
        location: str,
        *,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Self:
        """Send the head of a request; without `length` its body is chunked."""
        self._chunked = length is None
        parts = urlsplit(location)
        framing = {"Transfer-Encoding": "chunked"} if length is None else {}
        if length is not None:
            framing["Content-Length"] = str(length)
        given = {"Content-Type": "application/octet-stream", **framing, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._registry.host}\r\n{lines}\r\n"
        self._socket.sendall(head.encode())
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send more of the body."""
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def answer(self) -> Answer:
        """End the body and read the answer."""
        if self._chunked:
            with suppress(ConnectionError):
                self._socket.sendall(b"0\r\n\r\n")
        reply = http.client.HTTPResponse(self._socket)
        reply.begin()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, headers, reply.read())

    def hang_up(self) -> None:
        """Close the connection as a client that was ended."""
        self._socket.close()

    def reset(self) -> None:
        """Reset the connection, as a client whose machine or network went away."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()

    def worker(self) -> int:
        """The process id of the worker that serves this connection."""
        mine = self._socket.getsockname()[1]
        found: set[int] = set()

        def is_served() -> bool:
            found.update(_holders(self._registry, remote=mine))
            return bool(found)

        wait_until(is_served, what="a worker for the connection")
        return found.pop()


def _holders(registry: Registry, *, remote: int) -> set[int]:
    """The processes that hold the server's end of the connection from the port `remote`."""
    ends = f":{registry.port:04X}", f":{remote:04X}"
    sockets = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
            sockets.add(f"socket:[{fields[9]}]")
    return {pid for pid in _workers(registry) if _descriptors(pid) & sockets}


def _workers(registry: Registry) -> set[int]:
    children = Path(f"/proc/{registry.process.pid}/task/{registry.process.pid}/children")
    return {int(pid) for pid in children.read_text().split()}


def _descriptors(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def two_workers(registry: Registry) -> tuple[Connection, Connection]:
    """Connections that two worker processes have, in the order of their ids."""
    made: dict[int, Connection] = {}
    for _ in range(200):
        connection = Connection(registry)
        if made.setdefault(connection.worker(), connection) is not connection:
            connection.hang_up()
        if len(made) == 2:
            return made[min(made)], made[max(made)]
    raise AssertionError("one worker takes all connections")
