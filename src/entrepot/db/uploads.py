"""Which uploads have ended, so that a finished or cancelled one is unknown from then on."""

from uuid import UUID

from entrepot.db.engine import Reader, Transaction

_END = """
    INSERT INTO ended_uploads (upload, ended_at) VALUES (:upload, :now)
    ON CONFLICT (upload) DO NOTHING
"""
_FIND = "SELECT ended_at FROM ended_uploads WHERE upload = :upload"
_FORGET = "DELETE FROM ended_uploads WHERE ended_at < :before"


async def end_upload(transaction: Transaction, upload: UUID, *, now: int) -> bool:
    """Record that an upload was finished or cancelled; return whether it had not been before.

    A transaction that is repeated because nobody knows whether it was committed has ended it
    itself, at the same microsecond.
    """
    values = {"upload": upload.bytes, "now": now}
    if await transaction.execute(_END, values) == 1:
        return True
    row = await transaction.fetch_one(_FIND, {"upload": upload.bytes})
    return row is not None and row[0] == now


async def has_ended(reader: Reader, upload: UUID) -> bool:
    """Return whether an upload was finished or cancelled."""
    return await reader.fetch_one(_FIND, {"upload": upload.bytes}) is not None


async def forget_ended_uploads(transaction: Transaction, *, before: int) -> None:
    """Remove the records of uploads that ended before a time."""
    await transaction.execute(_FORGET, {"before": before})
