"""The first schema; docs/index-model.md explains it."""

import sqlalchemy as sa
from alembic import op

from entrepot.db.migrations import (
    initial_accounts,
    initial_audit,
    initial_tokens,
    initial_work,
)

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _blob_reviews()
    _blobs()
    _upload_sessions()
    _ended_uploads()
    initial_work.create_events()
    initial_work.create_imports()
    initial_work.create_jobs()
    _namespaces()
    initial_accounts.create_users()
    initial_accounts.create_robots()
    initial_accounts.create_credentials()
    initial_accounts.create_login_failures()
    initial_tokens.create_tokens()
    initial_audit.create_audit()
    _settings()
    _grants()
    _quota_usage()
    _quotas()
    _replication_rules()
    _repositories()
    initial_work.create_import_deletions()
    _leases()
    _manifests()
    _repository_blobs()
    _tag_history()
    _trust_metadata()
    _manifest_blobs()
    _manifest_children()
    _manifest_reviews()
    _pull_statistics()
    _tags()
    op.execute("INSERT INTO namespaces (name, created_at) VALUES ('', 0)")


def _blob_reviews() -> None:
    op.create_table(
        "blob_reviews",
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("review_after", sa.BigInteger(), nullable=False),
        sa.Column("reviews", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blob_reviews")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_blob_reviews_review_after"), "blob_reviews", ["review_after"], unique=False
    )


def _blobs() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blobs")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_blobs_unsynced",
        "blobs",
        ["digest"],
        unique=False,
        sqlite_where=sa.text("NOT synced"),
        postgresql_where=sa.text("NOT synced"),
    )


def _upload_sessions() -> None:
    op.create_table(
        "upload_sessions",
        sa.Column("upload", sa.LargeBinary(length=16), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("busy_until", sa.BigInteger(), nullable=False),
        sa.Column("touched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload", name=op.f("pk_upload_sessions")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_upload_sessions_touched_at"), "upload_sessions", ["touched_at"], unique=False
    )


def _ended_uploads() -> None:
    op.create_table(
        "ended_uploads",
        sa.Column("upload", sa.LargeBinary(length=16), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("upload", name=op.f("pk_ended_uploads")),
        sqlite_with_rowid=False,
    )


def _namespaces() -> None:
    op.create_table(
        "namespaces",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("parent_id", BIG_ID, nullable=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("visibility", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["namespaces.id"],
            name=op.f("fk_namespaces_parent_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_namespaces")),
        sa.UniqueConstraint("name", name=op.f("uq_namespaces_name")),
    )


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settings")),
        sqlite_with_rowid=False,
    )


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", BIG_ID, nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("effect", sa.Text(), server_default="allow", nullable=False),
        sa.Column("repository_pattern", sa.Text(), server_default="**", nullable=False),
        sa.Column("tag_pattern", sa.Text(), server_default="*", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_grants_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_namespace_id"), "grants", ["namespace_id"], unique=False)
    op.create_index(
        op.f("ix_grants_subject_kind_subject"), "grants", ["subject_kind", "subject"], unique=False
    )
    op.create_index(op.f("ix_grants_role"), "grants", ["role"], unique=False)
    op.create_table(
        "roles",
        sa.Column("name", NAME, nullable=False),
        sa.Column("actions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
        sqlite_with_rowid=False,
    )


def _quota_usage() -> None:
    op.create_table(
        "quota_usage",
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_quota_usage_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "resource", "shard", name=op.f("pk_quota_usage")),
        sqlite_with_rowid=False,
    )


def _quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("namespace_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("soft", sa.BigInteger(), nullable=True),
        sa.Column("hard", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_quotas_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("namespace_id", "resource", name=op.f("pk_quotas")),
        sqlite_with_rowid=False,
    )


def _replication_rules() -> None:
    op.create_table(
        "replication_rules",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", BIG_ID, nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("repository_pattern", sa.Text(), server_default="**", nullable=False),
        sa.Column("tag_pattern", sa.Text(), server_default="**", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_replication_rules_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replication_rules")),
    )
    op.create_index(
        op.f("ix_replication_rules_namespace_id"),
        "replication_rules",
        ["namespace_id"],
        unique=False,
    )


def _repositories() -> None:
    op.create_table(
        "repositories",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("namespace_id", BIG_ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["namespace_id"],
            ["namespaces.id"],
            name=op.f("fk_repositories_namespace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repositories")),
        sa.UniqueConstraint("name", name=op.f("uq_repositories_name")),
    )
    op.create_index(
        op.f("ix_repositories_namespace_id"), "repositories", ["namespace_id"], unique=False
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_leases_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", name=op.f("pk_leases")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_leases_digest"), "leases", ["digest"], unique=False)
    op.create_index(op.f("ix_leases_expires_at"), "leases", ["expires_at"], unique=False)


def _manifests() -> None:
    op.create_table(
        "manifests",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=True),
        sa.Column("subject", sa.LargeBinary(length=65), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("annotations", sa.LargeBinary(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_manifests_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifests")),
        sa.UniqueConstraint(
            "repository_id", "digest", name=op.f("uq_manifests_repository_id_digest")
        ),
    )
    op.create_index(
        op.f("ix_manifests_repository_id_subject_digest"),
        "manifests",
        ["repository_id", "subject", "digest"],
        unique=False,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )


def _repository_blobs() -> None:
    op.create_table(
        "repository_blobs",
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["blobs.digest"],
            name=op.f("fk_repository_blobs_digest"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_repository_blobs_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "digest", name=op.f("pk_repository_blobs")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_repository_blobs_digest"), "repository_blobs", ["digest"], unique=False
    )


def _tag_history() -> None:
    op.create_table(
        "tag_history",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=True),
        sa.Column("previous", sa.LargeBinary(length=65), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_tag_history_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tag_history")),
    )
    op.create_index(
        op.f("ix_tag_history_repository_id_name_changed_at"),
        "tag_history",
        ["repository_id", "name", "changed_at"],
        unique=False,
    )


def _trust_metadata() -> None:
    op.create_table(
        "trust_metadata",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.LargeBinary(length=65), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_trust_metadata_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trust_metadata")),
        sa.UniqueConstraint(
            "repository_id",
            "role",
            "version",
            name=op.f("uq_trust_metadata_repository_id_role_version"),
        ),
    )


def _manifest_blobs() -> None:
    op.create_table(
        "manifest_blobs",
        sa.Column("manifest_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_blobs_manifest_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("manifest_id", "digest", name=op.f("pk_manifest_blobs")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_manifest_blobs_digest"), "manifest_blobs", ["digest"], unique=False)


def _manifest_children() -> None:
    op.create_table(
        "manifest_children",
        sa.Column("parent_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("child_id", BIG_ID, autoincrement=False, nullable=False),
        sa.CheckConstraint("parent_id <> child_id", name=op.f("ck_manifest_children_no_loop")),
        sa.ForeignKeyConstraint(
            ["child_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_children_child_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_children_parent_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("parent_id", "child_id", name=op.f("pk_manifest_children")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_manifest_children_child_id"), "manifest_children", ["child_id"], unique=False
    )


def _manifest_reviews() -> None:
    op.create_table(
        "manifest_reviews",
        sa.Column("manifest_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("review_after", sa.BigInteger(), nullable=False),
        sa.Column("reviews", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifests.id"],
            name=op.f("fk_manifest_reviews_manifest_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("manifest_id", name=op.f("pk_manifest_reviews")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_manifest_reviews_review_after"), "manifest_reviews", ["review_after"], unique=False
    )


def _pull_statistics() -> None:
    op.create_table(
        "pull_statistics",
        sa.Column("manifest_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("pulls", sa.BigInteger(), nullable=False),
        sa.Column("pulled_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"],
            ["manifests.id"],
            name=op.f("fk_pull_statistics_manifest_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("manifest_id", "tag", name=op.f("pk_pull_statistics")),
        sqlite_with_rowid=False,
    )


def _tags() -> None:
    op.create_table(
        "tags",
        sa.Column("repository_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("manifest_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifests.id"], name=op.f("fk_tags_manifest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name=op.f("fk_tags_repository_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_tags_manifest_id"), "tags", ["manifest_id"], unique=False)
