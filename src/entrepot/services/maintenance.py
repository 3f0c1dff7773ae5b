"""What must happen from time to time, or after a start, for the stores to stay as they should."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from entrepot.core.audit import REGISTRY, event
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.db import Transaction
from entrepot.db.blobs import find_kept_bytes, forget_blob, list_unsynced, mark_synced
from entrepot.db.settings import ensure_setting, replace_setting
from entrepot.db.uploads import forget_ended_uploads
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores
from entrepot.services.uploads import BEGIN_WITHIN
from entrepot.storage import UploadBusyError
from entrepot.telemetry import Metrics

SETTLED: Final = 60_000_000
"""Microseconds after which a blob whose manifest did not come is synced on its own."""

SOON: Final = 2_000_000
"""Microseconds after which a blob is synced whose bytes are kept in the index."""

_PERIOD: Final = 5.0
"""Seconds between two rounds."""

_FORGET_EVERY: Final = 3600.0

_BATCH: Final = 256

_log = structlog.get_logger("entrepot.maintenance")


async def check_index(stores: Stores) -> None:
    """Raise `DatabaseError` if the index can't be read."""
    await stores.index.fetch_one("SELECT 1", {})


async def sync_blobs(stores: Stores) -> int:
    """Make every blob that was uploaded some time ago durable; return how many there were."""
    done = 0
    now = stores.now()
    ages = {"before": now - SETTLED, "soon": now - SOON}
    while rows := await list_unsynced(stores.index, **ages, limit=_BATCH):
        await _mark_synced(stores, rows)
        done += len(rows)
    return done


async def _mark_synced(stores: Stores, digests: list[Digest]) -> None:
    await stores.blobs.sync(digests)

    async def work(transaction: Transaction) -> None:
        await mark_synced(transaction, digests)

    await stores.index.write(work)


async def recover(stores: Stores, *, boot: str) -> list[Digest]:
    """After a start: make sure of every blob that was not yet durable when the last server ended,
    and return those whose bytes were lost, which clients must send again.

    `boot` names this run of the machine. If the last server ran in the same, the kernel still has
    every byte, and only the syncing is left to do; if not, the power may have gone, and every such
    blob is read and hashed. Small ones whose file was lost are written again, for their bytes are
    in the index.
    """

    async def find_boot(transaction: Transaction) -> str:
        return await ensure_setting(transaction, "boot", default=boot)

    async def remember_boot(transaction: Transaction) -> None:
        await replace_setting(transaction, "boot", value=boot)

    same_boot = await stores.index.write(find_boot) == boot
    lost: list[Digest] = []
    now = stores.now() + 1
    while rows := await list_unsynced(stores.index, before=now, soon=now, limit=_BATCH):
        kept = [digest for digest in rows if await _is_whole(stores, digest, same_boot=same_boot)]
        broken = [digest for digest in rows if digest not in kept]
        await _forget(stores, broken)
        await _mark_synced(stores, kept)
        lost += broken
    await stores.index.write(remember_boot)
    return lost


async def _is_whole(stores: Stores, digest: Digest, *, same_boot: bool) -> bool:
    if same_boot:
        return await stores.blobs.size(digest) is not None
    return await stores.blobs.verify(digest) or await _restore(stores, digest)


async def _restore(stores: Stores, digest: Digest) -> bool:
    """Write a blob's file again from the bytes that are kept in the index, if they are."""
    kept = await find_kept_bytes(stores.index, digest)
    if kept is None:
        return False
    await stores.blobs.delete([digest])
    await stores.blobs.put(digest, kept)
    return True


async def _forget(stores: Stores, digests: list[Digest]) -> None:
    async def work(transaction: Transaction, notes: Notes) -> None:
        for digest in digests:
            await forget_blob(transaction, digest)
            reason = "it was not durable when the power went"
            notes.add(event("blob.lost", outcome="failure", digest=digest, reason=reason))

    await stores.trail.write(work, by=REGISTRY)


async def purge_uploads(stores: Stores, *, age: float, dry_run: bool) -> list[UUID]:
    """Remove uploads to which nothing was written for `age` seconds, and return them; with
    `dry_run` only return them. What is being written at this moment is left alone.
    """
    stale = await stores.uploads.stale(before=stores.now() / 1_000_000 - age)
    if dry_run:
        return list(stale)
    return [upload for upload in stale if await _purge(stores, upload)]


async def _purge(stores: Stores, upload: UUID) -> bool:
    try:
        await stores.uploads.purge(upload)
    except UploadBusyError:
        return False
    return True


async def forget_old_uploads(stores: Stores) -> None:
    """Forget that uploads ended whose addresses are no longer good for a beginning either."""
    before = stores.now() - BEGIN_WITHIN

    async def work(transaction: Transaction) -> None:
        await forget_ended_uploads(transaction, before=before)

    await stores.index.write_lazily(work)


@dataclass(frozen=True, slots=True)
class Chore:
    """Something else that is done every so many seconds."""

    every: float
    work: Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is done in the background; `lock` is a file by which the processes of a machine agree on
    one that does it. Intervals and ages are in seconds; `purge_every` None means never.
    """

    stores: Stores
    lock: Path
    purge_every: float | None
    purge_age: float
    purge_dry_run: bool
    metrics: Metrics
    chores: Sequence[Chore] = ()
    beside: Sequence[Callable[[], Coroutine[None, None, None]]] = ()
    """What goes on all the time meanwhile, until it is cancelled."""

    async def run(self) -> None:
        """Go on until cancelled. What fails is logged and tried again."""
        file = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _try_lock(file):  # noqa: ASYNC110 - another process may hold it
                await asyncio.sleep(_PERIOD)
            async with asyncio.TaskGroup() as group:
                for work in self.beside:
                    group.create_task(work())
                await self._go_on()
        finally:
            os.close(file)

    async def _go_on(self) -> None:
        purged = forgot = float("-inf")
        done = [float("-inf")] * len(self.chores)
        while True:
            now = asyncio.get_running_loop().time()
            await self._try(sync_blobs(self.stores))
            if now - forgot >= _FORGET_EVERY:
                forgot = now
                await self._try(forget_old_uploads(self.stores))
            if self.purge_every is not None and now - purged >= self.purge_every:
                purged = now
                await self._try(self._purge())
            for place, chore in enumerate(self.chores):
                if now - done[place] >= chore.every:
                    done[place] = now
                    await self._try(chore.work())
            await asyncio.sleep(_PERIOD)

    async def _purge(self) -> None:
        purged = await purge_uploads(self.stores, age=self.purge_age, dry_run=self.purge_dry_run)
        if not self.purge_dry_run:
            for _ in purged:
                self.metrics.upload_finished("expired")
        _log.info("stale uploads purged", count=len(purged), dry_run=self.purge_dry_run)

    async def _try(self, work: Awaitable[object]) -> None:
        try:
            await work
        except EntrepotError as error:
            _log.error("upkeep failed and will be tried again", error=str(error))


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
