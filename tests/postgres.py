"""A real PostgreSQL for tests: one server for the whole run, and for every test that asks a
database of its own that has the newest schema already.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index
from tests.clients.provide import path_of
from tests.servers import free_port

PASSWORD: Final = "s3cret-of-tests"

_CONFIGURATION: Final = """
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 64MB
log_min_messages = warning
"""


_SCHEMA: Final = """
    SELECT attrelid::regclass::text, attname, (SELECT version_num FROM alembic_version)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT attisdropped
    ORDER BY 1, 2
"""

_REMEMBER: Final = """
    DO $$ DECLARE name text; filled boolean; BEGIN
        CREATE SCHEMA beginning;
        CREATE TABLE beginning.sequences AS
            SELECT sequencename::text AS name, coalesce(last_value, start_value) AS value,
                last_value IS NOT NULL AS called
            FROM pg_sequences WHERE schemaname = 'public';
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO filled;
            IF filled THEN
                EXECUTE 'CREATE TABLE beginning.' || name || ' AS TABLE ' || name;
            END IF;
        END LOOP;
    END $$
"""
"""What the migrations made is kept in a schema of its own."""

_EMPTY: Final = """
    DO $$ DECLARE name text; BEGIN
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid();
        SET LOCAL session_replication_role = replica;  -- in whatever order
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
        LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
        FOR name IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'beginning' AND tablename <> 'sequences'
        LOOP EXECUTE 'INSERT INTO ' || name || ' SELECT * FROM beginning.' || name; END LOOP;
        PERFORM setval(sequences.name::regclass, value, called) FROM beginning.sequences;
    END $$
"""
"""A database becomes as the migrations made it."""


class Postgres:
    """A server on a free port, with all its files in one directory. The user `registry` with
    PASSWORD owns what it makes.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        """What tests write need not survive a power cut: nothing is synced unless `durable`."""
        self.directory = directory
        self._durable = durable
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._template: str | None = None
        self._schema: list[Any] = []
        self._free: list[str] = []

    def make(self) -> None:
        """Make the files of a new server and start it."""
        password = self.directory / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
            shutil.chown(password, "postgres", "postgres")
        self._run(
            "initdb",
            "-U",
            "registry",
            "-A",
            "scram-sha-256",
            "--pwfile",
            str(password),
            "-E",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
            "-D",
            str(self._data),
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
            file.write(f"fsync = {'on' if self._durable else 'off'}\n")
        self.start()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        options = f"-p {self.port} -k {self.directory}"
        self._run(
            "pg_ctl",
            "start",
            "-w",
            "-D",
            str(self._data),
            "-o",
            options,
            "-l",
            str(self.directory / "log"),
        )

    @property
    def pid(self) -> int:
        """The process that has all others as children."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `smart`, `fast`, or `immediate` as after a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self._data))

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        """The address of a database."""
        return f"postgresql://registry:{password}@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """What the server wrote."""
        return (self.directory / "log").read_text()

    def empty_database(self) -> str:
        """The URL of a new database without tables."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def database(self) -> str:
        """The URL of a new database with the newest schema."""
        if self._template is None:
            url = self.empty_database()
            migrate_index(IndexAddress(url))
            self.execute(_REMEMBER, url)
            self._schema = self.execute(_SCHEMA, url)
            self._template = url.rpartition("/")[2]
        if self._free:
            return self._free.pop()
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        return self.url(name)

    def give_back(self, url: str) -> None:
        """Take a database that `database` gave back for the next who asks, which takes a third of
        the time of a new one. Whoever is connected to it is thrown out.
        """
        if self.execute(_SCHEMA, url) == self._schema:
            self.execute(_EMPTY, url)
            self._free.append(url)
        else:
            self.drop(url)

    def drop(self, url: str) -> None:
        """Remove a database with whoever is connected to it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, sql: str, url: str | None = None) -> list[Any]:
        """Run a statement and return its rows."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(url or self.url("postgres"))
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        # In a thread of its own: the caller may have a loop that runs.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()

    def _run(self, program: str, *arguments: str) -> None:
        command = [path_of(program), *arguments]
        owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
        )


@contextmanager
def start_postgres() -> Iterator[Postgres]:
    """A running server that is gone, with its files, on leaving."""
    # Not below pytest's directories, which the user postgres may not enter.
    with tempfile.TemporaryDirectory(prefix="entrepot-postgres-") as place:
        server = Postgres(Path(place))
        server.make()
        try:
            yield server
        finally:
            server.stop("immediate")
