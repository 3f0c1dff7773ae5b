"""Connections to directory servers: kept for the next operation, and to the next server if one is
away.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from entrepot.core.errors import UnreachableError
from entrepot.identity.ldap_wire import Connection, Server

_AVOID: Final = 30.0
"""Seconds for which a server that was away is tried after the others."""

_log = structlog.get_logger("entrepot.identity")

T = TypeVar("T")


class Servers:
    """Servers that know the same, in the order in which they are asked."""

    def __init__(
        self, servers: Sequence[Server], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._clock = clock
        self._avoided: dict[str, float] = {}

    def in_order(self) -> list[Server]:
        """Return them all: those that were away a moment ago come last."""
        now = self._clock()
        return sorted(self._servers, key=lambda server: self._avoided.get(server.url, now) > now)

    def avoid(self, server: Server) -> None:
        """Ask the others first for a while."""
        self._avoided[server.url] = self._clock() + _AVOID


class Pool:
    """Up to `size` connections at once, each made ready by `greet`; `connect` and `timeout` are in
    seconds, for connecting and for an operation.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        size: int,
        connect: float,
        timeout: float,
        greet: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._servers = servers
        self._room = asyncio.Semaphore(size)
        self._connect = connect
        self._timeout = timeout
        self._greet = greet
        self._idle: list[Connection] = []

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what `work` returns, done with a connection that was kept or with a new one. It is
        done again with another one if a server goes away, so it must not mind that.

        Raises:
            UnreachableError: no server can be reached; the text names them.
        """
        async with self._room:
            while self._idle:
                with suppress(UnreachableError):
                    return await self._use(self._idle.pop(), work)
            failures = []
            for server in self._servers.in_order():
                try:
                    connection = await self._open(server)
                    return await self._use(connection, work)
                except UnreachableError as error:
                    self._servers.avoid(server)
                    failures.append(str(error))
                    _log.warning("a directory server is away", server=server.url, error=error)
            raise UnreachableError("; ".join(failures))

    def close(self) -> None:
        """End the connections that nobody uses."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _open(self, server: Server) -> Connection:
        connection = await Connection.open(server, connect=self._connect, timeout=self._timeout)
        if self._greet is not None:
            try:
                await self._greet(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    async def _use(self, connection: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            result = await work(connection)
        except UnreachableError:
            self._servers.avoid(connection.server)
            gone = [one for one in self._idle if one.server == connection.server]
            self._idle = [one for one in self._idle if one.server != connection.server]
            for one in (connection, *gone):
                one.close()
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return result
