"""Sessions in a browser, and what providers say about people's groups."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _browser_sessions()
    _claimed_groups()


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_user_id")
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=name, ondelete="CASCADE")


def _browser_sessions() -> None:
    table = "browser_sessions"
    op.create_table(
        table,
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        _of_user(table),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("fingerprint", name=op.f(f"uq_{table}_fingerprint")),
    )
    for column in ("user_id", "expires_at"):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])


def _claimed_groups() -> None:
    table = "claimed_groups"
    op.create_table(
        table,
        sa.Column("user_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("name", NAME, nullable=False),
        _of_user(table),
        sa.PrimaryKeyConstraint("user_id", "name", name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )
