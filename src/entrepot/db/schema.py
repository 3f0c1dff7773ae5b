"""The tables of the index, for SQLite and PostgreSQL alike; docs/index-model.md explains them.

Keys are bigints or digests. A digest is kept packed (`Digest.packed`: one byte for the algorithm,
then the raw hash). Times are whole microseconds since 1970-01-01 UTC, so that both engines compare
and index them alike.
"""

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
    UniqueConstraint,
    text,
)

from entrepot.db.schema_accounts import add_accounts
from entrepot.db.schema_audit import add_audit
from entrepot.db.schema_lifecycle import add_lifecycle, before_a_tag
from entrepot.db.schema_tokens import add_tokens

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row ids only to INTEGER columns; PostgreSQL needs BIGINT for the same range.
BigId = BigInteger().with_variant(Integer, "sqlite")
PackedDigest = LargeBinary(65)
# Names are listed in the order of their bytes, whatever the locale of a PostgreSQL database.
Name = Text().with_variant(Text(collation="C"), "postgresql")


def _id() -> "Column[int]":
    return Column("id", BigId, primary_key=True, autoincrement=True)


def _in_repository(*, primary_key: bool = False) -> "Column[int]":
    return Column(
        "repository_id",
        BigId,
        ForeignKey("repositories.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        autoincrement=False,
    )


def _to_manifest(name: str, *, primary_key: bool = False) -> "Column[int]":
    return Column(
        name,
        BigId,
        ForeignKey("manifests.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        autoincrement=False,
    )


def _namespace_id() -> "Column[int]":
    return Column(
        "namespace_id", BigId, ForeignKey("namespaces.id", ondelete="CASCADE"), nullable=False
    )


# What there is ----------------------------------------------------------------------------------

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

namespaces = Table(
    "namespaces",
    metadata,
    _id(),
    Column("parent_id", BigId, ForeignKey("namespaces.id", ondelete="RESTRICT")),
    Column("name", Name, nullable=False, unique=True),
    Column("visibility", Text),
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("counted_in", Text),
)

repositories = Table(
    "repositories",
    metadata,
    _id(),
    _namespace_id(),
    Column("name", Name, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "namespace_id"),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", PackedDigest, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("synced", Boolean(create_constraint=False), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("quarantined_at", BigInteger),
    Index(
        "ix_blobs_unsynced",
        "digest",
        sqlite_where=text("NOT synced"),
        postgresql_where=text("NOT synced"),
    ),
    sqlite_with_rowid=False,
)

# What makes a small blob survive a power cut until its file is synced.
blob_bytes = Table(
    "blob_bytes",
    metadata,
    _id(),
    Column(
        "digest",
        PackedDigest,
        ForeignKey("blobs.digest", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("data", LargeBinary, nullable=False),
)

repository_blobs = Table(
    "repository_blobs",
    metadata,
    _in_repository(primary_key=True),
    Column(
        "digest", PackedDigest, ForeignKey("blobs.digest", ondelete="RESTRICT"), primary_key=True
    ),
    Column("linked_at", BigInteger, nullable=False),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    metadata,
    _id(),
    _in_repository(),
    Column("digest", PackedDigest, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("artifact_type", Text),
    Column("subject", PackedDigest),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text),
    Column("annotations", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("repository_id", "digest"),
    Index(
        None,
        "repository_id",
        "subject",
        "digest",
        sqlite_where=text("subject IS NOT NULL"),
        postgresql_where=text("subject IS NOT NULL"),
    ),
)

manifest_blobs = Table(
    "manifest_blobs",
    metadata,
    _to_manifest("manifest_id", primary_key=True),
    Column("digest", PackedDigest, primary_key=True),
    # The manifest's: whether a repository needs a blob that a thousand others need is one look.
    Column("repository_id", BigId, nullable=False, server_default="0"),
    Index(None, "digest", "repository_id"),
    sqlite_with_rowid=False,
)

manifest_children = Table(
    "manifest_children",
    metadata,
    _to_manifest("parent_id", primary_key=True),
    _to_manifest("child_id", primary_key=True),
    Index(None, "child_id"),
    CheckConstraint("parent_id <> child_id", name="no_loop"),
    sqlite_with_rowid=False,
)

absent_children = Table(
    "absent_children",
    metadata,
    _to_manifest("parent_id", primary_key=True),
    Column("digest", PackedDigest, primary_key=True),
    Column("repository_id", BigId, nullable=False),
    Index(None, "repository_id", "digest"),
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    metadata,
    _in_repository(primary_key=True),
    Column("name", Name, primary_key=True),
    _to_manifest("manifest_id"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(None, "manifest_id"),
    sqlite_with_rowid=False,
)

tag_history = Table(
    "tag_history",
    metadata,
    _id(),
    _in_repository(),
    Column("name", Text, nullable=False),
    Column("digest", PackedDigest),
    Column("previous", PackedDigest),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text),
    Index(None, "repository_id", "name", "changed_at"),
    before_a_tag(),
)

upload_sessions = Table(
    "upload_sessions",
    metadata,
    Column("upload", LargeBinary(16), primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mark", BigInteger, nullable=False),
    Column("busy_until", BigInteger, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    Index(None, "touched_at"),
    sqlite_with_rowid=False,
)

ended_uploads = Table(
    "ended_uploads",
    metadata,
    Column("upload", LargeBinary(16), primary_key=True),
    Column("ended_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Who may, how much, and whom to trust -----------------------------------------------------------

grants = Table(
    "grants",
    metadata,
    _id(),
    _namespace_id(),
    Column("subject_kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("effect", Text, nullable=False, server_default="allow"),
    Column("repository_pattern", Text, nullable=False, server_default="**"),
    Column("tag_pattern", Text, nullable=False, server_default="*"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index(None, "subject_kind", "subject"),
    Index(None, "namespace_id"),
    Index(None, "role"),
)

roles = Table(
    "roles",
    metadata,
    Column("name", Name, primary_key=True),
    Column("actions", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

trust_metadata = Table(
    "trust_metadata",
    metadata,
    _id(),
    _in_repository(),
    Column("role", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("checksum", PackedDigest, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("repository_id", "role", "version"),
)

add_accounts(metadata, big_id=BigId, name=Name)
add_tokens(metadata)
add_audit(metadata, big_id=BigId)
add_lifecycle(metadata, big_id=BigId, name=Name)

# What registry:2 left ----------------------------------------------------------------------------

imports = Table(
    "imports",
    metadata,
    _id(),
    Column("source", Text, nullable=False, unique=True),
    Column("in_place", Boolean(create_constraint=False), nullable=False),
    Column("verify", Boolean(create_constraint=False), nullable=False),
    Column("phase", Text, nullable=False),
    Column("position", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("lease_owner", Text),
    Column("lease_expires_at", BigInteger),
    Column("repositories", BigInteger, nullable=False, server_default="0"),
    Column("manifests", BigInteger, nullable=False, server_default="0"),
    Column("indexed", BigInteger, nullable=False, server_default="0"),
)


def _of_import() -> "Column[int]":
    return Column(
        "import_id",
        BigId,
        ForeignKey("imports.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )


import_repositories = Table(
    "import_repositories",
    metadata,
    _of_import(),
    Column("name", Name, primary_key=True),
    Column("manifests", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("indexed", BigInteger, nullable=False),
    Column("done", Boolean(create_constraint=False), nullable=False),
    sqlite_with_rowid=False,
)

import_findings = Table(
    "import_findings",
    metadata,
    _of_import(),
    Column("place", Name, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

import_deletions = Table(
    "import_deletions",
    metadata,
    _in_repository(primary_key=True),
    Column("digest", PackedDigest, primary_key=True),
    sqlite_with_rowid=False,
)

# Work and news ----------------------------------------------------------------------------------

replication_rules = Table(
    "replication_rules",
    metadata,
    _id(),
    _namespace_id(),
    Column("remote", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("repository_pattern", Text, nullable=False, server_default="**"),
    Column("tag_pattern", Text, nullable=False, server_default="**"),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "namespace_id"),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("repository", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at"),
)
