"""The uploads of an object store, written down in the index, where every node finds them."""

from collections.abc import Callable, Sequence
from secrets import randbits
from typing import Final
from uuid import UUID

from entrepot.db import Database, Transaction
from entrepot.db.upload_sessions import (
    UploadSession,
    find_upload_session,
    list_stale_upload_sessions,
    remove_upload_session,
    write_upload_session,
)
from entrepot.storage import Session

_SECOND: Final = 1_000_000


class IndexedSessions:
    """`UploadSessions` in the index. `now` gives microseconds since 1970-01-01 UTC."""

    def __init__(self, index: Database, *, now: Callable[[], int]) -> None:
        self._index = index
        self._now = now

    async def find(self, upload: UUID) -> Session | None:
        """Return what was last written of an upload, or None."""
        row = await find_upload_session(self._index, upload)
        if row is None:
            return None
        return Session(row.state, row.size, row.mark, row.busy_until / _SECOND)

    async def save(self, upload: UUID, session: Session) -> int | None:
        """Write an upload down, if `session.mark` is still there, and return its new mark."""
        new = UploadSession(
            state=session.state,
            size=session.size,
            mark=randbits(62) + 1,
            busy_until=round(session.busy_until * _SECOND),
        )
        now = self._now()

        async def work(transaction: Transaction) -> bool:
            return await write_upload_session(transaction, upload, new, known=session.mark, now=now)

        return new.mark if await self._index.write_lazily(work) else None

    async def remove(self, upload: UUID, *, mark: int) -> bool:
        """Forget an upload, if `mark` is still there; return whether it was."""

        async def work(transaction: Transaction) -> bool:
            return await remove_upload_session(transaction, upload, known=mark)

        return await self._index.write_lazily(work)

    async def stale(self, *, before: float) -> Sequence[UUID]:
        """Return the uploads that were last written before a time (seconds since 1970)."""
        return await list_stale_upload_sessions(self._index, before=round(before * _SECOND))
