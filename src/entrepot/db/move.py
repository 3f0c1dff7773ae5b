"""Copying a whole index from one database to another, whatever their engines, and comparing.

Nothing is written to the source, and nobody else writes to it meanwhile: reading goes on, and
writers are refused when they have waited for as long as they wait for anything. The target is
filled in one transaction: what was interrupted left nothing, and is begun anew.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg
import msgspec
from sqlalchemy import Boolean, Table

from entrepot.core.audit import Record
from entrepot.db.address import IndexAddress
from entrepot.db.audit import ADD_EVENT
from entrepot.db.engine import Row
from entrepot.db.errors import DatabaseError
from entrepot.db.opening import migrate_index
from entrepot.db.schema import metadata
from entrepot.db.sessions import connect as connect_server
from entrepot.db.sessions import positional, told
from entrepot.db.sqlite import connect as connect_file

_BATCH: Final = 1000
_FROM_THE_BEGINNING: Final = {"settings": 16, "namespaces": 1}
"""How many rows a table may have of which nobody but a start wrote any."""

Tell = Callable[[str, int, int], None]
"""Told how many rows of a table, of how many, have been copied."""


class MoveError(DatabaseError):
    """The index can't be copied, with what to do about it."""


class _Side(Protocol):
    """One of the two databases, with a transaction open."""

    async def count(self, table: Table) -> int:
        """Return how many rows a table has."""

    def rows(self, table: Table) -> AsyncIterator[Row]:
        """Yield every row, its columns in the order of the schema."""

    async def clear(self, table: Table) -> None:
        """Remove every row."""

    async def fill(self, table: Table, rows: AsyncIterator[Row]) -> None:
        """Add rows, in any order of those that refer to each other."""

    async def add(self, record: Record) -> None:
        """Add an event to the audit log."""


def move_index(
    source: IndexAddress,
    target: IndexAddress,
    *,
    recorded: Callable[[int], Record],
    tell: Tell,
) -> int:
    """Copy the index and return its rows. Both are brought to the newest schema before. What
    `recorded` makes of the number of rows is added to the copy's audit log in the same transaction.

    Raises:
        MoveError: the target holds an index already, or is not the same after the copy.
        DatabaseError: one of the databases can't be reached, or failed.
    """
    if source.url == target.url:
        raise MoveError("the index is there already")
    for address in (source, target):
        migrate_index(address)
    return asyncio.run(_move(source, target, recorded, tell))


async def _move(
    source: IndexAddress, target: IndexAddress, recorded: Callable[[int], Record], tell: Tell
) -> int:
    async with _open(source, writing=False) as given, _open(target, writing=True) as taken:
        await _refuse_filled(taken, target)
        for table in reversed(metadata.sorted_tables):
            await taken.clear(table)
        moved = 0
        for table in metadata.sorted_tables:
            moved += await _copy(table, given, taken, tell)
        for table in metadata.sorted_tables:
            if await _sum(given, table) != await _sum(taken, table):
                raise MoveError(f"the table {table.name} is not the same after the copy")
        await taken.add(recorded(moved))
        return moved


async def _refuse_filled(side: _Side, address: IndexAddress) -> None:
    for table in metadata.sorted_tables:
        if await side.count(table) > _FROM_THE_BEGINNING.get(table.name, 0):
            raise MoveError(
                f"the database {address.shown()} holds an index already (there are {table.name}); "
                "give an empty one"
            )


async def _copy(table: Table, source: _Side, target: _Side, tell: Tell) -> int:
    total, done = await source.count(table), 0

    async def counted() -> AsyncIterator[Row]:
        nonlocal done
        async for row in source.rows(table):
            yield row
            done += 1
            if done % _BATCH == 0:
                tell(table.name, done, total)

    await target.fill(table, counted())
    tell(table.name, done, total)
    return done


async def _sum(side: _Side, table: Table) -> tuple[int, int]:
    """Return the number of rows and a sum of their hashes, in whatever order they come."""
    count = total = 0
    async for row in side.rows(table):
        plain = [int(value) if isinstance(value, bool) else value for value in row]
        digest = hashlib.blake2b(msgspec.msgpack.encode(plain), digest_size=16).digest()
        total = (total + int.from_bytes(digest, "big")) % 2**128
        count += 1
    return count, total


def _columns(table: Table) -> list[str]:
    return [column.name for column in table.columns]


@asynccontextmanager
async def _open(address: IndexAddress, *, writing: bool) -> AsyncIterator[_Side]:
    opened = _open_file(address) if address.is_file else _open_server(address, writing=writing)
    async with opened as side:
        yield side


# SQLite -----------------------------------------------------------------------------------------


class _File:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def count(self, table: Table) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        cursor = self._connection.execute(f"SELECT {', '.join(_columns(table))} FROM {table.name}")
        while batch := cursor.fetchmany(_BATCH):
            for row in batch:
                yield row

    async def clear(self, table: Table) -> None:
        self._connection.execute(f"DELETE FROM {table.name}")

    async def fill(self, table: Table, rows: AsyncIterator[Row]) -> None:
        columns = _columns(table)
        places = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"
        async for batch in _batches(rows):
            self._connection.executemany(statement, batch)

    async def add(self, record: Record) -> None:
        self._connection.execute(ADD_EVENT, msgspec.structs.asdict(record))


@asynccontextmanager
async def _open_file(address: IndexAddress) -> AsyncIterator[_Side]:
    """Others can read, but not write, until the end."""
    connection = connect_file(address.path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA defer_foreign_keys = ON")
        yield _File(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise DatabaseError(f"the index {address.path} failed: {error}") from error
    finally:
        connection.close()


async def _batches(rows: AsyncIterator[Row]) -> AsyncIterator[list[Row]]:
    batch: list[Row] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


# PostgreSQL -------------------------------------------------------------------------------------


class _Server:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def count(self, table: Table) -> int:
        return int(await self._connection.fetchval(f"SELECT count(*) FROM {table.name}"))

    async def rows(self, table: Table) -> AsyncIterator[Row]:
        question = f"SELECT {', '.join(_columns(table))} FROM {table.name}"
        async for record in self._connection.cursor(question, prefetch=_BATCH):
            yield tuple(record)

    async def clear(self, table: Table) -> None:
        await self._connection.execute(f"DELETE FROM {table.name}")

    async def fill(self, table: Table, rows: AsyncIterator[Row]) -> None:
        truths = [
            number
            for number, column in enumerate(table.columns)
            if isinstance(column.type, Boolean)
        ]

        async def typed() -> AsyncIterator[Row]:
            async for row in rows:
                yield _with_truths(row, truths) if truths else row

        await self._connection.copy_records_to_table(
            table.name, records=typed(), columns=_columns(table)
        )
        if table.autoincrement_column is not None:
            key = table.autoincrement_column.name
            await self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key}'), max({key})) "
                f"FROM {table.name} HAVING max({key}) IS NOT NULL"
            )

    async def add(self, record: Record) -> None:
        statement, names = positional(ADD_EVENT)
        values = msgspec.structs.asdict(record)
        await self._connection.execute(statement, *(values[name] for name in names))


def _with_truths(row: Row, places: Iterable[int]) -> Row:
    """SQLite has no Booleans: make them of the numbers in these places."""
    values = list(row)
    for place in places:
        values[place] = None if values[place] is None else bool(values[place])
    return tuple(values)


@asynccontextmanager
async def _open_server(address: IndexAddress, *, writing: bool) -> AsyncIterator[_Side]:
    """Others can read a source, but not write; a target belongs to this transaction alone."""
    connection = await connect_server(address, {"application_name": "entrepot database move"})
    try:
        names = ", ".join(table.name for table in metadata.sorted_tables)
        mode = "ACCESS EXCLUSIVE" if writing else "SHARE"
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute(f"LOCK TABLE {names} IN {mode} MODE")
        yield _Server(connection)
        await connection.execute("COMMIT")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseError(f"the index at {address.place()} failed: {told(error)}") from error
    finally:
        connection.terminate()
