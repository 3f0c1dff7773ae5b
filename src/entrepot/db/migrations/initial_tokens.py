"""The tables of the first schema for tokens: keys that sign them, and refresh tokens."""

import sqlalchemy as sa
from alembic import op


def create_tokens() -> None:
    _signing_keys()
    _refresh_tokens()


def _signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("signs_until", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
        sqlite_with_rowid=False,
    )


def _refresh_tokens() -> None:
    op.create_table(
        "refresh_tokens",
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("chain", sa.LargeBinary(length=16), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("replaced_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_refresh_tokens")),
        sqlite_with_rowid=False,
    )
    for column in ("chain", "expires_at"):
        name = op.f(f"ix_refresh_tokens_{column}")
        op.create_index(name, "refresh_tokens", [column], unique=False)
