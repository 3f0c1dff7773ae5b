"""Questions about the keys that sign tokens; the private ones are sealed."""

from collections.abc import Sequence
from typing import NamedTuple

from entrepot.db.engine import Reader, Transaction

_LIST = """
    SELECT kid, sealed, certificate, signs_from, signs_until, expires_at
    FROM signing_keys ORDER BY signs_from, kid
"""
_ADD = """
    INSERT INTO signing_keys (kid, sealed, certificate, signs_from, signs_until, expires_at)
    VALUES (:kid, :sealed, :certificate, :signs_from, :signs_until, :expires_at)
"""
_FORGET = "DELETE FROM signing_keys WHERE expires_at <= :now RETURNING kid"


class SigningKey(NamedTuple):
    """A key that signs tokens from one time until another, and must be known until a third, when
    the last token that it signed has expired. Times are microseconds since 1970.
    """

    kid: str
    sealed: bytes
    certificate: str
    """PEM, with the public key."""
    signs_from: int
    signs_until: int
    expires_at: int


async def list_signing_keys(reader: Reader) -> Sequence[SigningKey]:
    """Return all keys, the oldest first."""
    rows = await reader.fetch_all(_LIST, {})
    return [SigningKey(row[0], bytes(row[1]), *row[2:]) for row in rows]


async def add_signing_key(transaction: Transaction, key: SigningKey) -> None:
    """Add a key."""
    await transaction.execute(_ADD, key._asdict())


async def forget_signing_keys(transaction: Transaction, *, now: int) -> list[str]:
    """Remove keys whose last token has expired; return their ids."""
    return [row[0] for row in await transaction.fetch_all(_FORGET, {"now": now})]
