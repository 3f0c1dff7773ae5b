"""What every node must know of uploads that an object store holds in pieces."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from entrepot.db.engine import Reader, Transaction

_FIND = """
    SELECT state, size, mark, busy_until FROM upload_sessions WHERE upload = :upload
"""
_ADD = """
    INSERT INTO upload_sessions (upload, state, size, mark, busy_until, touched_at)
    VALUES (:upload, :state, :size, :mark, :busy_until, :now)
    ON CONFLICT (upload) DO NOTHING
"""
_REPLACE = """
    UPDATE upload_sessions
    SET state = :state, size = :size, mark = :mark, busy_until = :busy_until, touched_at = :now
    WHERE upload = :upload AND mark = :known
"""
_REMOVE = "DELETE FROM upload_sessions WHERE upload = :upload AND mark = :known"
_LIST_STALE = "SELECT upload FROM upload_sessions WHERE touched_at < :before ORDER BY touched_at"


class UploadSession(NamedTuple):
    """An upload as it was last written: what it holds, its bytes, the mark of this writing, and
    until when its writer may be at work (0: there is none).
    """

    state: bytes
    size: int
    mark: int
    busy_until: int


async def find_upload_session(reader: Reader, upload: UUID) -> UploadSession | None:
    """Return what was last written of an upload, or None."""
    row = await reader.fetch_one(_FIND, {"upload": upload.bytes})
    return UploadSession(bytes(row[0]), row[1], row[2], row[3]) if row else None


async def write_upload_session(
    transaction: Transaction, upload: UUID, session: UploadSession, *, known: int, now: int
) -> bool:
    """Write an upload whose last mark is `known` (0: it was never written); return whether it
    still was.
    """
    values = {"upload": upload.bytes, **session._asdict(), "now": now}
    if known == 0:
        return await transaction.execute(_ADD, values) == 1
    return await transaction.execute(_REPLACE, {**values, "known": known}) == 1


async def remove_upload_session(transaction: Transaction, upload: UUID, *, known: int) -> bool:
    """Forget an upload whose last mark is `known`; return whether it still was."""
    return await transaction.execute(_REMOVE, {"upload": upload.bytes, "known": known}) == 1


async def list_stale_upload_sessions(reader: Reader, *, before: int) -> Sequence[UUID]:
    """Return the uploads that were last written before a time, the oldest first."""
    rows = await reader.fetch_all(_LIST_STALE, {"before": before})
    return [UUID(bytes=bytes(row[0])) for row in rows]
