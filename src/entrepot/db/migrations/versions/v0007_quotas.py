"""What quotas need: in which namespaces what lies in one is counted, and how large blobs are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("namespaces", sa.Column("counted_in", sa.Text()))
    op.add_column("quotas", sa.Column("exceeded_at", sa.BigInteger()))
    op.add_column("quotas", sa.Column("counted_at", sa.BigInteger()))
    op.add_column(
        "namespace_blobs",
        sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"),
    )
