"""The tables of people, robots, their secrets and sessions, and of logins that failed."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine


def add_accounts(metadata: MetaData, *, big_id: TypeEngine[int], name: TypeEngine[str]) -> None:
    """Add the tables to `metadata`; `big_id` and `name` are the types of ids and names."""
    Table(
        "users",
        metadata,
        Column("id", big_id, primary_key=True, autoincrement=True),
        Column("name", name, nullable=False, unique=True),
        Column("password", Text),
        Column("administrator", Boolean(create_constraint=False), nullable=False),
        Column("disabled", Boolean(create_constraint=False), nullable=False),
        Column("description", Text, nullable=False, server_default=""),
        Column("created_at", BigInteger, nullable=False),
        Column("password_changed_at", BigInteger, nullable=False),
    )
    Table(
        "user_groups",
        metadata,
        _owner("users", big_id, key=True),
        Column("name", name, primary_key=True),
        Index(None, "name"),
        sqlite_with_rowid=False,
    )
    Table(
        "login_failures",
        metadata,
        Column("kind", Text, primary_key=True),
        Column("subject", name, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("failed_at", BigInteger, nullable=False),
        Column("locked_until", BigInteger, nullable=False),
        Index(None, "failed_at"),
        sqlite_with_rowid=False,
    )
    _add_robots(metadata, big_id, name)
    _add_sessions(metadata, big_id, name)


def _add_robots(metadata: MetaData, big_id: TypeEngine[int], name: TypeEngine[str]) -> None:
    Table(
        "robots",
        metadata,
        Column("id", big_id, primary_key=True, autoincrement=True),
        Column(
            "namespace_id", big_id, ForeignKey("namespaces.id", ondelete="CASCADE"), nullable=False
        ),
        Column("name", name, nullable=False, unique=True),
        Column("description", Text, nullable=False, server_default=""),
        Column("scopes", Text),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("expires_at", BigInteger),
        Index(None, "namespace_id"),
    )
    Table(
        "credentials",
        metadata,
        Column("id", big_id, primary_key=True, autoincrement=True),
        _owner("robots", big_id),
        _owner("users", big_id),
        Column("name", Text, nullable=False),
        Column("fingerprint", LargeBinary(32), nullable=False, unique=True),
        Column("scopes", Text),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger),
        Column("used_at", BigInteger),
        Index(None, "robot_id"),
        Index(None, "user_id"),
        CheckConstraint("(robot_id IS NULL) <> (user_id IS NULL)", name="one_owner"),
    )


def _add_sessions(metadata: MetaData, big_id: TypeEngine[int], name: TypeEngine[str]) -> None:
    Table(
        "browser_sessions",
        metadata,
        Column("id", big_id, primary_key=True, autoincrement=True),
        Column("fingerprint", LargeBinary(32), nullable=False, unique=True),
        Column("user_id", big_id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        Column("holder", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("address", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("seen_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Index(None, "user_id"),
        Index(None, "expires_at"),
    )
    Table(
        "claimed_groups",
        metadata,
        _owner("users", big_id, key=True),
        Column("name", name, primary_key=True),
        sqlite_with_rowid=False,
    )


def _owner(table: str, big_id: TypeEngine[int], *, key: bool = False) -> "Column[int]":
    return Column(
        f"{table[:-1]}_id",
        big_id,
        ForeignKey(f"{table}.id", ondelete="CASCADE"),
        primary_key=key,
        autoincrement=False,
        nullable=not key,
    )
