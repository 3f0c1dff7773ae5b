"""Migrations: what they make is what the schema says, once, whoever starts first."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import entrepot.db
from entrepot.core.digest import Digest
from entrepot.db import SchemaError
from entrepot.db.migrate import HEAD, migrate
from entrepot.db.schema import metadata

MIGRATIONS = Path(entrepot.db.__file__).parent / "migrations"


def test_the_migrations_make_what_the_schema_says(path: Path) -> None:
    """Nothing that Alembic would still change, and no table or index too many or too few."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        tables = set(found.get_table_names()) - {"alembic_version"}
        assert tables == set(metadata.tables)
        for name, table in metadata.tables.items():
            assert {i["name"] for i in found.get_indexes(name)} == {i.name for i in table.indexes}
            columns = {c["name"]: c["nullable"] for c in found.get_columns(name)}
            assert columns == {c.name: c.nullable for c in table.columns}
            checks = {c["name"] for c in found.get_check_constraints(name)}
            expected = {c.name for c in table.constraints if "CheckConstraint" in type(c).__name__}
            assert checks == expected
    engine.dispose()


def test_the_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_schema_suits_postgresql_too() -> None:
    """Every statement can be written for it, with bigint or digest keys."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=dialect))
        assert "INTEGER PRIMARY KEY" not in statement
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


def test_there_is_room_for_what_comes_next() -> None:
    """The tables that later features need exist before those do."""
    assert set(metadata.tables) >= {"trust_metadata", "replication_rules", "events"}


def test_migrating_again_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    migrate(path)
    assert path.read_bytes() == before


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


def test_older_indexes_get_their_children(path: Path) -> None:
    """A child that came after its index, and one that is still to come; what can't be read is left
    alone.
    """
    there, absent = Digest.of(b"there"), Digest.of(b"absent")
    kind = "application/vnd.oci.image.index.v1+json"
    listing = json.dumps({"manifests": [{"digest": str(d)} for d in (there, absent)]}).encode()
    add = (
        "INSERT INTO manifests (id, repository_id, digest, media_type, size, created_at, payload) "
        "VALUES (?, 1, ?, ?, 1, 1, ?)"
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO repositories (id, name, namespace_id, created_at) "
            "SELECT 1, 'app', MIN(id), 1 FROM namespaces"
        )
        connection.execute(add, (1, Digest.of(b"broken").packed, kind, b"[]"))
        connection.execute(add, (2, Digest.of(b"index").packed, kind, listing))
        connection.execute(add, (3, there.packed, "application/x", b"there"))
        connection.commit()
    set_revision(path, "0008")
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        children = connection.execute("SELECT * FROM manifest_children").fetchall()
        awaited = connection.execute("SELECT parent_id, digest FROM absent_children").fetchall()
        connection.execute("DELETE FROM repositories")
    assert (children, awaited) == ([(2, 3)], [(2, absent.packed)])


def test_a_newer_schema_is_refused(path: Path) -> None:
    """With the file, both versions and what to do; the index is left alone."""
    set_revision(path, "0999")
    with pytest.raises(SchemaError) as caught:
        migrate(path)
    for part in (str(path), "0999", HEAD, "start the newer version", "backup"):
        assert part in str(caught.value)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0999",)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    path.write_bytes(b"a letter to somebody\n" * 1000)
    with pytest.raises(entrepot.db.DatabaseError, match=r"index\.sqlite3 can't be (read|opened)"):
        migrate(path)
    assert path.read_bytes() == b"a letter to somebody\n" * 1000


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE letters (text TEXT)")
    with pytest.raises(SchemaError, match="not an index of entrepot"):
        migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("letters",)]


def test_several_programs_that_start_at_once(tmp_path: Path) -> None:
    """They take turns: all succeed, and the schema is made once."""
    path = tmp_path / "deep" / "down" / "index.sqlite3"
    program = (
        "import sys; from pathlib import Path; from entrepot.db.migrate import migrate;"
        "sys.stdin.read(); migrate(Path(sys.argv[1]))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    for process in started:
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait() == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_an_interrupted_migration_leaves_nothing(tmp_path: Path) -> None:
    """One transaction makes it all: a program that was killed before its end made no table."""
    path = tmp_path / "index.sqlite3"
    program = (
        "import os, sys; from pathlib import Path; from entrepot.db import migrate;"
        "from alembic import command; upgrade = command.upgrade;"
        "command.upgrade = lambda *a: (upgrade(*a), os._exit(9));"
        "migrate.migrate(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == 9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    migrate(path)


def test_a_current_index_needs_no_alembic(path: Path) -> None:
    """So that a server starts fast."""
    program = (
        "import sys; from pathlib import Path; from entrepot.db.migrate import migrate;"
        "migrate(Path(sys.argv[1]));"
        "sys.exit(any(name in sys.modules for name in ('alembic', 'sqlalchemy')))"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 0
