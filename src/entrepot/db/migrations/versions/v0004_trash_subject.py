"""Manifests in the trash by their subject, so that an image comes back with its signatures."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("trash", sa.Column("subject", sa.LargeBinary(65)))
    op.create_index(
        op.f("ix_trash_repository_id_subject"),
        "trash",
        ["repository_id", "subject"],
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
