"""Values that all processes of a registry share, such as the key that signs upload states."""

from entrepot.db.engine import Reader, Transaction, required

_FIND = "SELECT value FROM settings WHERE key = :key"
_ADD = "INSERT INTO settings (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING"

_REPLACE = """
    INSERT INTO settings (key, value) VALUES (:key, :value)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""


async def find_setting(reader: Reader, key: str) -> str | None:
    """Return the setting `key`, or None if it has no value."""
    row = await reader.fetch_one(_FIND, {"key": key})
    return None if row is None else str(row[0])


async def ensure_setting(transaction: Transaction, key: str, *, default: str) -> str:
    """Return the setting `key`, which becomes `default` if it has no value yet."""
    await transaction.execute(_ADD, {"key": key, "value": default})
    return str(required(await transaction.fetch_one(_FIND, {"key": key}))[0])


async def replace_setting(transaction: Transaction, key: str, *, value: str) -> None:
    """Give the setting `key` a value."""
    await transaction.execute(_REPLACE, {"key": key, "value": value})
