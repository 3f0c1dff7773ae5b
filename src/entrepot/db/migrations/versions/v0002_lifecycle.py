"""Content's life: reviews of links, deleting blobs, the trash, rules, schedules and their runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
DIGEST = sa.LargeBinary(length=65)


def upgrade() -> None:
    op.drop_table("leases")
    op.drop_table("blob_reviews")
    op.add_column("blobs", sa.Column("quarantined_at", sa.BigInteger(), nullable=True))
    op.create_index(
        op.f("ix_tag_history_repository_id_previous_changed_at"),
        "tag_history",
        ["repository_id", "previous", "changed_at"],
        sqlite_where=sa.text("previous IS NOT NULL"),
        postgresql_where=sa.text("previous IS NOT NULL"),
    )
    _link_reviews()
    _doomed_blobs()
    _trash()
    _trash_references()
    _retention_policies()
    _tag_protections()
    _holds()
    _namespace_blobs()
    _schedules()
    _runs()


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _link_reviews() -> None:
    op.create_table(
        "link_reviews",
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("review_after", sa.BigInteger(), nullable=False),
        sa.Column("reviews", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        _refers("link_reviews", "repository_id", "repositories"),
        _key("link_reviews", "repository_id", "digest"),
        sqlite_with_rowid=False,
    )
    _index("link_reviews", "review_after")


def _doomed_blobs() -> None:
    op.create_table(
        "doomed_blobs",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("doomed_at", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        _key("doomed_blobs", "digest"),
        sqlite_with_rowid=False,
    )
    _index("doomed_blobs", "lease_expires_at")


def _trash() -> None:
    op.create_table(
        "trash",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("tag", NAME, server_default="", nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("media_type", sa.Text(), server_default="", nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_by", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        _refers("trash", "repository_id", "repositories"),
        _key("trash", "id"),
    )
    _index("trash", "repository_id", "digest")
    _index("trash", "expires_at")
    _index("trash", "operation")


def _trash_references() -> None:
    op.create_table(
        "trash_references",
        sa.Column("trash_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        _refers("trash_references", "trash_id", "trash"),
        _key("trash_references", "trash_id", "digest"),
        sqlite_with_rowid=False,
    )
    _index("trash_references", "digest")


def _retention_policies() -> None:
    op.create_table(
        "retention_policies",
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=True),
        _refers("retention_policies", "namespace_id", "namespaces"),
        _key("retention_policies", "namespace_id"),
        sqlite_with_rowid=False,
    )


def _tag_protections() -> None:
    op.create_table(
        "tag_protections",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("repository_pattern", NAME, nullable=False),
        sa.Column("tag_pattern", NAME, nullable=False),
        sa.Column("exception", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        _refers("tag_protections", "namespace_id", "namespaces"),
        _key("tag_protections", "id"),
        sa.UniqueConstraint(
            *("namespace_id", "repository_pattern", "tag_pattern", "exception"),
            name="uq_tag_protections_patterns",
        ),
    )


def _holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        _refers("holds", "repository_id", "repositories"),
        _key("holds", "id"),
    )
    _index("holds", "repository_id", "digest")


def _namespace_blobs() -> None:
    op.create_table(
        "namespace_blobs",
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        _refers("namespace_blobs", "namespace_id", "namespaces"),
        _key("namespace_blobs", "namespace_id", "digest"),
        sqlite_with_rowid=False,
    )


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("jitter", sa.BigInteger(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        _key("schedules", "name"),
        sqlite_with_rowid=False,
    )
    _index("schedules", "next_at")


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        _key("runs", "id"),
    )
    _index("runs", "kind", "started_at")
