"""The tables of the audit log: events in chains, signed checkpoints, and the keys that sign."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine


def add_audit(metadata: MetaData, *, big_id: TypeEngine[int]) -> None:
    """Add the tables to `metadata`; `big_id` is the type of ids."""
    Table(
        "audit_events",
        metadata,
        Column("id", big_id, primary_key=True, autoincrement=True),
        Column("writer", BigInteger, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("previous", LargeBinary(32), nullable=False),
        Column("occurred_at", BigInteger, nullable=False),
        *(Column(name, Text, nullable=False) for name in _TEXTS),
        Column("grant_id", BigInteger, nullable=False),
        *(Column(name, Text, nullable=False) for name in ("request_id", "node", "detail")),
        Column("hash", LargeBinary(32), nullable=False),
        UniqueConstraint("writer", "sequence"),
        Index(None, "occurred_at"),
        _where_there_is("actor"),
        _where_there_is("repository"),
    )
    Table(
        "audit_checkpoints",
        metadata,
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("payload", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("signature", LargeBinary, nullable=False),
        Index(None, "created_at"),
    )
    Table(
        "audit_keys",
        metadata,
        Column("kid", Text, primary_key=True),
        Column("public", LargeBinary(32), nullable=False),
        Column("sealed", LargeBinary, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


_TEXTS = (
    *("action", "outcome", "actor", "actor_kind", "method", "credential", "address"),
    *("repository", "tag", "digest", "target", "reason"),
)


def _where_there_is(column: str) -> Index:
    some = text(f"{column} <> ''")
    return Index(None, column, "occurred_at", sqlite_where=some, postgresql_where=some)
