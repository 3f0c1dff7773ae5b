"""How often and when manifests are pulled: added up in memory, written seldom, so that a read never
writes.

A GET of a manifest is a pull. A HEAD is none, but it says that somebody uses what it asks for:
docker and containerd ask for a tag with HEAD, and fetch the manifest, by its digest, only if they
don't have it yet. So such a pull counts once, and a cluster that runs an image which it has keeps
it in use.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.core.pulls import Pulled
from entrepot.db.engine import Database, Transaction
from entrepot.db.pulls import add_pulls

EVERY: Final = 60.0
"""Seconds between two times of writing."""

MANY: Final = 10_000
"""Different manifests and tags that are worth writing before their time."""

MOST: Final = 4 * MANY
"""Different manifests and tags that are added up; more are not counted until some were written."""

_BATCH: Final = 100
"""Rows in one transaction, which others wait for."""

_log = structlog.get_logger("entrepot.pulls")


class Pulls:
    """Adds up the pulls of one process. They are as exact as they are written: to the minute."""

    def __init__(self) -> None:
        self._counts: dict[Pulled, int] = {}
        self._many = asyncio.Event()

    def note(
        self, name: RepositoryName, digest: Digest, reference: Reference, *, pulls: int
    ) -> None:
        """Note that a manifest was asked for; `pulls` is 1 if it was pulled, otherwise 0."""
        pulled = Pulled(name, digest, reference if isinstance(reference, Tag) else "")
        counts = self._counts
        if pulled in counts:
            counts[pulled] += pulls
        elif len(counts) < MOST:
            counts[pulled] = pulls
            if len(counts) == MANY:
                self._many.set()

    async def run(self, index: Database, now: Callable[[], int]) -> None:
        """Write now and then, until cancelled, and what is left then."""
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._many.wait(), EVERY)
                await self._try_write(index, now())
        finally:
            await self._try_write(index, now())

    async def _try_write(self, index: Database, now: int) -> None:
        try:
            await self.write(index, now=now)
        except EntrepotError as error:
            _log.warning("pulls can't be written and will be tried again", error=str(error))

    async def write(self, index: Database, *, now: int) -> None:
        """Write down what was added up. What can't be written stays.

        Raises:
            DatabaseError: the index could not take it.
        """
        self._many.clear()
        # In one order for all processes, so that none waits for another that waits for it.
        waiting = sorted(self._counts)
        for first in range(0, len(waiting), _BATCH):
            batch = [(pulled, self._counts.pop(pulled)) for pulled in waiting[first:][:_BATCH]]

            async def work(
                transaction: Transaction, batch: list[tuple[Pulled, int]] = batch
            ) -> None:
                await add_pulls(transaction, batch, now=now)

            writing = asyncio.ensure_future(index.write_lazily(work))
            try:
                await asyncio.shield(writing)
            except (EntrepotError, asyncio.CancelledError):
                # Cancelled as well, it is known in the end whether they are written: once.
                await asyncio.wait({writing})
                if writing.exception() is not None:
                    for pulled, count in batch:
                        self._counts[pulled] = self._counts.get(pulled, 0) + count
                raise
            await asyncio.sleep(0)  # let requests in between
