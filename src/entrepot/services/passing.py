"""A whole pass of collection, as background work: everything that is due now, and everything gone
through once, at a stretch.

It does what the collector does all the time, by the same rules: nothing goes sooner for it. While
a pass is under way the collector rests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from entrepot.core.collected import Collected, CollectSettings
from entrepot.core.work import SECOND, Document
from entrepot.db import Transaction
from entrepot.db.collection import count_blobs, is_importing, list_waiting
from entrepot.db.reviews import review_manifest
from entrepot.db.sweeps import list_manifests
from entrepot.services.collecting import Collector, Done
from entrepot.services.foreseeing import foresee, foresee_strangers
from entrepot.services.judging import Removed
from entrepot.services.stores import Stores
from entrepot.services.sweeping import FindOwnedSince
from entrepot.services.work import Task

ENDED: Final = "what registry:2 left is being taken over; nothing is collected before that is done"

_PAGE: Final = 500
_NOTE_EVERY: Final = 2.0
"""Seconds between two notes of what came of it."""


class Passes:
    """Carries passes out. `collect` gives a new collector, `read_time` the time by which content
    goes, without writing it down.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        collect: Callable[[], Collector],
        read_time: Callable[[], Awaitable[int]],
        find_owned_since: FindOwnedSince,
    ) -> None:
        self._stores = stores
        self.collect = collect
        self._read_time = read_time
        self._find_owned_since = find_owned_since

    async def run(self, task: Task) -> Document:
        """Do one pass; return what came of it. One that was interrupted begins anew, and goes on
        counting.
        """
        asked = msgspec.convert(task.settings, CollectSettings)
        noted_at = asyncio.get_running_loop().time()

        async def tell(report: Collected) -> None:
            nonlocal noted_at
            if not report.dry_run and asyncio.get_running_loop().time() - noted_at > _NOTE_EVERY:
                noted_at = asyncio.get_running_loop().time()
                await task.note(report.document(), cursor=report.document())

        report = msgspec.convert(task.cursor, Collected)
        report = await (self.foresee(asked) if asked.dry_run else self._pass(asked, report, tell))
        return report.document()

    async def foresee(
        self, asked: CollectSettings, show: Callable[[Done], None] = lambda _: None
    ) -> Collected:
        """Say what a pass would do now. `show` is given all of it, little by little."""
        report = Collected(dry_run=True, delete_untagged=asked.delete_untagged)
        if await is_importing(self._stores.index):
            report.ended = ENDED
            return report
        now = await self._read_time()
        async for done in foresee(self._stores, now=now):
            _add(report, done)
            show(done)
        known = report.blobs
        owned = self._find_owned_since
        async for done in foresee_strangers(self._stores, now=now, find_owned_since=owned):
            _add(report, done)
            show(done)
        if asked.delete_untagged:
            await self._ask_for_untagged(report)
        await self._finish(report, now)
        report.marked -= known
        return report

    async def _pass(
        self,
        asked: CollectSettings,
        report: Collected,
        tell: Callable[[Collected], Awaitable[None]],
    ) -> Collected:
        report.delete_untagged = asked.delete_untagged
        collector = self.collect()
        try:
            await collector.go_first()
            if asked.delete_untagged and not await is_importing(self._stores.index):
                await self._ask_for_untagged(report)
            async for done in collector.everything():
                _add(report, done)
                await tell(report)
        finally:
            await collector.let_go()
        if await is_importing(self._stores.index):
            report.ended = ENDED
        await self._finish(report, await self._read_time())
        return report

    async def _finish(self, report: Collected, now: int) -> None:
        """Say what stays, and until when."""
        index, keeping = self._stores.index, self._stores.keeping
        report.grace, report.window = keeping.grace / SECOND, keeping.trash / SECOND
        report.marked = await count_blobs(index)
        report.waiting = await list_waiting(index)
        owned = await self._find_owned_since()
        report.strangers = owned is not None and owned <= now - keeping.grace

    async def _ask_for_untagged(self, report: Collected) -> None:
        """Have manifests looked at that nothing keeps and nobody would look at; with `dry_run` only
        count them. They go, unless something needs them by then, when that is over for which
        whoever was told that they exist can rely on it.
        """
        last = 0
        while page := await list_manifests(self._stores.index, manifest=last, limit=_PAGE):
            untagged = [manifest for manifest in page if manifest.untagged]
            if not report.dry_run:
                await self._ask_for([manifest.id for manifest in untagged])
            report.add_queued(Removed(found.name, found.digest) for found in untagged)
            last = page[-1].id

    async def _ask_for(self, manifests: Sequence[int]) -> None:
        async def work(transaction: Transaction) -> None:
            # From the moment when they are written: until then clients are told without a trace.
            after = self._stores.now() + self._stores.keeping.told
            for manifest in manifests:
                await review_manifest(transaction, manifest, after=after, event="asked")

        if manifests:
            await self._stores.index.write_lazily(work)


def _add(report: Collected, done: Done) -> None:
    report.add_manifests(done.manifests)
    report.add_blobs((blob.digest, blob.size) for blob in done.blobs)
    report.links += done.links
    report.repositories += done.repositories
    report.failed += done.failed
