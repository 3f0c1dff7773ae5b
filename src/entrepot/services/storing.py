"""Making a blob of bytes that were received and checked.

The collector may be deleting the object of that very digest (docs/collection.md, "A blob goes").
So bytes that are not needed because the blob exists are given up only after its row is known to
stay, and a row is written only for an object that nobody deletes any more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from entrepot.core.digest import Digest
from entrepot.core.errors import UnavailableError
from entrepot.db import Transaction
from entrepot.db.blobs import BlobRow, add_blob, add_new_blob
from entrepot.db.doomed import find_blob_state
from entrepot.services.stores import Stores

PAUSES: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""Seconds between two looks at a blob whose object is being deleted, or was meanwhile."""

GRAVESTONE: Final = 600 * 1_000_000
"""Microseconds for which it is known that an object was deleted."""

_CURRENT: Final = GRAVESTONE // 2
"""Microseconds for which an upload relies on what it has asked."""


class Received(Protocol):
    """The bytes of a blob, complete and checked."""

    async def put_new(self) -> bool:
        """Bring the bytes to where the blob's object belongs if it is seen at once that there is
        none yet; return whether they were brought.
        """

    async def put(self) -> bool:
        """Bring the bytes to where the blob's object belongs; return whether they are there. They
        can't be brought a second time where they moved the first time.
        """

    async def drop(self) -> None:
        """Give up the bytes: the blob exists."""


Record = Callable[[int | None, int | None], Awaitable[bool]]
"""Links the blob to its repository: `stored` is its size if its bytes are new and it needs a row,
`seen` when its object was last deleted as far as was known before they were put. Returns whether
that could be done: the blob exists, or nobody deletes its object and nobody did since then."""


async def store_blob(
    stores: Stores,
    digest: Digest,
    size: int,
    *,
    received: Received,
    record: Record,
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Make a blob of what was received, or link the one that there is.

    Raises:
        UnavailableError: the blob's object is being deleted; nothing is changed.
        StorageError: the store failed.
    """
    asked = _read_clocks(stores)
    if await received.put_new() and _is_current(stores, asked) and await record(size, None):
        return
    for pause in (*pauses, 0.0):
        asked = _read_clocks(stores)
        known = await find_blob_state(stores.index, digest)
        if not known.doomed:
            if known.size == size and await stores.blobs.size(digest) == size:
                if await record(None, known.deleted_at):
                    await received.drop()
                    return
            elif not await received.put():
                break
            elif _is_current(stores, asked) and await record(size, known.deleted_at):
                return
        await asyncio.sleep(pause)  # it is being deleted, or was in between: look again
    reason = "this blob is being removed because nothing needed it; send it again in a moment"
    raise UnavailableError({"digest": digest, "reason": reason}, retry_after=1)


def _read_clocks(stores: Stores) -> tuple[int, int]:
    """Return what the clock says, and one that nobody sets: it may stand while a machine sleeps."""
    return stores.now(), time.monotonic_ns() // 1000


def _is_current(stores: Stores, asked: tuple[int, int]) -> bool:
    """Whether what was asked is known to be still right, whatever happened to the clock since."""
    return max(now - then for now, then in zip(_read_clocks(stores), asked, strict=True)) < _CURRENT


async def add_stored(
    transaction: Transaction, digest: Digest, row: BlobRow, *, seen: int | None
) -> bool:
    """Write the row of a blob whose bytes were put after its object's last deletion was `seen`;
    return whether that may be done: nobody deletes its object, and nobody did since then.
    """
    if await add_new_blob(transaction, digest, row):
        return True
    state = await find_blob_state(transaction, digest)
    safe = state.deleted_at is None or state.deleted_at == seen != 0
    if safe:
        await add_blob(transaction, digest, row)
    return safe
