"""The index by its URL: a SQLite file, or a PostgreSQL database, whose driver is loaded then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

from entrepot.db.address import IndexAddress
from entrepot.db.engine import Database, Reader
from entrepot.db.migrate import migrate
from entrepot.db.sqlite import SqliteDatabase, Statements, connect


def migrate_index(address: IndexAddress) -> None:
    """Create the index, or bring it to the newest schema; programs that start at once take turns.

    Raises:
        DatabaseError: it can't be reached.
        SchemaError: a newer program wrote it, or somebody else did.
    """
    if address.is_file:
        migrate(address.path)
        return
    from entrepot.db.migrate_postgres import migrate_postgres

    asyncio.run(migrate_postgres(address))


def try_index(address: IndexAddress) -> str:
    """Connect to an index in PostgreSQL without changing it, and say what was found.

    Raises:
        DatabaseError: it can't be reached, or refuses the connection.
        SchemaError: this program can't use it.
    """
    from entrepot.db.migrate_postgres import try_postgres

    return asyncio.run(try_postgres(address))


@asynccontextmanager
async def look_into(address: IndexAddress) -> AsyncIterator[Reader]:
    """An index that is there, whatever its schema, to be read from; nothing is made beside it."""
    if address.is_file:
        with closing(connect(address.path)) as connection:
            yield Statements(connection)
        return
    index = open_index(address)
    try:
        yield index
    finally:
        await index.close()


def open_index(
    address: IndexAddress,
    *,
    durable: bool = True,
    aside: bool = False,
    committed: Callable[[float], None] = lambda _seconds: None,
) -> Database:
    """Open an index that has the newest schema, in the running event loop. `committed` is told the
    seconds that each commit took; unless `durable`, every write is a lazy one. `aside` is for a
    process of low priority (`SqliteDatabase`).
    """
    if address.is_file:
        return SqliteDatabase(address.path, durable=durable, aside=aside, committed=committed)
    from entrepot.db.postgres import PostgresDatabase

    return PostgresDatabase(address, durable=durable, committed=committed)
