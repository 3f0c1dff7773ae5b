"""A server of HTTP/1.1 that answers with what it was sent, and a client that writes bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from entrepot.config.schema_http import Http, Limits
from entrepot.server.accepting import make_shares
from entrepot.server.http1 import Http1Server
from entrepot.server.lifespan import Application

KIB = 1024
LARGE = 64
"""MiB that are answered at /large: more than all buffers between server and client hold."""


class Echo:
    """Answers with what it was sent; some paths do something else."""

    draining = False

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.events: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.release = asyncio.Event()

    def certificate_refused(self, address: str, reason: str) -> None:
        self.refused.append((address, reason))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        path = scope["path"]
        if path == "/crash":
            raise RuntimeError("a fault of the application")
        if path == "/unread":
            await self._answer(send, b"no")
            return
        if path == "/held":
            await self.release.wait()
        if path == "/stream":
            await self._stream(send)
            return
        if path == "/large":
            await self._large(send)
            return
        if path in LIES:
            await send({"type": "http.response.start", "status": 200, "headers": LIES[path]})
            await send({"type": "http.response.body", "body": b"four"})
            return
        body = b""
        while True:
            message = await receive()
            self.events.append(message["type"])
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self._answer(send, b"%s %s:%d" % (path.encode(), body[:16], len(body)))

    async def _large(self, send: Any) -> None:
        length = str(LARGE * KIB * KIB).encode()
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(LARGE):
            body = bytes([number]) * KIB * KIB
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self.events.append("sent")
        await send({"type": "http.response.body"})

    async def _answer(self, send: Any, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})


LIES = {
    "/short": [(b"content-length", b"9")],
    "/long": [(b"content-length", b"1")],
    "/split": [(b"content-length", b"4"), (b"x", b"a\r\nset-cookie: b")],
}

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Site:
    """A server, and connections to it."""

    def __init__(
        self, server: Http1Server, echo: Echo, port: int, *, client: ssl.SSLContext | None
    ) -> None:
        self.client = client
        self.server = server
        self.echo = echo
        self.port = port
        self.writers: list[Writer] = []

    async def open(self) -> tuple[Reader, Writer]:
        return await self._connect(self.client)

    async def open_plain(self) -> tuple[Reader, Writer]:
        """Open a connection on which nothing has been said, not even by TLS."""
        return await self._connect(None)

    async def _connect(self, client: ssl.SSLContext | None) -> tuple[Reader, Writer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=client)
        self.writers.append(writer)
        return reader, writer

    async def say(self, data: bytes) -> bytes:
        """Send, say that this is all, and return everything that comes back."""
        reader, writer = await self.open()
        writer.write(data)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer


@asynccontextmanager
async def serving(
    limits: Limits | None = None,
    *,
    most: int = 100,
    tls: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    application: Application | None = None,
) -> AsyncIterator[Site]:
    """A site; with `tls` over TLS, to which its connections speak as `client`."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    echo = Echo()
    http = Http(limits=limits or Limits())
    (share,) = make_shares(1)
    server = Http1Server(
        application or echo, listener=listener, share=share, http=http, most=most, tls=tls
    )
    running = asyncio.ensure_future(server.serve())
    site = Site(server, echo, port, client=client)
    try:
        yield site
    finally:
        for writer in site.writers:
            writer.close()
        server.finish()
        for task in server.running():
            task.cancel()
        await asyncio.wait_for(running, 60)


def with_site(
    scenario: Callable[[Site], Awaitable[None]], limits: Limits | None = None, *, most: int = 100
) -> None:
    async def run() -> None:
        async with serving(limits, most=most) as site:
            await scenario(site)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def get(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", *lines, "", "")).encode()


def put(path: str, body: bytes) -> bytes:
    return get(path, f"Content-Length: {len(body)}", method="PUT") + body


def bodies(answer: bytes) -> list[bytes]:
    """The bodies of answers that have a length, one behind the other."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append(rest[:size])
        answer = rest[size:]
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def ask(reader: Reader, writer: Writer, *pieces: bytes) -> list[bytes]:
    """Send pieces that arrive one by one, and return the body of the answer."""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.05)  # they must not arrive together
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return bodies(head + await reader.readexactly(size))
