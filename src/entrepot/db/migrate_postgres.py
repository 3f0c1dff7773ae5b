"""Bringing an index in PostgreSQL to the schema of this program, one program at a time."""

from contextlib import suppress
from typing import Any, Final

import asyncpg

from entrepot.db.address import IndexAddress
from entrepot.db.errors import SchemaError
from entrepot.db.migrate import HEAD, refuse_newer, run_migrations
from entrepot.db.sessions import connect, told

_LOCK: Final = "SELECT pg_advisory_lock(7310594)"
_FIND_TABLES: Final = """
    SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()
"""


async def migrate_postgres(address: IndexAddress) -> None:
    """Create the index in an empty database, or bring it to the newest schema. Programs that start
    at once, on any machine, take turns.

    Raises:
        DatabaseError: the server can't be reached, or refuses the connection.
        SchemaError: a newer program wrote the index, or the tables are somebody else's.
    """
    connection = await connect(address, {"application_name": "entrepot migrate"})
    try:
        # The lock ends with the connection, however that ends.
        await connection.execute(_LOCK)
        revision = await _revision(connection, address)
        if revision != HEAD:
            refuse_newer(revision, place=f"at {address.place()}")
            await _upgrade(connection, address)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise _failed(address, error) from error
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close(timeout=address.connect_timeout)


async def try_postgres(address: IndexAddress) -> str:
    """Return what `migrate_postgres` would find, and raise what it would raise."""
    connection = await connect(address, {"application_name": "entrepot config check"})
    try:
        revision = await _revision(connection, address)
        refuse_newer(revision, place=f"at {address.place()}")
        version = await connection.fetchval("SHOW server_version")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise SchemaError(f"the index at {address.place()} can't be read: {told(error)}") from error
    finally:
        connection.terminate()
    found = f"schema {revision}" if revision else "no index yet; it will be made"
    return f"PostgreSQL {version} at {address.place()}, {found}"


async def _revision(connection: Any, address: IndexAddress) -> str | None:
    names = {row[0] for row in await connection.fetch(_FIND_TABLES)}
    if not names:
        return None
    if "alembic_version" not in names:
        raise SchemaError(f"the database at {address.place()} has tables, but no index of entrepot")
    row = await connection.fetchrow("SELECT version_num FROM alembic_version")
    return str(row[0]) if row else None


async def _upgrade(connection: Any, address: IndexAddress) -> None:
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async def lend() -> Any:
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=lend, poolclass=NullPool)
    try:
        async with engine.begin() as transaction:
            await transaction.run_sync(run_migrations)
    except SQLAlchemyError as error:
        raise _failed(address, error) from error


def _failed(address: IndexAddress, error: Exception) -> SchemaError:
    return SchemaError(
        f"the index at {address.place()} can't be brought to schema {HEAD}: {told(error)}"
    )
