"""What the collector asks of the index, each by one look."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Say of every blob that a manifest needs which repository needs it; index what is doomed and
    what is deleted apart.
    """
    op.add_column(
        "manifest_blobs",
        sa.Column("repository_id", BIG_ID, nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE manifest_blobs SET repository_id = "
        "(SELECT repository_id FROM manifests WHERE manifests.id = manifest_blobs.manifest_id)"
    )
    op.drop_index("ix_manifest_blobs_digest", "manifest_blobs")
    op.create_index(
        "ix_manifest_blobs_digest_repository_id", "manifest_blobs", ["digest", "repository_id"]
    )
    op.drop_index("ix_doomed_blobs_lease_expires_at", "doomed_blobs")
    for column, condition in (
        ("lease_expires_at", "deleted_at IS NULL"),
        ("deleted_at", "deleted_at IS NOT NULL"),
    ):
        op.create_index(
            f"ix_doomed_blobs_{column}",
            "doomed_blobs",
            [column],
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
