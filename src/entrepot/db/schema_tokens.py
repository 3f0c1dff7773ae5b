"""The tables of the token server: keys that sign tokens, and refresh tokens."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, Table, Text


def add_tokens(metadata: MetaData) -> None:
    """Add the tables to `metadata`."""
    Table(
        "signing_keys",
        metadata,
        Column("kid", Text, primary_key=True),
        Column("sealed", LargeBinary, nullable=False),
        Column("certificate", Text, nullable=False),
        Column("signs_from", BigInteger, nullable=False),
        Column("signs_until", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    Table(
        "refresh_tokens",
        metadata,
        Column("fingerprint", LargeBinary(32), primary_key=True),
        Column("chain", LargeBinary(16), nullable=False),
        Column("holder", Text, nullable=False),
        Column("service", Text, nullable=False),
        Column("client", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("replaced_at", BigInteger),
        Index(None, "chain"),
        Index(None, "expires_at"),
        sqlite_with_rowid=False,
    )
