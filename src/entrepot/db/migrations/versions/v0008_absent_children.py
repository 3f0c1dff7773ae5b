"""Children that indexes list and that are not there, for when they come."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "absent_children",
        sa.Column("parent_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(length=65), nullable=False),
        sa.Column("repository_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["manifests.id"],
            name=op.f("fk_absent_children_parent_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("parent_id", "digest", name=op.f("pk_absent_children")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_absent_children_repository_id_digest"),
        "absent_children",
        ["repository_id", "digest"],
        unique=False,
    )
