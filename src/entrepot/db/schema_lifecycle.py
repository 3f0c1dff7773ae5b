"""The tables of content's life: what is looked at again, what was deleted, what must stay, how much
there may be, and what is done when.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

Big = TypeEngine[int]
_DIGEST = LargeBinary(65)


def add_lifecycle(metadata: MetaData, *, big_id: Big, name: TypeEngine[str]) -> None:
    """Add the tables to `metadata`; `big_id` and `name` are the types of ids and names."""
    _add_reviews(metadata, big_id)
    _add_trash(metadata, big_id, name)
    _add_rules(metadata, big_id, name)
    _add_quotas(metadata, big_id)
    _add_work(metadata, big_id, name)


def _to(table: str, column: str, big_id: Big, *, key: bool = False) -> "Column[int]":
    return Column(
        column,
        big_id,
        ForeignKey(f"{table}.id", ondelete="CASCADE"),
        primary_key=key,
        nullable=False,
        autoincrement=False,
    )


def _id(big_id: Big) -> "Column[int]":
    return Column("id", big_id, primary_key=True, autoincrement=True)


def _review() -> tuple[Column[int], Column[int], Column[str]]:
    return (
        Column("review_after", BigInteger, nullable=False),
        Column("reviews", Integer, nullable=False, server_default="0"),
        Column("event", Text, nullable=False),
    )


def _add_reviews(metadata: MetaData, big_id: Big) -> None:
    Table(
        "link_reviews",
        metadata,
        _to("repositories", "repository_id", big_id, key=True),
        Column("digest", _DIGEST, primary_key=True),
        *_review(),
        Index(None, "review_after"),
        sqlite_with_rowid=False,
    )
    Table(
        "manifest_reviews",
        metadata,
        _to("manifests", "manifest_id", big_id, key=True),
        *_review(),
        Index(None, "review_after"),
        sqlite_with_rowid=False,
    )
    Table(
        "doomed_blobs",
        metadata,
        Column("digest", _DIGEST, primary_key=True),
        Column("size", BigInteger, nullable=False),
        Column("doomed_at", BigInteger, nullable=False),
        Column("owner", Text, nullable=False),
        Column("lease_expires_at", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("last_error", Text),
        Column("deleted_at", BigInteger),
        Index(None, "lease_expires_at", **_where("deleted_at IS NULL")),
        Index(None, "deleted_at", **_where("deleted_at IS NOT NULL")),
        sqlite_with_rowid=False,
    )
    Table(
        "pull_statistics",
        metadata,
        _to("manifests", "manifest_id", big_id, key=True),
        Column("tag", Text, primary_key=True),
        Column("pulls", BigInteger, nullable=False),
        Column("pulled_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _add_trash(metadata: MetaData, big_id: Big, name: TypeEngine[str]) -> None:
    Table(
        "trash",
        metadata,
        _id(big_id),
        _to("repositories", "repository_id", big_id),
        Column("kind", Text, nullable=False),
        Column("tag", name, nullable=False, server_default=""),
        Column("digest", _DIGEST, nullable=False),
        Column("media_type", Text, nullable=False, server_default=""),
        Column("subject", _DIGEST),
        Column("payload", LargeBinary),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text),
        Column("deleted_at", BigInteger, nullable=False),
        Column("deleted_by", Text),
        Column("operation", Text, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Index(None, "repository_id", "digest"),
        Index(None, "expires_at"),
        Index(None, "operation"),
        Index(None, "repository_id", "subject", **_where("subject IS NOT NULL")),
    )
    Table(
        "trash_references",
        metadata,
        _to("trash", "trash_id", big_id, key=True),
        Column("digest", _DIGEST, primary_key=True),
        Index(None, "digest"),
        sqlite_with_rowid=False,
    )


def _add_rules(metadata: MetaData, big_id: Big, name: TypeEngine[str]) -> None:
    Table(
        "retention_policies",
        metadata,
        _to("namespaces", "namespace_id", big_id, key=True),
        Column("document", LargeBinary, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("updated_by", Text),
        sqlite_with_rowid=False,
    )
    Table(
        "tag_protections",
        metadata,
        _id(big_id),
        _to("namespaces", "namespace_id", big_id),
        Column("repository_pattern", name, nullable=False),
        Column("tag_pattern", name, nullable=False),
        Column("exception", Boolean(create_constraint=False), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text),
        UniqueConstraint(
            *("namespace_id", "repository_pattern", "tag_pattern", "exception"),
            name="uq_tag_protections_patterns",
        ),
    )
    Table(
        "holds",
        metadata,
        _id(big_id),
        _to("repositories", "repository_id", big_id),
        Column("digest", _DIGEST),
        Column("reason", Text, nullable=False),
        Column("owner", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text),
        Column("expires_at", BigInteger),
        Index(None, "repository_id", "digest"),
    )


def _add_quotas(metadata: MetaData, big_id: Big) -> None:
    Table(
        "quotas",
        metadata,
        _to("namespaces", "namespace_id", big_id, key=True),
        Column("resource", Text, primary_key=True),
        Column("soft", BigInteger),
        Column("hard", BigInteger),
        Column("exceeded_at", BigInteger),
        Column("counted_at", BigInteger),
        sqlite_with_rowid=False,
    )
    # One row per namespace and shard: pushes add to a shard of their own, never queue on one row.
    Table(
        "quota_usage",
        metadata,
        _to("namespaces", "namespace_id", big_id, key=True),
        Column("resource", Text, primary_key=True),
        Column("shard", Integer, primary_key=True, autoincrement=False),
        Column("used", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    # What is counted in a namespace with a quota, each digest once.
    Table(
        "namespace_blobs",
        metadata,
        _to("namespaces", "namespace_id", big_id, key=True),
        Column("digest", _DIGEST, primary_key=True),
        Column("size", BigInteger, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
    )


def _add_work(metadata: MetaData, big_id: Big, name: TypeEngine[str]) -> None:
    Table(
        "schedules",
        metadata,
        Column("name", name, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("cron", Text, nullable=False),
        Column("timezone", Text, nullable=False),
        Column("jitter", BigInteger, nullable=False),
        Column("settings", LargeBinary, nullable=False),
        Column("enabled", Boolean(create_constraint=False), nullable=False),
        Column("next_at", BigInteger, nullable=False),
        Column("last_at", BigInteger),
        Column("created_at", BigInteger, nullable=False),
        Column("created_by", Text),
        Index(None, "next_at"),
        sqlite_with_rowid=False,
    )
    Table(
        "runs",
        metadata,
        _id(big_id),
        Column("kind", Text, nullable=False),
        Column("cause", Text, nullable=False),
        Column("node", Text, nullable=False),
        Column("started_at", BigInteger, nullable=False),
        Column("finished_at", BigInteger),
        Column("outcome", Text, nullable=False),
        Column("report", LargeBinary, nullable=False),
        Index(None, "kind", "started_at"),
    )
    Table(
        "jobs",
        metadata,
        _id(big_id),
        Column("kind", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("run_after", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("lease_owner", Text),
        Column("lease_expires_at", BigInteger),
        Column("last_error", Text),
        UniqueConstraint("kind", "key"),
        Index(None, "run_after"),
    )


def before_a_tag() -> Index:
    """Return the index that finds young history which names a manifest as what a tag left."""
    columns = ("repository_id", "previous", "changed_at")
    return Index(None, *columns, **_where("previous IS NOT NULL"))


def _where(condition: str) -> dict[str, Any]:
    """Return what limits an index to some rows."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
