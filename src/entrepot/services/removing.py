"""The objects of doomed blobs are deleted, by one owner at a time, until it has succeeded.

The rows are gone already (docs/collection.md, "A blob goes"). Whoever deletes has a lease, and
begins only as long as that lasts longer than a deletion may take: after that another may be at it,
and a client may put the same blob again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from entrepot.core.digest import Digest
from entrepot.db import Transaction
from entrepot.db.doomed import (
    Doomed,
    Lease,
    add_reclaimed,
    bury,
    claim_doomed,
    has_doomed,
    list_gravestones,
    remove_gravestones,
    retry_later,
)
from entrepot.services.stores import Stores
from entrepot.services.storing import GRAVESTONE
from entrepot.storage import StorageError

LEASE: Final = 120_000_000
"""Microseconds for which an owner may delete what it has doomed or taken over."""

_TAKES: Final = 60_000_000
"""Microseconds that a deletion may take, from its beginning until nothing of it is under way."""

_PATIENCE: Final = 30.0
"""Seconds after which the store has not answered."""

_FIRST_PAUSE: Final = _TAKES
_LONGEST_PAUSE: Final = 3600 * 1_000_000
"""Microseconds before a deletion that failed is tried again: twice as long each time. Something of
it may be under way after it failed, and must not outlast the next one: then there may be a new
object."""

_LONGEST_LEASE: Final = 2 * _LONGEST_PAUSE
"""Microseconds that no lease lasts, nor a pause."""

_log = structlog.get_logger("entrepot.collection")


class Deletion(NamedTuple):
    """Blobs whose objects were deleted, and how many could not be."""

    gone: tuple[Doomed, ...] = ()
    failed: int = 0


class Remover:
    """Deletes the objects of doomed blobs as `owner`. `steady` is a clock in microseconds that goes
    evenly, also while the machine sleeps; leases are measured by it.
    """

    def __init__(self, stores: Stores, *, owner: str, steady: Callable[[], int]) -> None:
        self._stores = stores
        self._owner = owner
        self._steady = steady

    def lease(self, now: int) -> Lease:
        """Return the lease of what is doomed or taken over now."""
        return Lease(self._owner, now, now + LEASE)

    async def take_over(self, *, now: int, limit: int) -> list[Doomed]:
        """Return blobs whose deletion another left unfinished, or that failed a while ago."""
        if not await has_doomed(self._stores.index, now=now, longest=_LONGEST_LEASE):
            return []
        lease = self.lease(now)

        async def work(transaction: Transaction) -> list[Doomed]:
            return await claim_doomed(transaction, lease, longest=_LONGEST_LEASE, limit=limit)

        return await self._stores.index.write(work)

    async def delete(self, doomed: Sequence[Doomed], *, since: int, now: int) -> Deletion:
        """Delete objects for which this owner's lease began at `since` by the steady clock or
        later; `now` was the time that collection goes by then.
        """
        if not doomed:
            return Deletion()
        if self._steady() - since > LEASE - _TAKES:
            _log.warning("objects are left to another owner: the lease is nearly over")
            return Deletion(failed=len(doomed))
        failures = await self._try([blob.digest for blob in doomed])
        ended = now + self._steady() - since
        retries = {
            blob.digest: (failures[blob.digest], ended + _pause(blob.attempts))
            for blob in doomed
            if blob.digest in failures
        }
        gone = tuple(blob for blob in doomed if blob.digest not in failures)
        deleted = [blob.digest for blob in gone]
        freed = sum(blob.size for blob in gone)
        moment = self._stores.now()

        async def work(transaction: Transaction) -> None:
            await bury(transaction, deleted, owner=self._owner, now=moment)
            await retry_later(transaction, retries, owner=self._owner)
            if gone:
                await add_reclaimed(transaction, blobs=len(gone), size=freed)

        await self._stores.index.write_lazily(work)
        return Deletion(gone, len(retries))

    async def _try(self, digests: list[Digest]) -> Mapping[Digest, str]:
        """Return what could not be deleted, and why."""
        try:
            async with asyncio.timeout(_PATIENCE):
                failures = await self._stores.blobs.delete(digests)
        except TimeoutError:
            failures = dict.fromkeys(digests, "the store does not answer")
        except StorageError as error:
            failures = dict.fromkeys(digests, str(error))
        for digest, reason in failures.items():
            _log.error(
                "an object can't be deleted, and will be tried again", digest=digest, error=reason
            )
        return failures

    async def forget(self, *, now: int, limit: int) -> int:
        """Remove gravestones that no upload needs any more; return how many."""
        before = now - GRAVESTONE
        old = await list_gravestones(self._stores.index, before=before, limit=limit)

        async def work(transaction: Transaction) -> None:
            await remove_gravestones(transaction, old)

        if old:
            await self._stores.index.write_lazily(work)
        return len(old)


def _pause(attempts: int) -> int:
    return min(_FIRST_PAUSE << min(attempts, 20), _LONGEST_PAUSE)
