"""Bringing an index to the schema of this program.

SQLAlchemy and Alembic are imported only when there is something to do: a server with a current
index never loads them.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entrepot.db.errors import SchemaError
from entrepot.db.sqlite import connect

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD: Final = "0009"
"""The newest schema that this program knows."""


def migrate(path: Path) -> None:
    """Create the SQLite index at `path`, or bring it to the newest schema. Programs that start at
    once take turns.

    Raises:
        SchemaError: a newer program wrote the index, or the file is no index.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _migrate_alone(path)
    except OSError as error:
        raise SchemaError(
            f"the index {path} can't be written: {error.strerror}; the registry needs to write to "
            "this directory even when it is read-only for its clients"
        ) from error


def _migrate_alone(path: Path) -> None:
    with _alone(path):
        with closing(connect(path)) as connection:
            revision = _revision(connection, path)
        if revision == HEAD:
            return
        refuse_newer(revision, place=path)
        _upgrade(path)


def refuse_newer(revision: str | None, *, place: object) -> None:
    """Raise `SchemaError` if the schema of the index at `place` is newer than this program."""
    if revision is not None and revision > HEAD:
        raise SchemaError(
            f"the index {place} has schema {revision}, and this program knows only {HEAD}: "
            "start the newer version of entrepot that wrote it, or restore an older backup"
        )


def run_migrations(connection: "Connection") -> None:
    """Run what is missing on a connection of SQLAlchemy, in its transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _revision(connection: sqlite3.Connection, path: Path) -> str | None:
    try:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        names = {row[0] for row in tables}
        if not names:
            return None
        if "alembic_version" not in names:
            raise SchemaError(f"{path} is a SQLite database, but not an index of entrepot")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise SchemaError(f"the index {path} can't be read: {error}") from error
    return str(row[0]) if row else None


def _upgrade(path: Path) -> None:
    from sqlalchemy import create_engine, pool
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=pool.NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run_migrations(connection)
            connection.commit()
    except SQLAlchemyError as error:
        raise SchemaError(f"the index {path} can't be brought to schema {HEAD}: {error}") from error
    finally:
        engine.dispose()
