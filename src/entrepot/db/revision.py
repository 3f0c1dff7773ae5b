"""A number that grows with every change of who may log in and do what: whoever keeps such rows in
memory asks for it and reads them again when it has grown.
"""

from typing import Final

from entrepot.db.engine import Reader, Transaction

_KEY: Final = "access.revision"
_FIND = "SELECT value FROM settings WHERE key = :key"
_BUMP = """
    INSERT INTO settings (key, value) VALUES (:key, '1')
    ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)
"""


async def find_revision(reader: Reader) -> int:
    """Return the number; 0 if nothing was ever changed."""
    row = await reader.fetch_one(_FIND, {"key": _KEY})
    return 0 if row is None else int(row[0])


async def bump_revision(transaction: Transaction) -> None:
    """Let everybody read again what this transaction changes."""
    await transaction.execute(_BUMP, {"key": _KEY})
