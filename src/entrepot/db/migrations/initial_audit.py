"""The tables of the first schema for the audit log: events, checkpoints and keys."""

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_TEXTS = (
    *("action", "outcome", "actor", "actor_kind", "method", "credential", "address"),
    *("repository", "tag", "digest", "target", "reason"),
)


def create_audit() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("writer", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("occurred_at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _TEXTS),
        sa.Column("grant_id", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("request_id", "node", "detail")),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
        sa.UniqueConstraint("writer", "sequence", name=op.f("uq_audit_events_writer_sequence")),
    )
    op.create_index(op.f("ix_audit_events_occurred_at"), "audit_events", ["occurred_at"])
    for column in ("actor", "repository"):
        some = sa.text(f"{column} <> ''")
        op.create_index(
            op.f(f"ix_audit_events_{column}_occurred_at"),
            "audit_events",
            [column, "occurred_at"],
            sqlite_where=some,
            postgresql_where=some,
        )
    op.create_table(
        "audit_checkpoints",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_checkpoints")),
    )
    op.create_index(op.f("ix_audit_checkpoints_created_at"), "audit_checkpoints", ["created_at"])
    op.create_table(
        "audit_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("public", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_audit_keys")),
        sqlite_with_rowid=False,
    )
