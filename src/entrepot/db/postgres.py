"""The index in PostgreSQL: a read is one round trip, a write a serializable transaction.

What a caller sees (docs/adr/0007-postgresql.md):

    read, connection lost     asked again once, on a new connection
    write, connection lost    run again once, unless COMMIT was sent: then nobody knows
    write, serialization      run again; from the third time on, writers that were in each other's
                              way take turns
    server away               DatabaseUnavailableError, after `connect_timeout` at most
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from entrepot.db.address import IndexAddress
from entrepot.db.engine import Row, T, Values, Work
from entrepot.db.errors import DatabaseError, DatabaseUnavailableError
from entrepot.db.sessions import LOST, Session, Sessions, converted, positional, told
from entrepot.db.sharing import Key, SharedQuestions

_BEGIN: Final = "BEGIN ISOLATION LEVEL SERIALIZABLE"
_BEGIN_LAZILY: Final = f"{_BEGIN}; SET LOCAL synchronous_commit = off"

_TRIES: Final = 12
"""How often a transaction that comes into others' way is begun."""

_ALONE_FROM: Final = 3
"""The try from which on a transaction takes its turn."""

_TURN: Final = "SELECT pg_advisory_lock(7310595)"

_PAUSE: Final = 0.004
"""Seconds before the second try, on average; then twice as long every time."""

_CONFLICTS: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # What the transaction saw was changed by another one before it could refer to it.
    asyncpg.ForeignKeyViolationError,
    asyncpg.UniqueViolationError,
)


class _CommitUnknownError(DatabaseUnavailableError):
    """The connection broke while COMMIT was on its way."""


_UNCLEAR: Final = (asyncpg.InterfaceError, OSError, _CommitUnknownError)
"""After these nobody knows what the connection is doing."""

_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class _LostError(Exception):
    """The connection broke before COMMIT was sent: nothing of the transaction remains."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class PostgresDatabase:
    """An index in a PostgreSQL database. Connections are opened when they are needed. `committed`
    is told the seconds that each commit took; unless `durable`, every write is a lazy one.
    """

    def __init__(
        self,
        address: IndexAddress,
        *,
        durable: bool = True,
        committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._sessions = Sessions(address)
        self._questions = SharedQuestions(self._fetch_each)
        self._begin = _BEGIN if durable else _BEGIN_LAZILY
        self._committed = committed

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        """Return the first row, or None."""
        names = positional(sql)[1]
        return await self._questions.ask(sql, tuple([values[name] for name in names]))

    async def _fetch_each(self, sql: str, keys: Sequence[Key]) -> list[Row | None]:
        session = await self._sessions.take()
        try:
            rows = await session.fetch_each(sql, keys)
        except BaseException as error:  # noqa: BLE001 - raised again unless it may be mended
            self._failed_to_read(session, error)
        else:
            self._sessions.put(session)
            return rows
        async with self._another_session() as session:
            return await session.fetch_each(sql, keys)

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        """Return every row."""
        session = await self._sessions.take()
        try:
            rows = await session.fetch_all(sql, values)
        except BaseException as error:  # noqa: BLE001 - raised again unless it may be mended
            self._failed_to_read(session, error)
        else:
            self._sessions.put(session)
            return rows
        async with self._another_session() as session:
            return await session.fetch_all(sql, values)

    async def write(self, work: Work[T], *, brief: bool = False) -> T:  # noqa: ARG002
        """Run `work` in a transaction that is durable when this returns."""
        return await self._write(work, self._begin)

    async def write_lazily(self, work: Work[T]) -> T:
        """Run `work` in a transaction that the server may lose if it crashes within a second."""
        return await self._write(work, _BEGIN_LAZILY)

    async def close(self) -> None:
        """Close the connections, when those in use have come back."""
        await self._sessions.close()

    # Reading ------------------------------------------------------------------------------------

    def _failed_to_read(self, session: Session, error: BaseException) -> None:
        """Give the connection back or up; return if the statement may be asked again."""
        if _is_lost(session, error):
            self._sessions.drop(session)
            self._sessions.drop_idle()
            return
        if isinstance(error, asyncpg.PostgresError):
            self._sessions.put(session)
        else:
            self._sessions.drop(session)
        if isinstance(error, _ERRORS):
            raise converted(error, "read") from error
        raise error

    @asynccontextmanager
    async def _another_session(self) -> AsyncIterator[Session]:
        session = await self._sessions.take()
        try:
            yield session
        except BaseException as error:
            self._sessions.drop(session)
            if isinstance(error, _ERRORS):
                raise converted(error, "read") from error
            raise
        self._sessions.put(session)

    # Writing ------------------------------------------------------------------------------------

    async def _write(self, work: Work[T], begin: str) -> T:
        lost = False
        for number in range(_TRIES):
            try:
                return await self._attempt(work, begin, number)
            except _CONFLICTS as error:
                if number + 1 == _TRIES:
                    raise converted(error, "written") from error
                await asyncio.sleep(_PAUSE * 2 ** min(number, 6) * random.uniform(0.5, 1.5))  # noqa: S311
            except _LostError as error:
                if lost:
                    raise converted(error.cause, "written") from error
                lost = True
            except _ERRORS as error:
                raise converted(error, "written") from error
        raise AssertionError("unreachable")

    async def _attempt(self, work: Work[T], begin: str, number: int) -> T:
        session = await self._sessions.take()
        try:
            if number >= _ALONE_FROM:
                await session.run(_TURN)
            await session.run(begin)
            result = await work(session)
            await self._commit(session)
        except BaseException as error:
            await self._undo(session, error)
            if _is_lost(session, error):
                raise _LostError(error) from error
            raise
        if number >= _ALONE_FROM:
            await self._end_turn(session)
        else:
            self._sessions.put(session)
        return result

    async def _commit(self, session: Session) -> None:
        began = time.perf_counter()
        try:
            done = await session.run("COMMIT")
        except _ERRORS as error:
            if isinstance(error, asyncpg.PostgresError) and not isinstance(error, LOST):
                raise
            raise _CommitUnknownError(
                f"the connection to the index broke while a change was committed: {told(error)}"
            ) from error
        if done != "COMMIT":
            raise DatabaseError("the index can't be written: a statement of the change had failed")
        self._committed(time.perf_counter() - began)

    async def _undo(self, session: Session, error: BaseException) -> None:
        """Roll back and give the connection back, or up if that is simpler."""
        if _is_lost(session, error):
            self._sessions.drop(session)
            self._sessions.drop_idle()
        elif isinstance(error, Exception) and not isinstance(error, _UNCLEAR):
            await self._run_last(session, "ROLLBACK; SELECT pg_advisory_unlock_all()")
        else:
            self._sessions.drop(session)

    async def _end_turn(self, session: Session) -> None:
        await self._run_last(session, "SELECT pg_advisory_unlock_all()")

    async def _run_last(self, session: Session, command: str) -> None:
        """Run what the connection needs before it is put back; without it it is given up."""
        try:
            await session.run(command)
        except BaseException as error:
            self._sessions.drop(session)
            if not isinstance(error, _ERRORS):
                raise
        else:
            self._sessions.put(session)


def _is_lost(session: Session, error: BaseException) -> bool:
    """Whether a new connection may mend this."""
    if isinstance(error, TimeoutError) or not isinstance(error, _ERRORS):
        return False
    return isinstance(error, LOST) or session.connection.is_closed()
