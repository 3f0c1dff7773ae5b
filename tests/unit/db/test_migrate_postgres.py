"""Migrations of an index in PostgreSQL: made once, by whichever node starts first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from entrepot.core.digest import Digest
from entrepot.db import DatabaseError, SchemaError
from entrepot.db.address import IndexAddress
from entrepot.db.migrate import HEAD
from entrepot.db.opening import migrate_index, try_index
from entrepot.db.schema import metadata
from tests.postgres import PASSWORD, Postgres
from tests.servers import free_port


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """A database without tables."""
    url = postgres.empty_database()
    yield url
    postgres.drop(url)


def tables(postgres: Postgres, url: str) -> set[str]:
    sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {row[0] for row in postgres.execute(sql, url)}


@pytest.mark.anyio
async def test_the_migrations_make_what_the_schema_says(postgres_url: str) -> None:
    """Nothing that Alembic would still change, and no table or index too many or too few."""

    def compare(connection: Connection) -> None:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        assert set(found.get_table_names()) - {"alembic_version"} == set(metadata.tables)
        for name, table in metadata.tables.items():
            columns = {c["name"]: c["nullable"] for c in found.get_columns(name)}
            assert columns == {c.name: c.nullable for c in table.columns}

    async def connect() -> Any:
        return await asyncpg.connect(postgres_url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(compare)
    await engine.dispose()


def test_the_root_namespace_has_id_1_and_the_next_another(
    postgres: Postgres, postgres_url: str
) -> None:
    postgres.execute("INSERT INTO namespaces (name, created_at) VALUES ('a', 0)", postgres_url)
    rows = postgres.execute("SELECT id, name FROM namespaces ORDER BY id", postgres_url)
    assert [tuple(row) for row in rows] == [(1, ""), (2, "a")]


def test_older_indexes_get_their_children(postgres: Postgres, empty_url: str) -> None:
    """A child that came after its index, and one that is still to come."""
    migrate_index(IndexAddress(empty_url))
    index, there, absent = (Digest.of(name) for name in (b"index", b"there", b"absent"))
    kind = "application/vnd.oci.image.index.v1+json"
    listing = json.dumps({"manifests": [{"digest": str(d)} for d in (there, absent)]})
    postgres.execute(
        "INSERT INTO repositories (id, name, namespace_id, created_at) VALUES (1, 'app', 1, 1)",
        empty_url,
    )
    for number, digest, payload in ((1, index, listing.encode()), (2, there, b"there")):
        postgres.execute(
            "INSERT INTO manifests "
            "(id, repository_id, digest, media_type, size, created_at, payload) VALUES "
            f"({number}, 1, '\\x{digest.packed.hex()}', '{kind}', 1, 1, '\\x{payload.hex()}')",
            empty_url,
        )
    postgres.execute("UPDATE alembic_version SET version_num = '0008'", empty_url)
    migrate_index(IndexAddress(empty_url))
    rows = postgres.execute("SELECT parent_id, child_id FROM manifest_children", empty_url)
    assert [tuple(row) for row in rows] == [(1, 2)]
    rows = postgres.execute("SELECT parent_id, digest FROM absent_children", empty_url)
    assert [tuple(row) for row in rows] == [(1, absent.packed)]


def test_ten_nodes_that_start_at_once(postgres: Postgres, empty_url: str) -> None:
    """They take turns: all succeed, and the schema is made once."""
    program = (
        "import sys; from entrepot.db.address import IndexAddress;"
        "from entrepot.db.opening import migrate_index;"
        "sys.stdin.read(); migrate_index(IndexAddress(sys.argv[1], connect_timeout=60))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    for process in started:
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait() == 0
    rows = postgres.execute("SELECT version_num FROM alembic_version", empty_url)
    assert [tuple(row) for row in rows] == [(HEAD,)]


def test_an_interrupted_migration_leaves_nothing(postgres: Postgres, empty_url: str) -> None:
    """One transaction makes it all, and the lock ends with the process that had it."""
    program = (
        "import os, sys; from entrepot.db.address import IndexAddress;"
        "from entrepot.db.opening import migrate_index; from alembic import command;"
        "upgrade = command.upgrade; command.upgrade = lambda *a: (upgrade(*a), os._exit(9));"
        "migrate_index(IndexAddress(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, empty_url], check=False)
    assert done.returncode == 9
    assert tables(postgres, empty_url) == set()
    migrate_index(IndexAddress(empty_url))
    assert tables(postgres, empty_url) == {*metadata.tables, "alembic_version"}


def test_a_newer_schema_is_refused(postgres: Postgres, postgres_url: str) -> None:
    """With the place, both versions and what to do; the index is left alone."""
    postgres.execute("UPDATE alembic_version SET version_num = '0999'", postgres_url)
    for attempt in (migrate_index, try_index):
        with pytest.raises(SchemaError) as caught:
            attempt(IndexAddress(postgres_url))
        for part in (f"127.0.0.1:{postgres.port}", "0999", HEAD, "start the newer version"):
            assert part in str(caught.value)
        assert PASSWORD not in str(caught.value)
    rows = postgres.execute("SELECT version_num FROM alembic_version", postgres_url)
    assert [tuple(row) for row in rows] == [("0999",)]


def test_somebody_elses_database_is_refused(postgres: Postgres, empty_url: str) -> None:
    postgres.execute("CREATE TABLE letters (text TEXT)", empty_url)
    with pytest.raises(SchemaError, match="no index of entrepot"):
        migrate_index(IndexAddress(empty_url))
    assert tables(postgres, empty_url) == {"letters"}


def test_a_user_who_may_not_create_tables(postgres: Postgres, empty_url: str) -> None:
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = empty_url.replace(f"registry:{PASSWORD}", "guest:guest")
    with pytest.raises(SchemaError, match="permission denied for schema public"):
        migrate_index(IndexAddress(url))


def test_what_a_try_finds(postgres: Postgres, postgres_url: str, empty_url: str) -> None:
    assert try_index(IndexAddress(postgres_url)).endswith(f"schema {HEAD}")
    assert "no index yet" in try_index(IndexAddress(empty_url))
    assert tables(postgres, empty_url) == set()


def test_nobody_listens() -> None:
    port = free_port()
    address = IndexAddress(f"postgresql://me:{PASSWORD}@127.0.0.1:{port}/x")
    for attempt in (migrate_index, try_index):
        with pytest.raises(DatabaseError, match=f"127.0.0.1:{port}/x can't be reached") as caught:
            attempt(address)
        assert PASSWORD not in str(caught.value)


def test_a_host_that_does_not_exist() -> None:
    address = IndexAddress(f"postgresql://me:{PASSWORD}@no-such-host.invalid/x")
    with pytest.raises(DatabaseError, match=r"no-such-host.invalid/x can't be reached"):
        try_index(address)


def test_sqlite_needs_no_driver_of_postgresql(tmp_path: Path) -> None:
    """So that a server starts fast."""
    program = (
        "import sys; from entrepot.db.address import IndexAddress;"
        "from entrepot.db.opening import migrate_index; import entrepot.app;"
        "migrate_index(IndexAddress('sqlite://' + sys.argv[1]));"
        "sys.exit('asyncpg' in sys.modules)"
    )
    path = str(tmp_path / "index.sqlite3")
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 0
