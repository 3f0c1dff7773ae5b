"""Questions about refresh tokens, of which only fingerprints are here."""

from typing import NamedTuple

from entrepot.db.engine import Reader, Transaction

_FIND = """
    SELECT chain, holder, service, client, created_at, expires_at, replaced_at
    FROM refresh_tokens WHERE fingerprint = :fingerprint
"""
_ADD = """
    INSERT INTO refresh_tokens
        (fingerprint, chain, holder, service, client, created_at, expires_at)
    VALUES (:fingerprint, :chain, :holder, :service, :client, :created_at, :expires_at)
"""
_REPLACE = """
    UPDATE refresh_tokens SET replaced_at = :now
    WHERE fingerprint = :fingerprint AND replaced_at IS NULL
"""
_REVOKE_CHAIN = "DELETE FROM refresh_tokens WHERE chain = :chain"
_FORGET = "DELETE FROM refresh_tokens WHERE expires_at <= :now"


class RefreshToken(NamedTuple):
    """A refresh token without the token. Times are microseconds since 1970; `chain` is what all
    tokens share that came one from the other; `holder` is an `Identity` as JSON.
    """

    chain: bytes
    holder: str
    service: str
    client: str
    created_at: int
    expires_at: int
    replaced_at: int | None


async def find_refresh_token(reader: Reader, fingerprint: bytes) -> RefreshToken | None:
    """Return what a refresh token is good for, or None."""
    row = await reader.fetch_one(_FIND, {"fingerprint": fingerprint})
    return None if row is None else RefreshToken(bytes(row[0]), *row[1:])


async def add_refresh_token(
    transaction: Transaction, fingerprint: bytes, token: RefreshToken
) -> None:
    """Add a refresh token, which was not replaced yet."""
    values = {**token._asdict(), "fingerprint": fingerprint}
    del values["replaced_at"]
    await transaction.execute(_ADD, values)


async def replace_refresh_token(transaction: Transaction, fingerprint: bytes, *, now: int) -> None:
    """Note that a token has a successor, if it has none yet."""
    await transaction.execute(_REPLACE, {"fingerprint": fingerprint, "now": now})


async def revoke_chain(transaction: Transaction, chain: bytes) -> bool:
    """Remove a refresh token with all that it came from and that came from it; return whether there
    were any.
    """
    return await transaction.execute(_REVOKE_CHAIN, {"chain": chain}) > 0


async def forget_refresh_tokens(transaction: Transaction, *, now: int) -> None:
    """Remove refresh tokens that have expired."""
    await transaction.execute(_FORGET, {"now": now})
