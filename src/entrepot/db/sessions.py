"""Connections to PostgreSQL: opened when they are needed, kept with what is prepared on them.

asyncpg has a pool of its own, which resets a connection by a statement whenever it comes back: a
round trip that a manifest GET would pay for. Nothing here changes a connection's state outside a
transaction, so a connection comes back by being put on a list.
"""

import asyncio
import os
import re
import ssl
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from secrets import randbits
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from entrepot.db.address import IndexAddress
from entrepot.db.engine import Row, Values
from entrepot.db.errors import DatabaseError, DatabaseFullError, DatabaseUnavailableError

_AWAY_SECONDS: Final = 0.5
"""After a connection could not be opened, for how long nobody tries again."""

_IDLE_SECONDS: Final = 300.0
"""A connection that nobody needed for so long is closed."""

_GRACE_SECONDS: Final = 1.0
"""What the server gets, beyond its time for a statement, to say that the time is over."""

LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.ReadOnlySQLTransactionError,  # the server was demoted: another one is the primary now
    asyncpg.InvalidCachedStatementError,  # the schema changed under a prepared statement
    asyncpg.InvalidSQLStatementNameError,  # somebody between us and the server mixes sessions
)
"""What a new connection may mend. TimeoutError, an OSError too, is looked at before."""

_BUSY: Final = (
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OutOfMemoryError,
    asyncpg.LockNotAvailableError,
)

_FILES: Final = {"sslrootcert", "sslcert", "sslkey", "sslcrl"}

_PARAMETER = re.compile(r"'[^']*'|--[^\n]*|::|:([a-z_]+)")


@lru_cache(maxsize=1024)
def positional(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with `$1` for `:name`, and the names in the order of their numbers."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, sql), tuple(names)


def for_each(sql: str, types: Sequence[str]) -> str:
    """Return a statement that runs another one with each of several values, which it takes as one
    array for every name: the place of the values, from 1, and the first row for them, if any.
    """
    names = positional(sql)[1]
    values = {name: f"value{number}" for number, name in enumerate(names, 1)}
    each = _PARAMETER.sub(lambda match: f"asked.{values[match[1]]}" if match[1] else match[0], sql)
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
    return (
        f"SELECT asked.place, found.* FROM unnest({arrays}) WITH ORDINALITY "  # noqa: S608
        f"AS asked({', '.join(values.values())}, place) "
        f"CROSS JOIN LATERAL (SELECT * FROM ({each}\n) AS rows LIMIT 1) AS found"
    )


class Session:
    """A connection and the statements that were prepared on it."""

    __slots__ = ("_prepared", "_timeout", "_together", "connection", "idle_since", "shard")

    def __init__(self, connection: Any, *, timeout: float | None) -> None:
        self.connection = connection
        self.idle_since = 0.0
        self.shard = randbits(31)
        self._timeout = timeout
        self._prepared: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self._together: dict[str, Any] = {}
        """Statements that are run with each of several values."""

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        """Return the first row, or None."""
        statement, names = self._prepared.get(sql) or await self._prepare(sql)
        row = await statement.fetchrow(*[values[n] for n in names], timeout=self._timeout)
        return tuple(row) if row is not None else None

    async def fetch_each(self, sql: str, keys: Sequence[Row]) -> list[Row | None]:
        """Return the first row, or None, for each of several values, in the order of the names."""
        statement, _ = self._prepared.get(sql) or await self._prepare(sql)
        if len(keys) == 1:
            row = await statement.fetchrow(*keys[0], timeout=self._timeout)
            return [tuple(row) if row is not None else None]
        together = self._together.get(sql) or await self._prepare_together(sql, statement)
        found: list[Row | None] = [None] * len(keys)
        for row in await together.fetch(*zip(*keys, strict=True), timeout=self._timeout):
            found[row[0] - 1] = tuple(row)[1:]
        return found

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        """Return every row."""
        statement, names = self._prepared.get(sql) or await self._prepare(sql)
        rows = await statement.fetch(*[values[n] for n in names], timeout=self._timeout)
        return [tuple(row) for row in rows]

    async def execute(self, sql: str, values: Values) -> int:
        """Run a statement and return the number of rows it changed."""
        statement, names = self._prepared.get(sql) or await self._prepare(sql)
        await statement.fetch(*[values[n] for n in names], timeout=self._timeout)
        count = str(statement.get_statusmsg()).rpartition(" ")[2]
        return int(count) if count.isdigit() else -1

    async def execute_many(self, sql: str, values: Iterable[Values]) -> None:
        """Run a statement once for each of `values`, all in one round trip."""
        statement, names = self._prepared.get(sql) or await self._prepare(sql)
        every = [[one[n] for n in names] for one in values]
        if every:
            await statement.executemany(every, timeout=self._timeout)

    async def run(self, command: str) -> str:
        """Run a command without parameters, such as COMMIT, and return what it did."""
        return str(await self.connection.execute(command, timeout=self._timeout))

    async def _prepare(self, sql: str) -> tuple[Any, tuple[str, ...]]:
        text, names = positional(sql)
        # Without a name asyncpg would have it parsed and planned every time.
        name = f"entrepot_{len(self._prepared)}"
        statement = await self.connection.prepare(text, name=name, timeout=self._timeout)
        self._prepared[sql] = statement, names
        return statement, names

    async def _prepare_together(self, sql: str, single: Any) -> Any:
        text = for_each(sql, [kind.name for kind in single.get_parameters()])
        name = f"entrepot_together_{len(self._together)}"
        statement = await self.connection.prepare(text, name=name, timeout=self._timeout)
        self._together[sql] = statement
        return statement


async def connect(address: IndexAddress, settings: Mapping[str, str]) -> Any:
    """Open a connection of asyncpg. Settings that the URL names win over `settings`.

    Raises:
        DatabaseUnavailableError: the server can't be reached or doesn't take connections now.
        DatabaseError: it refuses this one: the password, the database, the certificate.
    """
    try:
        named = dict(parse_qsl(urlsplit(address.url).query))
        _try_files(named)
        attributes = None if "target_session_attrs" in named else "read-write"
        return await asyncpg.connect(
            address.url,
            timeout=address.connect_timeout,
            statement_cache_size=0,
            target_session_attrs=attributes,
            server_settings={k: v for k, v in settings.items() if k not in named},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise _refused(address, error) from error


class _NoFileError(OSError):
    """A file that the URL names can't be read."""


def _try_files(named: Mapping[str, str]) -> None:
    """Raise _NoFileError if a file that the URL names can't be read: asyncpg doesn't say which."""
    for key in _FILES & named.keys():
        try:
            Path(named[key]).open("rb").close()
        except OSError as error:
            raise _NoFileError(error.errno, error.strerror, error.filename) from error


def _refused(address: IndexAddress, error: Exception) -> DatabaseError:
    kind: type[DatabaseError] = DatabaseError
    if isinstance(error, TimeoutError):
        kind, said = DatabaseUnavailableError, f"no answer in {address.connect_timeout:g} s"
    elif isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        kind, said = DatabaseUnavailableError, "none of the servers takes changes"
    elif isinstance(error, _NoFileError | ssl.SSLCertVerificationError) or (
        type(error) is ConnectionError  # asyncpg's for a server that speaks no TLS
    ):
        said = told(error)
    elif isinstance(error, LOST + _BUSY):
        kind, said = DatabaseUnavailableError, told(error)
    elif isinstance(error, ValueError) and not isinstance(error, asyncpg.InterfaceError):
        said = "the URL can't be understood"  # the text may hold a part of the password
    else:
        said = told(error)
    return kind(f"the index at {address.place()} can't be reached: {said}")


def told(error: BaseException) -> str:
    """Return the first line of what a server or the system said."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        text = os.strerror(error.errno)
        if error.filename:
            text = f"{error.filename}: {text}"
    return text.partition("\n")[0]


def converted(error: BaseException, doing: str) -> DatabaseError:
    """Return what stands for an error of the driver; `doing` is "read" or "written"."""
    kind: type[DatabaseError] = DatabaseError
    if isinstance(error, asyncpg.DiskFullError):
        kind = DatabaseFullError
    elif isinstance(error, LOST + _BUSY):
        kind = DatabaseUnavailableError
    said = "the server doesn't answer" if isinstance(error, TimeoutError) else told(error)
    return kind(f"the index can't be {doing}: {said}")


class Sessions:
    """The connections of one process; those that nobody uses lie on a list, the last one on top."""

    def __init__(self, address: IndexAddress) -> None:
        self._address = address
        self._settings = {
            "application_name": "entrepot",
            "statement_timeout": f"{address.statement_timeout * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{address.statement_timeout * 2000:.0f}",
            # Every statement has an index that answers it. A plan is made once for all values.
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "jit": "off",
        }
        self._idle: list[Session] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[Session | None]] = deque()
        self._away_until = 0.0
        self._away: str = ""
        self._closed = False
        self._emptied = asyncio.Event()

    async def take(self) -> Session:
        """Return a connection that nobody else uses, until it is put back or dropped.

        Raises:
            DatabaseError: none could be opened, or none came free in time.
        """
        while self._idle:
            session = self._idle.pop()
            if not session.connection.is_closed():
                return session
            self._open -= 1
        if self._closed:
            raise DatabaseError("the index is closed")
        if asyncio.get_running_loop().time() < self._away_until:
            raise DatabaseUnavailableError(self._away)
        if self._open == self._address.connections:
            return await self._wait() or await self._connect()
        self._open += 1
        return await self._connect()

    def put(self, session: Session) -> None:
        """Give a connection back, with no transaction open."""
        if self._closed or session.connection.is_closed():
            self.drop(session)
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(session)
                return
        session.idle_since = now = asyncio.get_running_loop().time()
        self._idle.append(session)
        if self._idle[0].idle_since < now - _IDLE_SECONDS:
            self.drop(self._idle.pop(0))

    def drop(self, session: Session) -> None:
        """Give up a connection whose state is not known; whoever waits may open another."""
        session.connection.terminate()
        self._end_one()

    def drop_idle(self) -> None:
        """Give up all connections that nobody uses: one broke, the others may have, too."""
        for session in self._idle:
            session.connection.terminate()
        self._open -= len(self._idle)
        self._idle.clear()

    async def close(self) -> None:
        """Close every connection, those in use when they are put back."""
        self._closed = True
        for session in self._idle:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await session.connection.close(timeout=self._address.connect_timeout)
        self._open -= len(self._idle)
        self._idle.clear()
        if self._open:
            await self._emptied.wait()

    # Inside -------------------------------------------------------------------------------------

    async def _connect(self) -> Session:
        """Open a connection, which is counted already."""
        try:
            connection = await connect(self._address, self._settings)
        except BaseException as error:
            if isinstance(error, DatabaseUnavailableError):
                self._away = str(error)
                self._away_until = asyncio.get_running_loop().time() + _AWAY_SECONDS
                self._fail_waiting(error)
            self._end_one()
            raise
        return Session(connection, timeout=self._address.statement_timeout + _GRACE_SECONDS)

    async def _wait(self) -> Session | None:
        """Wait for a connection that is put back, or, None, for the right to open one."""
        waiter: asyncio.Future[Session | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._address.connect_timeout):
                return await self._handed(waiter)
        except TimeoutError:
            busy = f"all {self._address.connections} connections to the index are in use"
            raise DatabaseUnavailableError(busy) from None

    async def _handed(self, waiter: "asyncio.Future[Session | None]") -> Session | None:
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiting.remove(waiter)
            elif waiter.exception() is None:  # it was handed over, and we are gone
                session = waiter.result()
                self._end_one() if session is None else self.put(session)
            raise

    def _fail_waiting(self, error: DatabaseError) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _end_one(self) -> None:
        """Count one less, unless somebody waits, who opens another in its place."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._open -= 1
        if self._closed and self._open == 0:
            self._emptied.set()
