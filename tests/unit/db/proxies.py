"""A proxy in front of PostgreSQL that counts what a client sends, and breaks connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Message = tuple[bytes, bytes]
"""Type and content of a message (PostgreSQL's documentation, "Message Formats")."""


class Proxy:
    """Connections go on to `port`; `round_trips` is how often clients waited for the server since
    it was last set, `connections` how many there were.
    """

    def __init__(self, port: int) -> None:
        self.round_trips = 0
        self.connections = 0
        self.break_at: Callable[[Message], bool] = lambda _message: False
        """Whether to break the connection instead of handing a message of the client on."""
        self.swallow_at: Callable[[Message], bool] = lambda _message: False
        """Whether to break it after handing the message on, before the server's answer."""
        self.silent = False
        """Whether to hand nothing on, as a server does whose machine is gone."""
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def break_all(self) -> None:
        """Break every connection, as a server does that is killed."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, up_writer}
        back = asyncio.ensure_future(self._back(up_reader, writer))
        self._tasks.add(back)
        with suppress(asyncio.IncompleteReadError, OSError):
            await self._forth(reader, up_writer, back)
        for one in (writer, up_writer):
            one.transport.abort()

    async def _forth(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.Future[None],
    ) -> None:
        length = await reader.readexactly(4)
        writer.write(length + await reader.readexactly(int.from_bytes(length, "big") - 4))
        while True:
            kind = await reader.readexactly(1)
            length = await reader.readexactly(4)
            content = await reader.readexactly(int.from_bytes(length, "big") - 4)
            self.round_trips += kind in b"SQ"
            if self.break_at((kind, content)):
                return
            if self.swallow_at((kind, content)):
                back.cancel()
                writer.write(kind + length + content)
                await writer.drain()
                await asyncio.sleep(0.2)  # the server works on it meanwhile
                return
            if not self.silent:
                writer.write(kind + length + content)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()


@asynccontextmanager
async def start_proxy(port: int) -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy in front of a port of 127.0.0.1, and the port where it listens."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        proxy.break_all()
        await asyncio.sleep(0)
